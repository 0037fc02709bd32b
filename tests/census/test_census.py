"""A census tells without a key what each value of a table is, and counts each once."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Uuid,
    create_engine,
    event,
    insert,
    text,
)

from encfields import EncryptedType, Encryption
from encfields.bulk.errors import DatabaseUnavailableError, ReencryptionError
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.survey.census import census
from encfields.bulk.survey.column_census import MAX_EXAMPLES
from encfields.bulk.survey.verify import verify
from encfields.context import deserialize
from encfields.errors import DeclarationError
from encfields.message import read_header
from encfields.testing import assert_absent
from tests.census.clinic import SECRET, fill, overwrite, patient_table, spec_of, stored
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


def _active(encryption: Encryption) -> dict[str, str]:
    return {one.id: one.version for one in encryption.keys.list() if one.active}


def test_values_are_counted_under_their_key_version_and_nulls_apart(engine, encryption, patients):
    fill(engine, patients, range(1, 101))
    old = _active(encryption)["default"]
    new = encryption.keys.rotate("default").version
    fill(engine, patients, range(101, 131))

    told = census(engine, spec_of(patients))

    ssn, notes = told.columns
    assert told.rows == 130
    assert ssn.versions == {("default", old): 100, ("default", new): 30}
    assert notes.versions == {("default", old): 90, ("default", new): 27}
    assert (ssn.nulls, notes.nulls) == (0, 13)
    assert ssn.current({"default": new}) == 30
    assert not told.is_current({"default": new})


def test_a_table_under_the_active_version_alone_is_current(engine, encryption, patients):
    fill(engine, patients, range(1, 21))
    told = census(engine, spec_of(patients))
    assert told.is_current(_active(encryption))
    assert told.faults == 0
    assert told.columns[0].examples == {}


def test_no_key_and_no_attached_engine_is_needed(backend: Backend, engine, encryption, patients):
    fill(engine, patients, range(1, 6))
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE encfields_keys"))
    encryption.detach()
    told = census(backend.create_engine(), spec_of(patients))
    assert told.columns[0].values == 5


@on_each_database
@pytest.mark.parametrize("batch_rows", [1, 2, 7, 20, 21])
def test_every_row_is_seen_once_whatever_the_step(engine, patients, batch_rows):
    fill(engine, patients, range(1, 21))
    seen: list[int] = []
    told = census(engine, spec_of(patients), batch_rows=batch_rows, progress=seen.append)
    assert told.rows == 20
    assert told.columns[0].versions.total() == 20
    assert seen == sorted(seen)
    assert seen[-1] == 20


def test_a_swapped_value_is_misplaced_and_both_places_are_named(engine, patients):
    fill(engine, patients, range(1, 6))
    one, two = stored(engine, 1), stored(engine, 2)
    overwrite(engine, 1, two)
    overwrite(engine, 2, one)

    ssn, notes = census(engine, spec_of(patients)).columns

    assert ssn.misplaced.total() == 2
    assert ssn.versions.total() == 3
    assert ssn.bound_to == {"patient.ssn": 2}
    assert [(dict(e.row), dict(e.belongs_to or {})) for e in ssn.examples["misplaced"]] == [
        ({"id": "1"}, {"enc:column": "patient.ssn", "enc:row:id": "2"}),
        ({"id": "2"}, {"enc:column": "patient.ssn", "enc:row:id": "1"}),
    ]
    assert notes.misplaced.total() == 0


def test_a_value_of_another_column_is_misplaced(engine, patients):
    fill(engine, patients, range(1, 4))
    overwrite(engine, 1, stored(engine, 1, "notes"))
    (ssn, _) = census(engine, spec_of(patients)).columns
    assert ssn.bound_to == {"patient.notes": 1}
    assert ssn.faults == 1


def test_a_renamed_column_shows_where_all_its_values_are_bound(engine, patients):
    fill(engine, patients, range(1, 31))
    spec = TableSpec.of("patient", [SealedColumn("ssn", logical_name="person.ssn")])
    (ssn,) = census(engine, spec).columns
    assert ssn.bound_to == {"patient.ssn": 30}
    assert len(ssn.examples["misplaced"]) == MAX_EXAMPLES


@pytest.mark.parametrize(
    "alter, reason",
    [
        (lambda m: m[:-1], "truncated"),
        (lambda m: m[:100], "truncated"),
        (lambda m: m[:2], "truncated"),
        (lambda m: m + b"\0", "trailing"),
        (lambda m: b"", "empty"),
    ],
    ids=["last byte", "header", "magic", "padded", "empty"],
)
def test_a_message_whose_length_is_not_its_own_is_damaged(engine, patients, alter, reason):
    fill(engine, patients, range(1, 4))
    overwrite(engine, 2, alter(stored(engine, 2)))
    (ssn, _) = census(engine, spec_of(patients)).columns
    assert ssn.damaged == {reason: 1}
    assert ssn.versions.total() == 2
    assert [dict(e.row) for e in ssn.examples["damaged"]] == [{"id": "2"}]


@on_each_database
@pytest.mark.parametrize("cut", [0, 1, -1, 40])
def test_the_length_of_a_long_value_is_checked_though_only_its_head_is_read(engine, patients, cut):
    fill(engine, patients, range(1, 3), value=SECRET * 500)
    message = stored(engine, 1)
    overwrite(engine, 1, message + b"\0" * cut if cut >= 0 else message[:cut])
    (ssn, _) = census(engine, spec_of(patients)).columns
    expected = {0: {}, -1: {"truncated": 1}}.get(cut, {"trailing": 1})
    assert ssn.damaged == expected
    assert ssn.versions.total() == 2 - len(expected)


@on_each_database
def test_the_value_itself_is_not_read(engine, patients):
    fill(engine, patients, range(1, 4), value=SECRET * 5_000)
    fetched: list[int] = []

    @event.listens_for(engine, "after_cursor_execute")
    def _watch(connection, cursor, statement, parameters, context, executemany):
        fetched.append(statement.lower().count("substr("))

    (ssn, _) = census(engine, spec_of(patients)).columns
    assert ssn.versions.total() == 3
    reads = [count for count in fetched if count]
    assert reads == [2]


@on_each_database
def test_a_header_longer_than_what_is_read_at_first_is_read_whole(engine, encryption):
    table = Table(
        "archive",
        MetaData(),
        Column("path", String(700), primary_key=True),
        Column("body", EncryptedType(String, name="b" * 900)),
    )
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"path": c * 600, "body": SECRET} for c in "abc"])
    assert census(engine, TableSpec.from_table(table)).columns[0].versions.total() == 3


def test_values_that_are_read_whole_are_read_together(engine, encryption):
    table = Table(
        "page",
        MetaData(),
        Column("book", String(20), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("body", EncryptedType(String, name="b" * 900)),
    )
    table.create(engine)
    rows = [{"book": b, "number": n, "body": SECRET} for b in "ab" for n in range(40)]
    with engine.begin() as connection:
        connection.execute(insert(table), rows)
        connection.execute(text("UPDATE page SET book = 'c' WHERE book = 'b' AND number < 5"))
    statements: list[str] = []

    @event.listens_for(engine, "after_cursor_execute")
    def _watch(connection, cursor, statement, parameters, context, executemany):
        statements.append(statement)

    (body,) = census(engine, TableSpec.from_table(table)).columns
    assert (body.versions.total(), body.misplaced.total()) == (75, 5)
    assert len([one for one in statements if " IN (" in one and "page" in one]) == 1


@on_each_database
def test_plaintext_is_counted_and_never_shown(engine, patients):
    fill(engine, patients, range(1, 4))
    overwrite(engine, 2, SECRET.encode())
    told = census(engine, spec_of(patients))
    assert told.columns[0].plaintext == 1
    assert [dict(e.row) for e in told.columns[0].examples["plaintext"]] == [{"id": "2"}]
    assert_absent(SECRET, repr(told), json.dumps(told.to_json()))


@on_each_database
def test_a_text_column_that_is_not_encrypted_yet_is_plaintext(engine, patients):
    fill(engine, patients, range(1, 4))
    spec = TableSpec.of("patient", ["name", "ssn"])
    name, ssn = census(engine, spec).columns
    assert (name.plaintext, ssn.versions.total()) == (3, 3)


@on_each_database
def test_a_column_of_numbers_or_dates_is_plaintext(engine, encryption):
    table = Table(
        "visit", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer),
        Column("d", Date),
    )  # fmt: skip
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO visit VALUES (1, 5, '2026-01-31'), (2, NULL, NULL)"))
    for column in census(engine, TableSpec.of("visit", ["n", "d"])).columns:
        assert (column.plaintext, column.nulls) == (1, 1)


@on_each_database
def test_messages_of_another_suite_or_in_base64_are_another_format(engine, patients):
    fill(engine, patients, range(1, 5))
    message = stored(engine, 1)
    overwrite(engine, 2, b"\x02\x05\x78" + message[3:])
    overwrite(engine, 3, base64.b64encode(message))
    (ssn, _) = census(engine, spec_of(patients)).columns
    assert ssn.other_format == {"suite": 1, "base64": 1}
    assert ssn.faults == 0
    assert ssn.versions.total() == 2


def test_values_under_another_key_than_their_rows_are_not_current(engine, encryption, patients):
    fill(engine, patients, range(1, 4))
    encryption.keys.create("clinical")
    (ssn,) = census(engine, TableSpec.of("patient", [SealedColumn("ssn", key="clinical")])).columns
    version = _active(encryption)["default"]
    assert ssn.other_key == {("default", version): 3}
    assert ssn.current(_active(encryption)) == 0
    assert ssn.under("default", version) == 3


def test_each_tenants_values_are_counted_under_their_own_key(engine, encryption):
    table = Table(
        "bill",
        MetaData(),
        Column("tenant", String(20), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("amount", EncryptedType(Integer, key="tenant/{tenant}")),
    )
    table.create(engine)
    rows = [{"tenant": t, "number": n, "amount": n} for t in ("a", "b") for n in range(1, 8)]
    with engine.begin() as connection:
        connection.execute(insert(table), rows)
    for batch_rows in (1, 3, 100):
        told = census(engine, TableSpec.from_table(table), batch_rows=batch_rows)
        assert {key: n for (key, _), n in told.columns[0].versions.items()} == {
            "tenant/a": 7,
            "tenant/b": 7,
        }
        assert told.is_current(_active(encryption))


@on_each_database
def test_a_uuid_key_is_the_same_row_on_databases_without_uuids(engine, encryption):
    table = Table(
        "parcel",
        MetaData(),
        Column("id", Uuid, primary_key=True),
        Column("content", EncryptedType(String, key="of/{id}")),
    )
    table.create(engine)
    rows = [{"id": uuid.uuid4(), "content": SECRET} for _ in range(5)]
    with engine.begin() as connection:
        connection.execute(insert(table), rows)
    (content,) = census(engine, TableSpec.from_table(table), batch_rows=2).columns
    assert content.versions.total() == 5
    assert (content.faults, content.other_key.total()) == (0, 0)


@on_each_database
def test_a_table_without_a_primary_key_is_read_whole(engine, encryption):
    table = Table(
        "reading",
        MetaData(),
        Column("sensor", Integer),
        Column("level", EncryptedType(Integer, bind_to="sensor")),
    )
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"sensor": i, "level": i} for i in range(10)])
        connection.execute(text("UPDATE reading SET sensor = NULL WHERE sensor = 3"))
    (level,) = census(engine, TableSpec.from_table(table), batch_rows=3).columns
    assert level.versions.total() == 9
    assert level.damaged == {"no-identity": 1}
    assert [dict(e.row) for e in level.examples["damaged"]] == [{"sensor": None}]


def test_a_connection_of_the_caller_will_do(engine, patients):
    fill(engine, patients, range(1, 31))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM patient WHERE id > 10"))
        assert census(connection, spec_of(patients), batch_rows=4).rows == 10
        connection.rollback()
    assert census(engine, spec_of(patients)).rows == 30


def test_an_empty_table_is_current(engine, encryption, patients):
    told = census(engine, spec_of(patients))
    assert told.rows == 0
    assert told.is_current({})


@on_each_database
def test_a_missing_table_or_column_is_named(engine, patients):
    with pytest.raises(DeclarationError, match="no such table"):
        census(engine, TableSpec.of("nowhere", ["ssn"]))
    with pytest.raises(DeclarationError, match="nickname"):
        census(engine, TableSpec.of("patient", ["nickname"]))


LIMITS: dict[str, dict[str, Any]] = {
    "postgresql": {"options": "-c statement_timeout=100"},
    "mariadb": {"init_command": "SET max_join_size = 1, sql_big_selects = 0"},
    "sqlite": {"timeout": 0},
}
LOCKS = {
    "postgresql": "LOCK TABLE patient",
    "mariadb": "SELECT 1",
    "sqlite": "BEGIN EXCLUSIVE",
}


@on_each_database
def test_what_a_limit_of_the_database_ends_is_an_error_of_this_library(
    backend: Backend, engine: Engine, encryption: Encryption, patients: Table
) -> None:
    """It names the setting, and no driver's error comes along, whose text can hold a value."""
    fill(engine, patients, range(1, 11))
    limited = create_engine(engine.url, connect_args=LIMITS[backend.family])
    with engine.connect() as holder:
        holder.exec_driver_sql(LOCKS[backend.family])
        for look in (census, lambda bind, spec: verify(bind, encryption, spec)):
            with pytest.raises(ReencryptionError) as caught:
                look(limited, spec_of(patients))
            setting = {"postgresql": "statement_timeout", "mariadb": "max_join_size"}
            assert setting.get(backend.family, "OperationalError") in str(caught.value)
            assert caught.value.__cause__ is caught.value.__context__ is None
            passes = isinstance(caught.value, DatabaseUnavailableError)
            assert passes == (backend.family != "mariadb")
        holder.rollback()
    limited.dispose()


