"""An inner type that cannot read what is stored is noticed before it is deployed."""

from __future__ import annotations

import datetime as dt
import decimal
import logging
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
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
    text,
)
from sqlalchemy.types import TypeEngine

from encfields import EncryptedType, attach
from encfields.errors import MalformedMessageError, ValueDecodingError
from tests.alembic.project import Project, store
from tests.crossed import crossed
from tests.servers.backends import Backend

DAY = dt.date(2020, 1, 2)
MOMENT = dt.datetime(2020, 1, 2, 3, 4)


def _table(inner: Any, **options: Any) -> Table:
    return Table(
        "visit",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("what", EncryptedType(inner), **options),
    )


def _filled(backend: Backend, inner: TypeEngine[Any], *values: Any) -> None:
    engine = backend.create_engine()
    attach(engine, store(), create=True)
    table = _table(inner)
    table.create(engine)
    with engine.begin() as connection:
        rows = [{"id": at, "what": value} for at, value in enumerate(values, 1)]
        connection.execute(insert(table), rows)


def _read(backend: Backend, inner: TypeEngine[Any]) -> list[Any]:
    engine = backend.create_engine()
    attach(engine, store())
    table = _table(inner)
    with engine.connect() as connection:
        return list(connection.scalars(select(table.c.what).order_by(table.c.id)))


UNREADABLE: list[tuple[Any, Any, Any]] = [
    (DateTime(), Date(), MOMENT),
    (String(), Integer(), "twelve"),
    (String(), Uuid(), "x"),
    (Numeric(10, 2), Integer(), decimal.Decimal("1.50")),
    (Integer(), Boolean(), 1234567),
    (String(), JSON(), "{not json"),
]


@pytest.mark.parametrize(
    "backend, change", crossed(UNREADABLE, UNREADABLE[:2]), indirect=["backend"]
)
def test_a_type_that_cannot_read_the_values_is_refused_with_the_steps_to_take(
    project: Project, backend: Backend, change: Any
) -> None:
    was, now, value = change
    _filled(backend, was, value)

    code = project.autogenerate(_table(now).metadata, keep=False)
    assert "raise NotImplementedError('visit.what, declared" in code
    assert "values that another type wrote" in code
    assert "op.convert_encrypted('visit', 'what', was=..., to=" in code
    assert "formerly=Formerly(inner=..., phase='write-former')" in code
    # But for the revision's id, which may hold any digits.
    assert str(value) not in code.partition("def upgrade")[2]
    with pytest.raises(ValueDecodingError, match=r"visit\.what.*Declare the type that wrote it"):
        _read(backend, now)


READABLE: list[tuple[Any, Any, Any]] = [
    (Integer(), BigInteger(), 12),
    (String(10), String(200), "x"),
    (Integer(), String(), 12),
    (DateTime(), DateTime(), MOMENT),
    (Date(), DateTime(), None),
]


@pytest.mark.parametrize("backend, change", crossed(READABLE, READABLE[:1]), indirect=["backend"])
def test_a_type_that_reads_what_is_there_is_not_remarked_on(
    project: Project, backend: Backend, change: Any
) -> None:
    was, now, value = change
    _filled(backend, was, value)
    assert "raise" not in project.autogenerate(_table(now).metadata, keep=False)
    assert len(_read(backend, now)) == 1


def test_values_of_both_types_are_found_at_either_end(tmp_path: Path, sqlite: Backend) -> None:
    """The new type was deployed already, and has written the newest rows."""
    _filled(sqlite, Date(), *[DAY] * 30)
    engine = sqlite.create_engine()
    attach(engine, store())
    table = _table(DateTime())
    with engine.begin() as connection:
        rows = [{"id": 100 + at, "what": MOMENT} for at in range(60)]
        connection.execute(insert(table), rows)
    told = {Date(): "values that another type wrote", DateTime(): "op.convert_encrypted("}
    for type_, words in told.items():
        directory = tmp_path / type(type_).__name__
        directory.mkdir()
        assert words in Project(directory, sqlite).autogenerate(_table(type_).metadata)


def test_without_keys_nothing_is_said_of_types(
    tmp_path: Path, sqlite: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    _filled(sqlite, Date(), DAY)
    project = Project(tmp_path, sqlite, settings="{}")
    with caplog.at_level(logging.INFO, "encfields.alembic"):
        assert "raise" not in project.autogenerate(_table(DateTime()).metadata)
    assert [one for one in caplog.records if one.name == "encfields.alembic"] == []


def test_a_comparison_by_hand_shows_it(sqlite: Backend) -> None:
    """As a check in CI makes it, without an environment: the engine knows the keys."""
    _filled(sqlite, Date(), DAY)
    engine = sqlite.create_engine()
    attach(engine, store())
    with engine.connect() as connection:
        found = compare_metadata(
            MigrationContext.configure(connection), _table(DateTime()).metadata
        )
    assert [one[:3] for one in found] == [("convert_encrypted", None, "visit")]


# -- NOT NULL columns --------------------------------------------------------------------------


def test_a_not_null_column_is_added_nullable_and_made_not_null_by_the_next_revision(
    project: Project, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    engine = backend.create_engine()
    encryption = attach(engine, store(), create=True)
    bare = Table("visit", MetaData(), Column("id", Integer, primary_key=True, autoincrement=False))
    bare.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(bare), [{"id": 1}])
    table = _table(String(20), nullable=False)

    with caplog.at_level(logging.WARNING, "encfields.alembic"):
        code = project.autogenerate(table.metadata)
    assert "nullable=True" in code
    assert "visit.what is added nullable" in caplog.text
    project.upgrade()
    with engine.begin() as connection:
        assert connection.scalars(select(table.c.what)).one() is None
        connection.execute(table.update().where(table.c.id == 1).values(what="x"))
    following = project.autogenerate(table.metadata)
    assert "op.alter_column('visit', 'what'" in following
    assert "nullable=False" in following
    encryption.detach()


def test_the_error_for_what_a_server_filled_a_not_null_column_with_names_the_cause(
    backend: Backend,
) -> None:
    engine = backend.create_engine()
    attach(engine, store(), create=True)
    table = _table(String(20))
    table.create(engine)
    with engine.begin() as connection:
        empty = "''::bytea" if backend.name == "postgresql" else "x''"
        connection.execute(text(f"INSERT INTO visit (id, what) VALUES (1, {empty})"))
    with engine.connect() as connection, pytest.raises(MalformedMessageError) as caught:
        connection.execute(select(table.c.id, table.c.what)).all()
    assert caught.value.reason == "empty"
    assert caught.value.row == {"id": "1"}
    assert "visit.what" in str(caught.value)
    assert "NOT NULL column is added" in str(caught.value)
