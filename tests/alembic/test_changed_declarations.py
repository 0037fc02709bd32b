"""Autogenerate writes the run that has values follow a changed declaration."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    insert,
    select,
)

from encfields import BlindIndex, EncryptedType, Formerly, attach
from tests.alembic.project import Project, store
from tests.servers.backends import Backend

DAY, MIDNIGHT = dt.date(2020, 1, 2), dt.datetime(2020, 1, 2)


def visit(inner: Any = String, **options: Any) -> Table:
    return Table(
        "visit",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("room", Integer, nullable=False, unique=True),
        Column("what", EncryptedType(inner, index=BlindIndex(), **options)),
    )


def written(backend: Backend, table: Table, *values: Any) -> None:
    """Rows of one version of the application, behind those that are there."""
    engine = backend.create_engine()
    attach(engine, store(), create=True)
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        first = len(connection.execute(select(table.c.id)).all()) + 1
        for key, value in enumerate(values, first):
            row = {"id": key, "room": 100 + key, "what": value}
            connection.execute(insert(table), row)


def read(backend: Backend, table: Table, asked: Any) -> tuple[list[Any], list[int]]:
    """All values, and the rows with one of them."""
    engine = backend.create_engine()
    attach(engine, store())
    with engine.connect() as connection:
        values = connection.scalars(select(table.c.what).order_by(table.c.id)).all()
        found = connection.scalars(select(table.c.id).where(table.c.what == asked)).all()
        return list(values), sorted(found)


def test_a_changed_inner_type_is_converted_and_back(tmp_path: Path, sqlite: Backend) -> None:
    project = Project(tmp_path, sqlite)
    written(sqlite, visit(Date), DAY, DAY, None)
    code = project.autogenerate(visit(DateTime).metadata)
    assert "op.convert_encrypted('visit', 'what', was=sa.Date(), to=sa.DateTime()" in code
    assert "formerly=Formerly(inner=Date()," in " ".join(code.replace("#", " ").split())
    project.upgrade()
    assert read(sqlite, visit(DateTime), MIDNIGHT) == ([MIDNIGHT, MIDNIGHT, None], [1, 2])
    assert "op." not in project.autogenerate(visit(DateTime).metadata, keep=False)
    project.downgrade("base")
    assert read(sqlite, visit(Date), DAY) == ([DAY, DAY, None], [1, 2])


CHANGES: dict[str, tuple[Any, dict[str, Any], Any, dict[str, Any], dict[str, Any], Any, Any]] = {
    "type": (
        Date, {}, DateTime, {}, {"inner": Date},
        DAY, MIDNIGHT,
    ),
    "type and name": (
        Date, {}, DateTime, {"name": "visit.moment"}, {"inner": Date, "name": "visit.what"},
        DAY, MIDNIGHT,
    ),
    "binding": (
        String, {}, String, {"bind_to": "room"}, {"bind_to": "id"},
        "x", "x",
    ),
    "all": (
        Date, {}, DateTime, {"bind_to": "room", "name": "v"},
        {"inner": Date, "bind_to": "id", "name": "visit.what"},
        DAY, MIDNIGHT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_declaration_that_says_what_was_has_its_run_written_when_it_writes_the_new_way(
    tmp_path: Path, sqlite: Backend, change: str
) -> None:
    project = Project(tmp_path, sqlite)
    was, was_options, now, options, formerly, before, after = CHANGES[change]

    def version(phase: Any) -> Table:
        return visit(now, formerly=Formerly(**formerly, phase=phase), **options)

    written(sqlite, visit(was, **was_options), before, before)
    written(sqlite, version("write-former"), after)
    assert "op." not in project.autogenerate(version("write-former").metadata, keep=False)

    written(sqlite, version("write-new"), after)
    code = project.autogenerate(version("write-new").metadata)
    assert "op.convert_encrypted(" in code if "inner" in formerly else "op.rebind(" in code
    told = " ".join(code.replace("#", " ").split())
    assert "3 of 4 values looked at are kept as formerly= says" in told
    project.upgrade()
    assert read(sqlite, visit(now, **options), after) == ([after] * 4, [1, 2, 3, 4])
    assert "op." not in project.autogenerate(version("write-new").metadata, keep=False)
    assert "op." not in project.autogenerate(visit(now, **options).metadata, keep=False)


def test_numbers_whose_text_stays_are_indexed_anew(tmp_path: Path, sqlite: Backend) -> None:
    """A decimal number reads what an integer wrote, and is hashed in another way."""
    project = Project(tmp_path, sqlite)
    version = visit(Numeric, formerly=Formerly(inner=Integer, phase="write-new"))
    written(sqlite, visit(Integer), 5, 5)
    written(sqlite, version, Decimal(5))
    project.autogenerate(version.metadata)
    project.upgrade()
    assert read(sqlite, visit(Numeric), Decimal(5)) == ([5, 5, 5], [1, 2, 3])
    assert "op." not in project.autogenerate(version.metadata, keep=False)


def test_uuids_stand_in_what_is_written(tmp_path: Path, sqlite: Backend) -> None:
    """The database stores 32 digits, and does not tell that they are a UUID."""
    project = Project(tmp_path, sqlite)

    def version(**options: Any) -> Table:
        sealed = EncryptedType(String, name="note.text", **options)
        return Table(
            "note",
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("uid", Uuid, unique=True, nullable=False),
            Column("text", sealed),
        )

    engine = sqlite.create_engine()
    attach(engine, store(), create=True)
    old, new = version(), version(bind_to="uid")
    old.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(old), {"id": 1, "uid": uuid.UUID(int=1 << 100), "text": "x"})
    code = project.autogenerate(new.metadata)
    assert "uuids=('uid',)" in code
    project.upgrade()
    with engine.connect() as connection:
        assert connection.scalars(select(new.c.text)).all() == ["x"]
