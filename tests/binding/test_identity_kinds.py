"""Every kind of row key binds the same way on a write and on a read."""

from __future__ import annotations

import datetime as dt
import enum
import sqlite3
import uuid
from typing import Any

import pytest
from sqlalchemy import (
    BINARY,
    CHAR,
    BigInteger,
    Column,
    Date,
    Enum,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    TypeDecorator,
    Unicode,
    Uuid,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.types import VARBINARY

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.bulk import Reencryption, TableSpec
from encfields.errors import (
    AmbiguousRowError,
    ContextMismatchError,
    UnknownIdentityError,
)
from tests.database import CANARY, Database


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"
    ODD = "it's: odd"


class Guid(TypeDecorator):
    """The recipe of SQLAlchemy's documentation."""

    impl = CHAR(32)
    cache_ok = True

    def load_dialect_impl(self, dialect):
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID())
        return dialect.type_descriptor(CHAR(32))

    def process_bind_param(self, value, dialect):
        if value is None or dialect.name == "postgresql":
            return value
        return uuid.UUID(str(value)).hex

    def process_result_value(self, value, dialect):
        return value if value is None or isinstance(value, uuid.UUID) else uuid.UUID(value)


class Shouting(TypeDecorator):
    """Stores another text than it is given."""

    impl = String(40)
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else value.upper()

    def process_result_value(self, value, dialect):
        return None if value is None else value.lower()


class Prefixed(TypeDecorator):
    """Stores an integer for a text such as "C-7"."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else int(value.removeprefix("C-"))

    def process_result_value(self, value, dialect):
        return None if value is None else f"C-{value}"


class InBytes(TypeDecorator):
    """A UUID in sixteen bytes: a BLOB or BYTEA, and on MariaDB as `impl` has it."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, impl):
        super().__init__()
        self.stored = impl

    def load_dialect_impl(self, dialect):
        return dialect.type_descriptor(self.stored if dialect.name == "mysql" else LargeBinary())

    def process_bind_param(self, value, dialect):
        return None if value is None else value.bytes

    def process_result_value(self, value, dialect):
        return None if value is None else uuid.UUID(bytes=bytes(value))


UUIDS = [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid4(), uuid.uuid4()]
TEXTS = [
    "plain",
    "with:colon",
    ":",
    "::",
    "it's",
    'say "so"',
    "back\\slash",
    "100%",
    "%(id)s",
    ":bound",
    "żółw",
    "🜚 emoji 👩‍🚀",
    " leading",
    "trailing  ",
    "tab\tand\nline",
    "{brace}",
    "card:1:2",
    "0",
    "",
]
BYTES = [b"\x00", b"\x00\xff:", b":", b"plain", bytes(range(256))[:60]]

