"""``op.convert_encrypted()``: what one inner type wrote is read by another, and nothing is lost."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Column, Engine, Integer, MetaData, Table, insert, select, text

from encfields import BlindIndex, EncryptedType, attach, encryption_of
from encfields.alembic import MigrationError
from encfields.bulk import Options, Reencryption, TableSpec, UnfinishedError, work
from encfields.bulk.rows.types_as_data import type_from_data, type_to_data
from encfields.errors import DeclarationError
from tests.alembic.project import Project, store
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

DAY, MIDNIGHT = dt.date(2020, 1, 2), dt.datetime(2020, 1, 2)
NOON = dt.datetime(2020, 1, 2, 12)


def _table(inner: Any, **options: Any) -> Table:
    return Table(
        "visit",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("what", EncryptedType(inner, **options)),
    )


def _engine(backend: Backend) -> Engine:
    engine = backend.create_engine()
    attach(engine, store(), create=True)
    return engine


def _filled(engine: Engine, table: Table, *values: Any) -> None:
    table.create(engine)
    _write(engine, table, dict(enumerate(values, 1)))


def _write(engine: Engine, table: Table, values: dict[int, Any]) -> None:
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": i, "what": v} for i, v in values.items()])


def _read(engine: Engine, table: Table, *ids: int) -> list[Any]:
    statement = select(table.c.what).order_by(table.c.id)
    with engine.connect() as connection:
        return list(connection.scalars(statement.where(table.c.id.in_(ids)) if ids else statement))


@on_each_database
def test_dates_become_datetimes_and_back(project: Project, backend: Backend) -> None:
    engine = _engine(backend)
    _filled(engine, _table(sa.Date()), *[DAY] * 30, None)
    project.revision(
        "op.convert_encrypted('visit', 'what', was=sa.Date(), to=sa.DateTime())",
        "op.convert_encrypted('visit', 'what', was=sa.DateTime(), to=sa.Date())",
    )
    project.upgrade()
    assert _read(engine, _table(sa.DateTime())) == [MIDNIGHT] * 30 + [None]
    # What a new process and one that is not yet replaced write meanwhile.
    _write(engine, _table(sa.DateTime()), {40: MIDNIGHT})
    _write(engine, _table(sa.Date()), {41: DAY})
    project.downgrade("base")
    assert _read(engine, _table(sa.Date())) == [DAY] * 30 + [None, DAY, DAY]


LOSSY = {
    "time of day": (sa.DateTime(), sa.Date(), MIDNIGHT, DAY, NOON),
    "fraction": (
        sa.Numeric(10, 2), sa.Integer(), decimal.Decimal("2.00"), 2, decimal.Decimal("1.50"),
    ),
    "number": (sa.Integer(), sa.Boolean(), 1, True, 12),
    "word": (sa.String(), sa.Integer(), "12", 12, "twelve"),
}  # fmt: skip


@pytest.mark.parametrize("was, to, good, converted, bad", LOSSY.values(), ids=LOSSY)
def test_a_value_that_would_change_is_left_and_named(
    tmp_path: Path, sqlite: Backend, was: Any, to: Any, good: Any, converted: Any, bad: Any
) -> None:
    engine, project = _engine(sqlite), Project(tmp_path, sqlite)
    _filled(engine, _table(was), good, bad, good)
    types = f"was=sa.{was!r}, to=sa.{to!r}"
    project.revision(f"op.convert_encrypted('visit', 'what', {types})")

    with pytest.raises(MigrationError, match=r"what of id=2: ") as caught:
        project.upgrade()
    assert str(bad) not in str(caught.value).replace("id=2", "")
    assert _read(engine, _table(to), 1, 3) == [converted, converted]
    assert _read(engine, _table(was), 2) == [bad]

    _rewrite(engine, _table(was), 2, good)
    project.upgrade()
    assert _read(engine, _table(to)) == [converted] * 3


@pytest.mark.parametrize("was, to", [(sa.Text(), sa.JSON()), (sa.JSON(), sa.String(9))], ids=str)
def test_types_that_nothing_tells_apart_are_refused(
    tmp_path: Path, sqlite: Backend, was: Any, to: Any
) -> None:
    """The text ``"12"`` would be converted to JSON again by each run."""
    engine, project = _engine(sqlite), Project(tmp_path, sqlite)
    _filled(engine, _table(was), "12")
    types = f"was=sa.{was!r}, to=sa.{to!r}"
    project.revision(f"op.convert_encrypted('visit', 'what', {types})")
    with pytest.raises(DeclarationError, match="a name of its own"):
        project.upgrade()
    assert _read(engine, _table(was)) == ["12"]


def test_a_name_of_its_own_tells_any_two_types_apart(project: Project, backend: Backend) -> None:
    engine = _engine(backend)
    texts = ["plain", "12", '"quoted"', '{"a": 1}', "null"]
    _filled(engine, _table(sa.String()), *texts)
    now = _table(sa.JSON(), name="visit.what.2")
    _write(engine, now, {40: {"new": "12"}})
    project.revision(
        "op.convert_encrypted('visit', SealedColumn('what', 'visit.what.2'), "
        "was=sa.String(), to=sa.JSON(), was_bound=SealedColumn('what'))",
        "op.convert_encrypted('visit', 'what', was=sa.JSON(), to=sa.String(), "
        "was_bound=SealedColumn('what', 'visit.what.2'))",
    )
    project.upgrade()
    assert _read(engine, now) == [*texts, {"new": "12"}]
    with pytest.raises(MigrationError, match=r"what of id=40: .*without loss"):
        project.downgrade("base")
    assert _read(engine, _table(sa.String()), 1, 2, 3, 4, 5) == texts


def test_what_is_left_to_convert_is_told_by_opening_the_values(sqlite: Backend) -> None:
    engine = _engine(sqlite)
    _filled(engine, _table(sa.DateTime()), MIDNIGHT, NOON, None)
    _write(engine, _table(sa.Date()), {8: DAY, 9: DAY})
    table = _table(sa.Date(), index=BlindIndex())
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE visit ADD COLUMN what_bidx BLOB"))
    run = Reencryption(
        engine,
        encryption_of(engine),
        TableSpec.from_table(table),
        conversions={"what": (type_to_data(sa.DateTime()), type_to_data(sa.Date()))},
    )
    due = run.dry_run()
    assert (due.rows, due.values_to_rewrite, due.unreadable) == (5, 1, 1)
    assert (due.rows_to_rewrite, sum(due.versions.values())) == (3, 1)  # two to be indexed
    with pytest.raises(UnfinishedError, match="no blind index"):
        run.ensure()

    assert run.run().rows_written == 3
    _rewrite(engine, table, 2, DAY)
    summary = run.ensure()
    assert (summary.current, summary.null, summary.not_current) == (4, 1, 0)
    for value, left in ((NOON, "0 values are yet .* and 1 do"), (MIDNIGHT, "1 .* and 0 do")):
        _rewrite(engine, _table(sa.DateTime()), 8, value)
        with pytest.raises(UnfinishedError, match=left):
            run.ensure()


def _rewrite(engine: Engine, table: Table, row: int, value: Any) -> None:
    with engine.begin() as connection:
        connection.execute(table.update().where(table.c.id == row).values(what=value))


def test_a_conversion_that_was_stopped_goes_on_and_converts_nothing_twice(
    backend: Backend,
) -> None:
    engine = _engine(backend)
    _filled(engine, _table(sa.String()), *[f'"{n}"' for n in range(60)])
    spec = TableSpec.from_table(_table(sa.JSON(), name="visit.what.2"))
    run = Reencryption(
        engine,
        encryption_of(engine),
        spec,
        source=TableSpec.from_table(_table(sa.String())),
        conversions={"what": (type_to_data(sa.String()), type_to_data(sa.JSON()))},
        options=Options(batch_rows=7, range_rows=7),
    )
    stop = Event()
    first = run.run(progress=lambda _: stop.set(), stop=stop)
    assert not first.finished
    assert work(engine, encryption_of(engine))[0].error is not None  # asked for by id alone
    assert run.run().finished
    assert run.run().rows_written == 0
    now = _table(sa.JSON(), name="visit.what.2")
    assert _read(engine, now) == [f'"{n}"' for n in range(60)]


def test_blind_indexes_are_made_anew(project: Project, backend: Backend) -> None:
    engine = _engine(backend)
    _filled(engine, _table(sa.Date(), index=BlindIndex()), DAY, None)
    project.revision(
        "op.convert_encrypted('visit', 'what', was=sa.Date(), to=sa.DateTime(), "
        "indexes=[IndexColumn('what_bidx', transform='instant')])"
    )
    project.upgrade()
    now = _table(sa.DateTime(), index=BlindIndex())
    with engine.connect() as connection:
        assert connection.scalars(select(now.c.id).where(now.c.what == MIDNIGHT)).all() == [1]


def test_a_value_of_another_row_is_not_converted(tmp_path: Path, sqlite: Backend) -> None:
    engine, project = _engine(sqlite), Project(tmp_path, sqlite)
    _filled(engine, _table(sa.Date()), DAY, DAY)
    moved = "UPDATE visit SET what = (SELECT what FROM visit WHERE id = 1) WHERE id = 2"
    with engine.begin() as connection:
        connection.execute(text(moved))
    project.revision("op.convert_encrypted('visit', 'what', was=sa.Date(), to=sa.DateTime())")
    with pytest.raises(MigrationError, match="what of id=2: ContextMismatchError"):
        project.upgrade()


def test_a_script_goes_on_when_the_conversion_has_been_done(
    tmp_path: Path, sqlite: Backend
) -> None:
    engine, project = _engine(sqlite), Project(tmp_path, sqlite)
    _filled(engine, _table(sa.Date()), DAY)
    project.revision("op.convert_encrypted('visit', 'what', was=sa.Date(), to=sa.DateTime())")
    script = project.script("base:head")
    assert "visit.what: no run has converted it since" in script
    assert "state = 'finished'" in script


class Titled(sa.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True


@pytest.mark.parametrize(
    "inner",
    [
        sa.String(20), sa.Text(), sa.Integer(), sa.Numeric(10, 2), sa.Float(), sa.Boolean(),
        sa.Date(), sa.DateTime(timezone=True), sa.Time(), sa.Interval(), sa.Uuid(),
        sa.LargeBinary(), sa.JSON(), sa.Enum("a", "b", name="letter"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_type_is_told_to_workers_by_its_name_and_arguments(inner: Any) -> None:
    data = type_to_data(inner)
    assert type_to_data(type_from_data(data)) == data


def test_a_type_of_the_application_is_refused() -> None:
    with pytest.raises(DeclarationError, match="do not import the application's code"):
        type_to_data(Titled())
