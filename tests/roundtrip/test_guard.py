"""``EncryptedType(guard=True)``: what is no message the database refuses, whoever writes it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from encfields import BlindIndex, EncryptedType, Encryption

PLAINTEXT = b"plaintext, which is long enough to be taken for a message" * 20


@pytest.fixture
def patients(engine: Engine, encryption: Encryption) -> Table:
    table = Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String(20), guard=True, index=BlindIndex())),
        Column("Own notes", EncryptedType(String, guard=True), key="notes"),
        Column("open", EncryptedType(String)),
    )
    table.create(engine)
    return table


def test_messages_and_null_go_through(engine: Engine, patients: Table) -> None:
    """Shortest message included, by generated keys and given ones, and by an UPDATE."""
    with engine.begin() as connection:
        connection.execute(insert(patients), {"ssn": "", "notes": None})
        connection.execute(insert(patients), [{"id": n, "ssn": f"{n}"} for n in range(10, 40)])
        row = connection.execute(select(patients.c.id).where(patients.c.ssn == "12")).scalar_one()
        written = update(patients).where(patients.c.id == row).values(notes="x" * 90_000)
        connection.execute(written)
        found = connection.execute(select(patients.c.ssn, patients.c.notes).order_by("id")).all()
    assert found[0] == ("", None)
    assert ("12", "x" * 90_000) in [tuple(row) for row in found]


@pytest.mark.parametrize("value", [PLAINTEXT, b"", b"\x02\x04\x78 cut short", b"\x02\x05\x78" * 99])
@pytest.mark.parametrize("column", ["ssn", "Own notes"])
def test_raw_sql_cannot_write_anything_else(
    engine: Engine, patients: Table, column: str, value: bytes
) -> None:
    with engine.begin() as connection:
        connection.execute(insert(patients), {"id": 1, "ssn": "123", "notes": "well"})
    quoted = engine.dialect.identifier_preparer.quote(column)
    statement = text(f"UPDATE patient SET {quoted} = :value").bindparams(
        bindparam("value", type_=LargeBinary)
    )
    with pytest.raises(DBAPIError, match="_is_message"), engine.begin() as connection:
        connection.execute(statement, {"value": value})
    with engine.connect() as connection:
        assert connection.execute(select(patients.c.ssn, patients.c.notes)).one() == (
            "123",
            "well",
        )


def test_a_text_is_refused_by_sqlite_as_well(sqlite: Any) -> None:
    """Whose cells have the type of what is written, and whose texts compare by their letters."""
    engine = sqlite.create_engine()
    table = Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String, guard=True)),
    )
    table.create(engine)
    value = "\x02\x04\x78" + "x" * 300
    with pytest.raises(DBAPIError, match="_is_message"), engine.begin() as connection:
        connection.execute(text("INSERT INTO patient VALUES (1, :value)"), {"value": value})


def test_a_column_that_is_not_guarded_has_no_check(engine: Engine, patients: Table) -> None:
    checks = inspect(engine).get_check_constraints("patient")
    assert {one["name"] for one in checks} == {
        "patient_ssn_is_message",
        "patient_Own notes_is_message",
    }


def test_copies_of_a_table_have_their_own(patients: Table) -> None:
    copied = patients.to_metadata(MetaData(), name="former")
    kept = pickle.loads(pickle.dumps(patients.metadata)).tables["patient"]
    for table in (copied, kept):
        told = str(CreateTable(table))
        assert told.count("_is_message") == 0  # a dialect that has no such CHECK
        names = {str(one.name) for one in table.constraints if one.name}
        assert names == {f"{table.name}_ssn_is_message", f"{table.name}_Own notes_is_message"}


def test_a_long_name_is_cut_where_every_database_takes_it(engine: Engine) -> None:
    metadata = MetaData(naming_convention={"ck": "ck_%(table_name)s_%(constraint_name)s"})
    table = Table(
        "t" * 40,
        metadata,
        Column("id", Integer, primary_key=True),
        *(Column("c" * 40 + end, EncryptedType(String, guard=True)) for end in "ab"),
    )
    table.create(engine)
    names = {one["name"] for one in inspect(engine).get_check_constraints(table.name)}
    assert len(names) == 2
    assert all(name is not None and len(name) == 63 for name in names)