KINDS: dict[str, tuple[Any, list[Any]]] = {
    "Integer": (Integer, [-(2**31), -1, 0, 1, 2**31 - 1]),
    "SmallInteger": (SmallInteger, [-5, 7]),
    "BigInteger": (BigInteger, [-(2**63), -1, 2**53 + 1, 2**63 - 1]),
    "Uuid": (Uuid, UUIDS),
    "Uuid, not native": (Uuid(native_uuid=False), UUIDS),
    "Uuid as text": (Uuid(as_uuid=False), [str(u) for u in UUIDS]),
    "Uuid as text, not native": (
        Uuid(as_uuid=False, native_uuid=False),
        [str(u) for u in UUIDS],
    ),
    "String": (String(60), TEXTS),
    "Unicode": (Unicode(60), TEXTS),
    "String, binary collation": (
        String(60).with_variant(String(60, collation="utf8mb4_nopad_bin"), "mysql"),
        [*TEXTS, "PLAIN", "trailing"],
    ),
    "CHAR": (CHAR(12), ["d", "dd", "twelve chars", "a:b", "ż"]),
    "bytes": (LargeBinary().with_variant(VARBINARY(60), "mysql"), BYTES),
    "Date": (Date, [dt.date(1, 1, 1), dt.date(2026, 1, 31), dt.date(9999, 12, 31)]),
    "Enum": (Enum(Colour, name="colour"), list(Colour)),
    "Enum by value": (
        Enum(Colour, name="colour2", values_callable=lambda e: [m.value for m in e]),
        list(Colour),
    ),
    "Enum, not native": (Enum(Colour, native_enum=False), list(Colour)),
    "Enum of texts": (Enum("a", "b:c", name="letters"), ["a", "b:c"]),
    "GUID recipe": (Guid, UUIDS),
    "TypeDecorator of bytes": (InBytes(VARBINARY(16)), [*UUIDS, uuid.UUID(int=7 << 64)]),
    "TypeDecorator of BINARY": (InBytes(BINARY(16)), [*UUIDS, uuid.UUID(int=7 << 64)]),
    "TypeDecorator of text": (Shouting, ["one", "two: żółw"]),
    "variants": (
        CHAR(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql"),
        [str(u) for u in UUIDS],
    ),
    "TypeDecorator of an integer": (Prefixed, ["C-1", "C--7"]),
}


def keyed_table(type_: Any) -> Table:
    return Table(
        "keyed",
        MetaData(),
        Column("id", type_, primary_key=True, autoincrement=False),
        Column("v", EncryptedType()),
    )


def filled_table(db: Database, kind: str) -> tuple[Table, list[Any]]:
    """A table with a row for each key of a kind, whose value is "v-" and the key; and the keys."""
    type_, keys = KINDS[kind]
    if db.name == "mysql" and kind == "String, binary collation":
        type_ = String(60, collation="utf8mb4_0900_bin")
    table = keyed_table(type_)
    if db.name == "mariadb" and kind in ("String", "Unicode"):
        keys = [key for key in keys if key != "trailing"]
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": k, "v": f"v-{k}"} for k in keys])
    return table, keys


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_any_kind_binds_and_tells_rows_apart(db, kind):
    table, keys = filled_table(db, kind)
    with db.begin() as connection:
        for key in keys:
            assert connection.scalar(select(table.c.v).where(table.c.id == key)) == f"v-{key}"
            done = connection.execute(update(table).where(table.c.id == key).values(v=f"w-{key}"))
            assert done.rowcount == 1
        values = connection.scalars(select(table.c.v)).all()
    assert sorted(values) == sorted(f"w-{key}" for key in keys)


@pytest.mark.parametrize("kind", ["Uuid", "String", "CHAR", "bytes", "Date", "Enum", "GUID recipe"])
def test_a_value_moved_between_keys_of_any_kind_is_refused(db, kind):
    type_, keys = KINDS[kind]
    table = keyed_table(type_)
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": k, "v": "v"} for k in keys[:2]])
        one, two = keys[:2]
    db.copy_cell(table.c.v, source=one, target=two)
    with db.begin() as connection, pytest.raises(ContextMismatchError):
        connection.scalar(select(table.c.v).where(table.c.id == two))


def test_the_context_is_the_same_on_every_database(db):
    table = keyed_table(Uuid)
    db.create(table.metadata)
    key = uuid.UUID("0f" * 16)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=key, v="v"))
    assert b"\x00\nenc:column\x00\x07keyed.v" in db.stored(table.c.v, key)
    assert b"\x00\nenc:row:id\x00\x24" + str(key).encode() in db.stored(table.c.v, key)


@pytest.mark.parametrize("kind", ["Uuid", "Date", "String", "CHAR", "bytes", "Enum", "variants"])
def test_a_message_of_one_database_opens_in_another(sqlite_db, postgresql, mariadb, kind):
    type_, (key, *_) = KINDS[kind]
    table = keyed_table(type_)
    sqlite_db.create(table.metadata)
    with sqlite_db.begin() as connection:
        connection.execute(insert(table).values(id=key, v="carried over"))
    message = sqlite_db.stored(table.c.v, key)
    for backend in (postgresql, mariadb):
        engine = backend.create_engine()
        attach(engine, SqlKeyStore(keyrings.local(bytes(32)), engine=sqlite_db.engine))
        table.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(insert(table).values(id=key))
            bare = Table("keyed", MetaData(), Column("v", LargeBinary))
            connection.execute(update(bare).values(v=message))
            assert connection.scalar(select(table.c.v)) == "carried over"


def test_a_padded_char_key_is_found_with_and_without_its_blanks(db):
    table = keyed_table(CHAR(8))
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": "a", "v": "v-a"}, {"id": "b  ", "v": "v-b"}])
        rows = connection.execute(select(table)).all()
        assert sorted((row.id.rstrip(), row.v) for row in rows) == [("a", "v-a"), ("b", "v-b")]


