"""psycopg delivers encrypted cells in binary form, and what stands beside them is the same."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from psycopg.types.numeric import FloatLoader
from sqlalchemy import (
    DDL,
    JSON,
    URL,
    Column,
    Connection,
    DateTime,
    Enum,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    event,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from encfields import EncryptedType, attach
from encfields.errors import UnreadableError
from encfields.orm import internals
from encfields.testing import local_store
from tests.drivers.conftest import WRAPPING_KEY, Leg

NOW = dt.datetime(2026, 11, 28, 12, 30, tzinfo=dt.UTC)
metadata = MetaData()
visit = Table(
    "visit_in_binary",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("note", EncryptedType(String)),
    Column("place", String(20)),
    Column("price", Numeric(10, 2)),
    Column("at", DateTime(timezone=True)),
    Column("code", Uuid),
    Column("more", JSON),
    Column("most", JSONB),
    Column("raw", LargeBinary),
    Column("kind", Enum("first", "again", name="kind_in_binary")),
)
numbered = Table(
    "numbered_in_binary",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("note", String(20)),
    implicit_returning=False,
)
ROW = {
    "id": 1,
    "note": "sleeps badly",
    "place": "Wien",
    "price": Decimal("12000.10"),
    "at": NOW,
    "code": uuid.UUID(int=7),
    "more": {"b": 1.50},
    "most": [1, None, "ä"],
    "raw": bytes(range(256)),
    "kind": "again",
}
OF_ANY_FORM = [column for column in visit.c if column.name != "kind"]


@pytest.fixture(params=["psycopg", "psycopg_async"])
def leg(request: pytest.FixtureRequest) -> Iterator[Leg]:
    request.getfixturevalue("_postgresql_tables").remove()
    database = request.getfixturevalue("_postgresql_database")
    url: URL = database.url
    leg = Leg("postgresql", url.set(drivername=f"postgresql+{request.param}")).attach()
    leg.run(metadata.create_all)
    leg.run(lambda connection: connection.execute(insert(visit), ROW))
    yield leg
    leg.run(metadata.drop_all)
    leg.dispose()
    database.empty()


def read(connection: Connection, *columns: Any) -> tuple[tuple[Any, ...], bool]:
    """The only row, and whether it was delivered in binary form."""
    result = connection.execute(select(*columns))
    cursor: Any = result.cursor
    answer = internals.driver_cursor(cursor).pgresult
    return tuple(result.one()), answer.fformat(0) == 1


def test_a_row_is_the_same_in_binary_form(leg: Leg) -> None:
    first, second = leg.run(lambda connection: [read(connection, *OF_ANY_FORM) for _ in "12"])
    assert [is_binary for _, is_binary in (first, second)] == [False, True]
    assert repr(first[0]) == repr(second[0])
    assert second[0] == tuple(ROW[column.name] for column in OF_ANY_FORM)


def test_text_is_requested_beside_a_type_that_binary_form_would_change(leg: Leg) -> None:
    rows = leg.run(lambda connection: [read(connection, visit.c.note, visit.c.kind) for _ in "12"])
    assert rows == [(("sleeps badly", "again"), False)] * 2


def test_text_is_requested_if_an_application_reads_a_type_in_its_own_way(leg: Leg) -> None:
    def readers(raw: Any, record: Any) -> None:
        raw.driver_connection.adapters.register_loader("numeric", FloatLoader)

    pool = getattr(leg.engine, "sync_engine", leg.engine).pool
    event.listen(pool, "checkout", lambda raw, record, fairy: readers(fairy, record))
    rows = leg.run(lambda connection: [read(connection, visit.c.note, visit.c.price) for _ in "12"])
    assert [row[0][1] for row in rows] == [12000.1] * 2
    assert [is_binary for _, is_binary in rows] == [False] * 2


def test_what_is_encrypted_alone_matters(leg: Leg) -> None:
    rows = leg.run(lambda connection: [read(connection, visit.c.raw) for _ in "12"])
    assert rows == [((ROW["raw"],), False)] * 2


@pytest.mark.parametrize("nesting", [False, True])
def test_text_is_asked_for_where_a_cte_writes(leg: Leg, nesting: bool) -> None:
    def executed(connection: Connection) -> list[int]:
        moved = update(visit).values(place="Graz").returning(visit.c.id)
        statement = select(visit.c.note).add_cte(moved.cte("moved", nesting=nesting))
        results: list[Any] = [connection.execute(statement) for _ in "12"]
        return [internals.driver_cursor(one.cursor).pgresult.fformat(0) for one in results]

    assert leg.run(executed) == [0, 0]


OTHER_TYPE = "ALTER TABLE visit_in_binary ALTER place TYPE kind_in_binary USING 'first'"


def change_elsewhere(connection: Connection, statement: str) -> None:
    """Change the table by the driver alone, which no listener sees."""
    cursor = connection.connection.cursor()
    cursor.execute(statement)
    cursor.close()


@pytest.mark.parametrize("kind", [text, DDL])
def test_a_column_whose_type_the_engine_has_changed_is_read(leg: Leg, kind: Any) -> None:
    def changed(connection: Connection) -> tuple[tuple[Any, ...], bool]:
        for _ in "12":
            read(connection, visit.c.note, visit.c.place)
        connection.execute(kind(OTHER_TYPE))
        return read(connection, visit.c.note, visit.c.place)

    assert leg.run(changed) == (("sleeps badly", "first"), False)


def test_a_column_whose_type_was_changed_elsewhere_is_refused_once(leg: Leg) -> None:
    def changed(connection: Connection) -> tuple[tuple[Any, ...], bool]:
        for _ in "12":
            read(connection, visit.c.note, visit.c.place)
        change_elsewhere(connection, OTHER_TYPE)
        with pytest.raises(UnreadableError, match="Execute it again"):
            read(connection, visit.c.note, visit.c.place)
        return read(connection, visit.c.note, visit.c.place)

    assert leg.run(changed) == (("sleeps badly", "first"), False)


def test_a_loader_that_is_registered_between_two_executions_is_used(leg: Leg) -> None:
    def registered(connection: Connection) -> list[tuple[tuple[Any, ...], bool]]:
        rows = [read(connection, visit.c.note, visit.c.price) for _ in "12"]
        driver: Any = connection.connection.driver_connection
        driver.adapters.register_loader("numeric", FloatLoader)
        return [*rows, read(connection, visit.c.note, visit.c.price)]

    rows = leg.run(registered)
    assert [repr(row[1]) for row, _ in rows] == ["Decimal('12000.10')"] * 2 + ["12000.1"]
    assert [is_binary for _, is_binary in rows] == [False, True, False]


def test_a_column_changed_to_a_type_with_a_loader_of_the_application_is_refused(leg: Leg) -> None:
    def changed(connection: Connection) -> tuple[tuple[Any, ...], bool]:
        driver: Any = connection.connection.driver_connection
        driver.adapters.register_loader("numeric", FloatLoader)
        for _ in "12":
            assert read(connection, visit.c.note, visit.c.place)[0] == ("sleeps badly", "Wien")
        change_elsewhere(
            connection, "ALTER TABLE visit_in_binary ALTER place TYPE numeric USING 12000.10"
        )
        with pytest.raises(UnreadableError, match="Execute it again"):
            read(connection, visit.c.note, visit.c.place)
        return read(connection, visit.c.note, visit.c.place)

    assert leg.run(changed) == (("sleeps badly", 12000.1), False)


def test_what_a_listener_executes_with_the_cursor_is_answered_in_text(leg: Leg) -> None:
    seen: list[object] = []

    def beside(connection: Any, cursor: Any, *_: Any) -> None:
        cursor.execute("SET LOCAL work_mem = '4MB'; SET LOCAL enable_sort = on")
        cursor.execute("SELECT 'again'::kind_in_binary")
        seen.append(cursor.fetchone()[0])

    engine = getattr(leg.engine, "sync_engine", leg.engine)
    event.listen(engine, "before_cursor_execute", beside)
    rows = leg.run(lambda connection: [read(connection, *OF_ANY_FORM) for _ in "12"])
    event.remove(engine, "before_cursor_execute", beside)
    assert [is_binary for _, is_binary in rows] == [False, True]
    assert seen == ["again"] * 2


def test_sql_of_the_application_that_reads_the_same_is_answered_in_text(leg: Leg) -> None:
    def executed(connection: Connection) -> tuple[Any, int]:
        statement = select(visit.c.id, visit.c.note)
        for _ in "12":
            result: Any = connection.execute(statement)
        result.close()
        raw: Any = connection.exec_driver_sql(result.context.statement)
        form = internals.driver_cursor(raw.cursor).pgresult.fformat(0)
        return raw.one().id, form

    assert leg.run(executed) == (1, 0)


def test_a_sequence_that_is_asked_for_a_key_after_a_read_answers(leg: Leg) -> None:
    def insert_after_reads(connection: Connection) -> tuple[Any, ...]:
        for _ in "12":
            read(connection, visit.c.note)
        connection.execute(insert(numbered), {"note": "sleeps well"})
        return tuple(connection.execute(select(numbered)).one())

    assert leg.run(insert_after_reads) == (1, "sleeps well")


def test_a_dialect_executes_while_it_gets_to_know_the_server(leg: Leg) -> None:
    again = Leg("postgresql", leg.url)
    dialect: Any = again.engine.dialect
    initialize = dialect.initialize
    told: list[Any] = []

    def executing(connection: Connection) -> None:
        initialize(connection)
        told.append(connection.scalar(select(visit.c.place)))

    dialect.initialize = executing
    attach(again.engine, local_store(WRAPPING_KEY))
    try:
        note = again.run(lambda connection: connection.scalar(select(visit.c.note)))
    finally:
        again.dispose()
    assert (told, note) == ([ROW["place"]], ROW["note"])