def test_the_json_form_holds_every_count(engine, encryption, patients):
    fill(engine, patients, range(1, 11))
    overwrite(engine, 1, stored(engine, 2))
    overwrite(engine, 3, stored(engine, 3)[:-1])
    told = json.loads(json.dumps(census(engine, spec_of(patients)).to_json()))
    ssn = told["columns"][0]
    version = _active(encryption)["default"]
    assert (told["table"], told["rows"], told["sample"]) == ("patient", 10, None)
    assert ssn["versions"] == [{"key_id": "default", "version": version, "values": 8}]
    assert (ssn["misplaced"], ssn["damaged"], ssn["nulls"]) == (1, {"truncated": 1}, 0)
    assert ssn["examples"]["misplaced"] == [
        {
            "row": {"id": "1"},
            "reason": "misplaced",
            "belongs_to": {"enc:column": "patient.ssn", "enc:row:id": "2"},
        }
    ]


@on_each_database
def test_awkward_names_of_tables_and_columns_are_quoted(engine, encryption):
    table = Table(
        'we ird%"t',
        MetaData(),
        Column("i d%s", Integer, primary_key=True, autoincrement=False),
        Column("se:cret", EncryptedType(LargeBinary)),
    )
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"i d%s": 1, "se:cret": b"x"}])
    (secret,) = census(engine, TableSpec.from_table(table)).columns
    assert secret.versions.total() == 1
    header = read_header(_only_value(engine, table))
    assert deserialize(header.context)["enc:row:i d%s"] == "1"


def _only_value(engine: Engine, table: Table) -> bytes:
    quote = engine.dialect.identifier_preparer.quote
    statement = f"SELECT {quote('se:cret')} FROM {quote(table.name)}"
    with engine.connect() as connection:
        return bytes(connection.exec_driver_sql(statement).scalar_one())


def test_a_declared_key_and_binding_are_taken_from_the_spec(engine, encryption):
    table = patient_table(key="clinical", name="person.ssn", bind_to=("name",))
    table.create(engine)
    fill(engine, table, range(1, 4))
    told = census(engine, TableSpec.from_table(table))
    assert told.is_current(_active(encryption))
    assert told.columns[0].logical_name == "person.ssn"