def test_sqlite_tells_a_char_key_with_blanks_from_one_without(sqlite_db):
    table = keyed_table(CHAR(8))
    sqlite_db.create(table.metadata)
    with sqlite_db.begin() as connection:
        connection.execute(insert(table), [{"id": "d", "v": "one"}, {"id": "d ", "v": "two"}])
        assert connection.execute(select(table)).all() == [("d", "one"), ("d ", "two")]
    sqlite_db.copy_cell(table.c.v, source="d", target="d ")
    with sqlite_db.begin() as connection, pytest.raises(ContextMismatchError):
        connection.execute(select(table)).all()


def test_a_key_of_the_wrong_python_type_is_refused(db):
    for type_, key in ((Integer, "1.0"), (Integer, "0"), (String(20), 1), (Date, "2026-01-01")):
        table = keyed_table(type_)
        table.drop(db.engine, checkfirst=True)
        db.create(table.metadata)
        with db.begin() as connection, pytest.raises(Exception) as caught:  # noqa: PT011
            connection.execute(insert(table).values(id=key, v=CANARY))
        assert CANARY not in str(caught.value)
        assert db.rows(table) == []


def test_a_key_s_digits_are_bound_as_its_number(db):
    table = keyed_table(Integer)
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": "7", "v": "v"}, {"id": "-70", "v": "w"}])
        assert sorted(connection.execute(select(table)).all()) == [(-70, "w"), (7, "v")]


def test_a_key_is_bound_by_the_date_of_a_datetime(db):
    table = keyed_table(Date)
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=dt.datetime(2026, 1, 31, 12), v="v"))
        assert connection.execute(select(table)).one() == (dt.date(2026, 1, 31), "v")


def test_a_key_of_fixed_length_is_bound_as_the_database_pads_it(db):
    # PostgreSQL has no such type.
    table = keyed_table(BINARY(8).with_variant(postgresql.BYTEA(), "postgresql"))
    db.create(table.metadata)
    keys = [b"12345678", b"ends\x00\x00\x00\x00", b"short", b"\x00"]
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": k, "v": k.hex()} for k in keys])
        rows = connection.execute(select(table)).all()
        assert sorted(bytes(row.id).rstrip(b"\x00") for row in rows) == sorted(
            key.rstrip(b"\x00") for key in keys
        )
        assert sorted(row.v for row in rows) == sorted(key.hex() for key in keys)


def test_a_key_filled_with_zeros_is_bound_as_its_number(db):
    if db.name not in ("mariadb", "mysql"):
        pytest.skip("no other database fills numbers with zeros")
    table = keyed_table(mysql.BIGINT(unsigned=True, zerofill=True))
    db.create(table.metadata)
    keys = [0, 7, 100, 2**64 - 1]
    with db.begin() as connection:
        connection.exec_driver_sql("SET sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')")
        connection.execute(insert(table), [{"id": key, "v": f"v-{key}"} for key in keys])
        rows = connection.execute(select(table).order_by(table.c.id)).all()
    assert rows == [(key, f"v-{key}") for key in keys]
    assert b"\x00\x017" in db.stored(table.c.v, 7)
    db.encryption.keys.rotate("default")
    report = Reencryption(db.engine, db.encryption, TableSpec.from_table(table)).run()
    assert (report.rows_written, report.quarantined) == (len(keys), ())


def test_a_flag_among_integers_is_stored_and_bound_as_a_number(db):
    if db.engine.driver in ("pg8000", "psycopg2"):
        pytest.skip("sends a flag as such, which is no integer")
    table = keyed_table(Integer)
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=True, v="v"))
        assert connection.execute(select(table)).one() == (1, "v")


def test_a_text_that_is_an_enum_is_bound_as_the_text_it_is(db):
    class Letter(str, enum.Enum):  # noqa: UP042 - whose str() is not its value
        A = "a"

    table = keyed_table(String(9))
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=Letter.A, v="v"))
        assert connection.execute(select(table)).one() == ("a", "v")


@pytest.mark.parametrize("spelling", [str.upper, "{{{}}}".format, "urn:uuid:{}".format])
def test_a_uuid_that_is_stored_as_it_is_spelt_is_refused_in_another_spelling(db, spelling):
    table = keyed_table(Uuid(as_uuid=False, native_uuid=False))
    db.create(table.metadata)
    key = spelling(str(uuid.UUID("0f" * 16)))
    with db.begin() as connection, db.refused(UnknownIdentityError, table) as caught:
        connection.execute(insert(table).values(id=key, v=CANARY))
    assert caught.value.reason == "identity-form"


class Day(TypeDecorator):
    impl = Date
    cache_ok = True


