"""A row whose key the database tells apart from the victim's is given the victim's ciphertext.

Were both keys taken for the same identity, the value would open there: a UUID in upper case, a
text key as BLOB, a number as text, a day before Christ.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy import (
    CHAR,
    BigInteger,
    Column,
    Date,
    Engine,
    Enum,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    Uuid,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.mysql import VARCHAR as MYSQL_VARCHAR
from sqlalchemy.types import VARBINARY

from encfields import EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.verify import verify
from encfields.errors import ContextMismatchError, UnreadableError
from encfields.testing import assert_absent
from tests.servers.backends import Backend

SECRET = "alice-4711"


class Day(TypeDecorator[dt.date]):
    impl = Date
    cache_ok = True


def vault(key_type: Any, **options: Any) -> Table:
    return Table(
        "vault",
        MetaData(),
        Column("id", key_type, primary_key=True, autoincrement=False),
        Column("owner", String(20)),
        Column("v", EncryptedType(**options)),
    )


def with_alice(backend: Backend, table: Table, key: Any) -> tuple[Engine, Encryption]:
    """The application's engine, and Alice's row in its database."""
    engine = backend.create_engine()
    encryption = attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table).values(id=key, owner="alice", v=SECRET))
    return engine, encryption


def steal(attacker: Engine, form: str) -> None:
    """Mallory's row: its key another form of Alice's, its value hers."""
    with attacker.begin() as connection:
        connection.execute(text(f"INSERT INTO vault SELECT {form}, 'mallory', v FROM vault"))
        assert connection.scalar(text("SELECT count(*) FROM vault")) == 2


def read_as_mallory(engine: Engine, table: Table) -> Any:
    with engine.connect() as connection:
        return connection.scalar(select(table.c.v).where(table.c.owner == "mallory"))


ALICE = uuid.UUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
HYPHENATED = (
    "substr(id,1,8)||'-'||substr(id,9,4)||'-'||substr(id,13,4)||'-'||substr(id,17,4)||'-'||"
    "substr(id,21)"
)
SQLITE_FORMS: dict[str, tuple[Any, Any, str]] = {
    "UUID in upper case": (Uuid, ALICE, "upper(id)"),
    "UUID with hyphens": (Uuid, ALICE, HYPHENATED),
    "UUID as BLOB": (Uuid, ALICE, "CAST(id AS BLOB)"),
    "UUID with a blank": (Uuid, ALICE, "id || ' '"),
    "UUID with a NUL": (Uuid, ALICE, "id || char(0)"),
    "text as BLOB": (String(20), "alice", "CAST(id AS BLOB)"),
    "CHAR as BLOB": (CHAR(20), "alice", "CAST(id AS BLOB)"),
    "CHAR with a blank": (CHAR(20), "alice", "id || ' '"),
    "text with a NUL": (String(20), "alice", "id || char(0)"),
    "digits as BLOB": (String(20), "7", "CAST(id AS BLOB)"),
    "Enum as BLOB": (Enum("alice", "bob"), "alice", "CAST(id AS BLOB)"),
    "bytes as text": (LargeBinary(20), b"alice", "CAST(id AS TEXT)"),
    "digits as a number": (LargeBinary(20), b"7", "7"),
    "bytes as another real": (LargeBinary(20), b"7.0", "7.0"),
    "number as BLOB": (BigInteger, 7, "CAST(CAST(id AS TEXT) AS BLOB)"),
    "number with a blank as BLOB": (Integer().with_variant(BigInteger(), "sqlite"), 7, "x'2037'"),
    "number as a real": (BigInteger, 7, "7.5"),
    "day as BLOB": (Date, dt.date(2026, 1, 31), "CAST(id AS BLOB)"),
    "day without a zero": (Date, dt.date(2026, 1, 31), "'2026-1-31'"),
    "day without hyphens": (Date, dt.date(2026, 1, 31), "'20260131'"),
    "day with a time": (Date, dt.date(2026, 1, 31), "'2026-01-31 00:00:00'"),
    "day as a week": (Date, dt.date(2026, 1, 31), "'2026-W05-6'"),
    "decorated day without hyphens": (Day, dt.date(2026, 1, 31), "x'3230323630313331'"),
}


@pytest.mark.parametrize("form", SQLITE_FORMS)
def test_another_form_of_a_key_does_not_open_on_sqlite(sqlite, form):
    key_type, key, other = SQLITE_FORMS[form]
    table = vault(key_type)
    engine, _ = with_alice(sqlite, table, key)
    steal(sqlite.create_engine(), other)
    with pytest.raises(ContextMismatchError) as caught:
        read_as_mallory(engine, table)
    assert (caught.value.table, caught.value.column) == ("vault", "v")
    assert caught.value.row is not None
    assert "id" in caught.value.row
    assert_absent(SECRET, caught.value)


SERVER_FORMS: dict[str, tuple[str, Any, Any, str]] = {
    "PostgreSQL, UUID in upper case": (
        "postgresql",
        Uuid(native_uuid=False),
        ALICE,
        "upper(id)",
    ),
    "PostgreSQL, day before Christ": (
        "postgresql",
        Date,
        dt.date(44, 3, 15),
        "date '0044-03-15 BC'",
    ),
    "PostgreSQL, day without end": ("postgresql", Date, dt.date(44, 3, 15), "date 'infinity'"),
    "PostgreSQL, text with a blank": ("postgresql", String(20), "alice", "id || ' '"),
    "PostgreSQL, text in upper case": ("postgresql", String(20), "alice", "upper(id)"),
    "MariaDB, UUID in upper case": (
        "mariadb",
        Uuid(native_uuid=False).with_variant(
            MYSQL_VARCHAR(32, collation="utf8mb4_nopad_bin"), "sqlite"
        ),
        ALICE,
        "upper(id)",
    ),
    "MariaDB, bytes that are no text": (
        "mariadb",
        String(20).with_variant(MYSQL_VARCHAR(20, collation="binary"), "mysql"),
        "?",
        "x'ff'",
    ),
    "MariaDB, day that is none": ("mariadb", Date, dt.date(2026, 1, 31), "'0000-00-00'"),
    "MariaDB, bytes with a NUL": (
        "mariadb",
        LargeBinary(20).with_variant(VARBINARY(20), "mysql"),
        b"a",
        "x'6100'",
    ),
    "MariaDB, byte that is no ASCII": (
        "mariadb",
        String(20).with_variant(MYSQL_VARCHAR(20, charset="ascii", collation="ascii_bin"), "mysql"),
        "a?b",
        "CONVERT(x'61ff62' USING ascii)",
    ),
    "MariaDB, byte that is no Cyrillic": (
        "mariadb",
        String(20).with_variant(
            MYSQL_VARCHAR(20, charset="cp1251", collation="cp1251_bin"), "mysql"
        ),
        "?",
        "CONVERT(x'98' USING cp1251)",
    ),
    "MariaDB, CHAR that is a VARCHAR": ("mariadb", CHAR(20), "alice", "CONCAT(id, ' ')"),
    "MariaDB, text with a blank": (
        "mariadb",
        String(20, collation="utf8mb4_nopad_bin"),
        "alice",
        "CONCAT(id, ' ')",
    ),
}


@pytest.mark.parametrize("form", SERVER_FORMS)
def test_another_form_of_a_key_does_not_open_on_a_server(request, form):
    server, key_type, key, other = SERVER_FORMS[form]
    backend = request.getfixturevalue(server)
    table = vault(key_type)
    engine, _ = with_alice(backend, table, key)
    attacker = backend.create_engine()
    with attacker.begin() as connection:
        if form == "MariaDB, UUID in upper case":  # under the default collation it is one row
            connection.execute(text("ALTER TABLE vault MODIFY id CHAR(32) COLLATE utf8mb4_bin"))
        if form == "MariaDB, CHAR that is a VARCHAR":
            nopad = "VARCHAR(20) COLLATE utf8mb4_nopad_bin"
            connection.execute(text(f"ALTER TABLE vault MODIFY id {nopad}"))
    if server == "mariadb":
        with attacker.begin() as connection:
            connection.execute(text("SET sql_mode = ''"))
            connection.execute(text(f"INSERT INTO vault SELECT {other}, 'mallory', v FROM vault"))
            connection.execute(text("SET sql_mode = DEFAULT"))
    else:
        steal(attacker, other)
    with pytest.raises((ContextMismatchError, UnreadableError)) as caught:
        read_as_mallory(engine, table)
    assert caught.value.row is not None
    assert "id" in caught.value.row


@pytest.mark.parametrize(
    "charset, key",
    [("latin1", "Zoë?"), ("cp1251", "Яна"), ("sjis", "山田"), ("ascii", "a?b"), ("utf8mb3", "Ω?")],
)
def test_a_key_in_another_character_set_opens(mariadb, charset, key):
    key_type = MYSQL_VARCHAR(20, charset=charset, collation=f"{charset}_bin")
    engine, _ = with_alice(mariadb, table := vault(key_type), key)
    with engine.connect() as connection:
        assert connection.scalar(select(table.c.v).where(table.c.id == key)) == SECRET


def test_the_victims_row_stays_readable(sqlite):
    table = vault(Uuid)
    engine, _ = with_alice(sqlite, table, ALICE)
    steal(sqlite.create_engine(), "upper(id)")
    with engine.connect() as connection:
        assert connection.scalar(select(table.c.v).where(table.c.owner == "alice")) == SECRET


# -- other ways to read -------------------------------------------------------------------------

_BULK_FORMS = {
    "text as BLOB": (String(20), "alice", "CAST(id AS BLOB)"),
    "number as BLOB": (BigInteger, 7, "x'37'"),
    "UUID in upper case": (Uuid, ALICE, "upper(id)"),
    "UUID with hyphens": (Uuid, ALICE, HYPHENATED),
    "day as BLOB": (Date, dt.date(2026, 1, 31), "CAST(id AS BLOB)"),
    "day without hyphens": (Date, dt.date(2026, 1, 31), "'20260131'"),
    "bytes as text": (LargeBinary(20), b"alice", "CAST(id AS TEXT)"),
}


@pytest.mark.parametrize("form", _BULK_FORMS)
def test_a_verification_reports_it_and_goes_on(sqlite, form):
    key_type, key, other = _BULK_FORMS[form]
    table = vault(key_type)
    engine, encryption = with_alice(sqlite, table, key)
    steal(sqlite.create_engine(), other)
    result = verify(engine, encryption, TableSpec.from_table(table))
    assert (result.rows, result.opened) == (2, 1)
    assert sum(result.failed.values()) == 1


@pytest.mark.parametrize("form", _BULK_FORMS)
def test_a_run_quarantines_it_and_moves_the_others(sqlite, form):
    key_type, key, other = _BULK_FORMS[form]
    table = vault(key_type)
    engine, encryption = with_alice(sqlite, table, key)
    steal(sqlite.create_engine(), other)
    encryption.keys.rotate("default")
    before = stolen(sqlite)
    run = Reencryption(engine, encryption, TableSpec.from_table(table))
    report = run.run()
    assert len(report.quarantined) == 1
    assert stolen(sqlite) == before
    with engine.connect() as connection:
        assert connection.scalar(select(table.c.v).where(table.c.owner == "alice")) == SECRET


def stolen(backend: Backend) -> bytes:
    with backend.create_engine().connect() as connection:
        found: bytes = connection.scalar(text("SELECT v FROM vault WHERE owner = 'mallory'"))
        return found