def test_a_decorated_date_binds_on_every_database(db):
    table = keyed_table(Day)
    db.create(table.metadata)
    days = [dt.date(2024, 2, 29), dt.date(1, 1, 1)]
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": d, "v": str(d)} for d in days])
        connection.execute(update(table).where(table.c.id == days[0]).values(v="new"))
        assert dict(connection.execute(select(table)).all()) == {
            days[0]: "new",
            days[1]: str(days[1]),
        }


def test_a_date_that_sqlite_keeps_in_another_format_has_the_text_of_all_dates(sqlite_db):
    in_digits = sqlite.DATE(
        storage_format="%(year)04d%(month)02d%(day)02d", regexp=r"(\d{4})(\d{2})(\d{2})"
    )
    table = keyed_table(Date().with_variant(in_digits, "sqlite"))
    sqlite_db.create(table.metadata)
    with sqlite_db.begin() as connection:
        connection.execute(insert(table).values(id=dt.date(2026, 1, 31), v="v"))
        assert connection.scalar(select(table.c.v)) == "v"
    with sqlite_db.plain.connect() as connection:
        assert connection.scalar(text("SELECT id FROM keyed")) == "20260131"
        assert b"2026-01-31" in connection.scalar(text("SELECT v FROM keyed"))


@pytest.mark.filterwarnings("ignore:The default date:DeprecationWarning")
def test_a_date_that_the_driver_of_sqlite_spells_has_the_text_of_all_dates(sqlite):
    as_declared = {"detect_types": sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES}
    db = Database(sqlite, native_datetime=True, connect_args=as_declared)
    table = keyed_table(Date)
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=dt.date(2026, 1, 31), v="v"))
        assert connection.execute(select(table)).one() == (dt.date(2026, 1, 31), "v")
    with db.begin() as connection, pytest.raises(UnknownIdentityError):  # it would keep the hour
        connection.execute(insert(table).values(id=dt.datetime(2026, 1, 30, 12), v="v"))
    with db.plain.connect() as connection:
        assert b"2026-01-31" in connection.scalar(text("SELECT v FROM keyed"))


# -- foreign keys as keys ----------------------------------------------------------------------


def test_a_key_that_is_a_foreign_key_binds(db):
    metadata = MetaData()
    Table("owner", metadata, Column("id", Integer, primary_key=True, autoincrement=False))
    passport = Table(
        "passport",
        metadata,
        Column("owner_id", ForeignKey("owner.id"), primary_key=True),
        Column("number", EncryptedType()),
    )
    db.create(metadata)
    with db.begin() as connection:
        connection.execute(insert(metadata.tables["owner"]), [{"id": 1}, {"id": 2}])
        connection.execute(insert(passport), [{"owner_id": n, "number": f"n-{n}"} for n in (1, 2)])
        assert connection.scalars(select(passport.c.number)).all() == ["n-1", "n-2"]
    db.copy_cell(passport.c.number, source=2, target=1)
    with db.begin() as connection, pytest.raises(ContextMismatchError):
        connection.scalars(select(passport.c.number)).all()


# -- bind_to -----------------------------------------------------------------------------------


def test_bind_to_another_column_than_the_primary_key(db):
    table = Table(
        "keyed",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("row_key", Uuid, nullable=False, unique=True),
        Column("v", EncryptedType(bind_to="row_key")),
    )
    db.create(table.metadata)
    keys = [uuid.uuid4(), uuid.uuid4()]
    with db.begin() as connection:
        connection.execute(insert(table), [{"row_key": k, "v": str(k)} for k in keys])
        connection.execute(update(table).where(table.c.row_key == keys[0]).values(v="new"))
        rows = {row.row_key: row.v for row in connection.execute(select(table))}
        assert rows == {keys[0]: "new", keys[1]: str(keys[1])}
        connection.execute(update(table).where(table.c.id == 1).values(v="by id"))
        assert connection.scalar(select(table.c.v).where(table.c.id == 1)) == "by id"
    with db.begin() as connection, db.refused(AmbiguousRowError, table):
        connection.execute(update(table).where(table.c.id <= 1).values(v=CANARY))


def test_bind_to_a_column_without_a_value_is_refused(db):
    table = Table(
        "keyed",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant", Integer),
        Column("v", EncryptedType(bind_to=["tenant", "id"])),
    )
    db.create(table.metadata)
    for row in ({"id": 1, "v": CANARY}, {"id": 1, "tenant": None, "v": CANARY}):
        with db.begin() as connection, db.refused(UnknownIdentityError, table) as caught:
            connection.execute(insert(table).values(row))
        assert "tenant" in str(caught.value)
