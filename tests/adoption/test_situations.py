"""Tables of other shapes: partitions, arrays, compound indexes, JSON's null, guarded columns."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType, Plaintext
from encfields.adopt import (
    Adoption,
    adopt,
    begin_adoption,
    close_plaintext,
    end_adoption,
    ensure_adopted,
    refill_plaintext,
    withdraw_adoption,
)
from encfields.bulk import SealedColumn, TableSpec
from encfields.errors import DeclarationError, UnsupportedOperationError
from tests.adoption.models import PHASES
from tests.database import Database
from tests.servers.backends import Backend


def sealed(name: str, inner: Any, phase: str, **options: Any) -> Column[Any]:
    """An encrypted column that adopts the plaintext column `name`."""
    adopts = Plaintext(name, phase=phase)  # type: ignore[arg-type]
    type_ = EncryptedType(inner, name=f"t.{name}", adopts=adopts, **options)
    return Column(f"{name}_enc", type_, key=name)


def through_all_steps(db: Database, adoption: Adoption, rows: int) -> None:
    """Adopt, go back, and end."""
    assert adopt(db.engine, db.encryption, adoption).finished
    assert ensure_adopted(db.engine, db.encryption, adoption).both == rows
    close_plaintext(db.engine, db.encryption, adoption)
    assert refill_plaintext(db.engine, db.encryption, adoption).finished
    assert ensure_adopted(db.engine, db.encryption, adoption).both == rows
    close_plaintext(db.engine, db.encryption, adoption)
    end_adoption(db.engine, adoption)


PARTITIONED = {
    "postgresql": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, email VARCHAR(80) NOT NULL)"
        " PARTITION BY RANGE (id)",
        "CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE t_high PARTITION OF t FOR VALUES FROM (10) TO (100)",
    ),
    "mariadb": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, email VARCHAR(80) NOT NULL)"
        " PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (10),"
        " PARTITION high VALUES LESS THAN (100))",
    ),
}
PARTITIONED["mysql"] = PARTITIONED["mariadb"]


def test_a_partitioned_table_is_adopted_as_any_other(db: Database) -> None:
    if db.name not in PARTITIONED:
        pytest.skip("SQLite has no partitions")
    for statement in PARTITIONED[db.name]:
        db.execute_plain(statement)
    db.execute_plain("INSERT INTO t VALUES (1, 'a@x'), (9, 'b@x'), (12, 'c@x')")

    def version(phase: str) -> Table:
        column = sealed("email", String(80), phase, index=BlindIndex())
        return Table("t", MetaData(), Column("id", Integer, primary_key=True), column)

    both = version("read-sealed")
    adoption = Adoption.of(both.c.email)
    begin_adoption(db.engine, adoption)
    adopt(db.engine, db.encryption, adoption)
    db.execute_plain("UPDATE t SET email = 'new@x' WHERE id = 12")
    # From one partition into another: the key that the value is bound to changes.
    db.execute_plain("UPDATE t SET id = 20 WHERE id = 9")
    with db.engine.connect() as connection:
        rows = connection.execute(select(both.c.id, both.c.email).order_by(both.c.id)).all()
        assert [tuple(row) for row in rows] == [(1, "a@x"), (12, "new@x"), (20, "b@x")]
        found = connection.scalars(select(both.c.id).where(both.c.email.in_(["b@x", "new@x"])))
        assert sorted(found) == [12, 20]
    through_all_steps(db, adoption, 3)


def test_arrays_are_adopted(db: Database) -> None:
    if db.name != "postgresql":
        pytest.skip("only PostgreSQL has arrays")
    old = Table("t", MetaData(), Column("id", Integer, primary_key=True))
    old.append_column(Column("tags", ARRAY(String(20))))
    old.append_column(Column("marks", ARRAY(Integer)))
    old.create(db.plain)
    tags = [["a", None, 'q"{},\\'], [], None]
    with db.plain.begin() as connection:
        rows = [{"id": n, "tags": one, "marks": [n, None]} for n, one in enumerate(tags, 1)]
        connection.execute(insert(old), rows)
    columns = (sealed("tags", ARRAY(String(20)), "read-sealed"),
               sealed("marks", ARRAY(Integer), "read-sealed"))  # fmt: skip
    both = Table("t", MetaData(), Column("id", Integer, primary_key=True), *columns)
    for name, count in (("tags", 2), ("marks", 3)):
        adoption = Adoption.of(both.c[name])
        begin_adoption(db.engine, adoption)
        with db.engine.connect() as connection:
            read = connection.scalars(select(both.c.tags).order_by(both.c.id))
            assert list(read) == tags
        assert adopt(db.engine, db.encryption, adoption).finished
        assert ensure_adopted(db.engine, db.encryption, adoption).both == count


def test_uuids_are_keys_whatever_the_database_stores_of_them(db: Database) -> None:
    keys = [uuid.UUID(int=n) for n in (7, 2**127 + 5)]
    old = Table("t", MetaData(), Column("id", Uuid, primary_key=True))
    old.append_column(Column("email", String(80)))
    old.create(db.plain)
    with db.plain.begin() as connection:
        rows = [{"id": key, "email": f"{key.int}@x"} for key in keys]
        connection.execute(insert(old), rows)

    def version(phase: str) -> Table:
        column = sealed("email", String(80), phase, index=BlindIndex())
        return Table("t", MetaData(), Column("id", Uuid, primary_key=True), column)

    adoption = Adoption.of(version("write-both").c.email)
    begin_adoption(db.engine, adoption)
    assert adopt(db.engine, db.encryption, adoption).rows_written == 2
    last = version("write-sealed")
    with db.begin() as connection:
        read = connection.scalars(select(last.c.email).order_by(last.c.id)).all()
        assert read == ["7@x", f"{2**127 + 5}@x"]
        pending = version("read-sealed")
        connection.execute(update(pending).where(pending.c.id == keys[0]).values(email="new@x"))
    through_all_steps(db, adoption, 2)


def test_a_migration_has_to_say_what_a_key_of_32_digits_is(sqlite: Backend) -> None:
    db = Database(sqlite)
    db.execute_plain("CREATE TABLE t (id CHAR(32) PRIMARY KEY, email VARCHAR(80))")
    spec = TableSpec.of("t", [SealedColumn("email_enc", "t.email")])
    unsure = Adoption(spec, "email", {"type": "String", "length": 80})
    begin_adoption(db.engine, unsure)
    with pytest.raises(DeclarationError, match=r"uuids=\['id'\]"):
        adopt(db.engine, db.encryption, unsure)


def _of_json(phase: str) -> Table:
    body = sealed("body", JSON(), phase)
    return Table("t", MetaData(), Column("id", Integer, primary_key=True), body)


def test_null_of_json_is_a_value_and_sql_null_is_none(db: Database) -> None:
    both = _of_json("write-both")
    both.create(db.engine)
    last = _of_json("write-sealed")
    adoption = Adoption.of(both.c.body)
    with db.begin() as connection:
        connection.execute(insert(both), [{"id": 1, "body": None}, {"id": 2, "body": {"a": 1}}])
    ensure_adopted(db.engine, db.encryption, adoption)
    close_plaintext(db.engine, db.encryption, adoption)
    with db.begin() as connection:
        connection.execute(insert(last), [{"id": 3, "body": None}, {"id": 4, "body": [1]}])
        connection.execute(insert(last).values([{"id": 5, "body": [2]}, {"id": 6, "body": None}]))
        connection.execute(update(last).where(last.c.id == 2).values(body=None))
        read = connection.execute(select(last.c.body).order_by(last.c.id)).scalars().all()
    assert read == [None, None, None, [1], [2], None]


def test_a_part_of_json_is_not_asked_of_plaintext_that_a_row_may_no_longer_have(
    sqlite: Backend,
) -> None:
    db = Database(sqlite)
    table = _of_json("read-sealed")
    table.create(db.engine)
    part = table.c.body["a"].as_integer()
    with db.begin() as connection:
        for asked in (select(part), select(table.c.id).where(part == 1)):
            with pytest.raises(UnsupportedOperationError, match="body_enc"):
                connection.execute(asked)


def test_two_columns_of_one_compound_index_are_adopted_together(db: Database) -> None:
    def version(phase: str) -> Table:
        return Table(
            "t",
            MetaData(),
            Column("id", Integer, primary_key=True),
            sealed("first", String(40), phase),
            sealed("last", String(40), phase),
            CompoundBlindIndex("whole", "first", "last"),
        )

    old = Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("first", String(40)),
        Column("last", String(40)),
    )
    old.create(db.plain)
    with db.plain.begin() as connection:
        connection.execute(insert(old), [{"id": 1, "first": "Ada", "last": "King"}])
    both = version("read-sealed")
    for name in ("first", "last"):
        begin_adoption(db.engine, Adoption.of(both.c[name]))
    with db.begin() as connection:
        connection.execute(insert(both), {"id": 2, "first": "Ada", "last": "Byron"})
    for name in ("first", "last"):
        assert adopt(db.engine, db.encryption, Adoption.of(both.c[name])).finished
    for name in ("first", "last"):
        assert ensure_adopted(db.engine, db.encryption, Adoption.of(both.c[name])).both == 2


@pytest.mark.parametrize("phase", PHASES)
def test_an_upsert_names_a_column_whose_key_is_the_plaintext_s_name(
    sqlite: Backend, phase: str
) -> None:
    db = Database(sqlite)
    email = sealed("email", String(80), phase, index=BlindIndex())
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), email)
    db.create(table.metadata)
    new = sqlite_insert(table)
    excluded = new.excluded.email
    changes: list[tuple[str | None, Any, str | None]] = [
        ("new@x", excluded, "new@x"),
        ("newer@x", excluded, "newer@x"),
        ("none@x", None, None),
        ("back@x", excluded, "back@x"),
        ("none@x", bindparam(None, None, unique=True), None),
    ]
    if phase != "write-sealed":
        kept = func.coalesce(excluded, table.c.email)
        changes += [("again@x", kept, "again@x"), (None, kept, "again@x")]
    with db.begin() as connection:
        for given, value, expected in changes:
            upsert = new.values(id=1, email=given)
            connection.execute(
                upsert.on_conflict_do_update(index_elements=["id"], set_={"email": value})
            )
            assert connection.scalar(select(table.c.email)) == expected


@pytest.mark.parametrize("phase", ["read-sealed", "write-sealed"])
def test_a_list_given_at_execution_is_found_whatever_the_type(
    postgresql_db: Database, phase: str
) -> None:
    # PostgreSQL alone is told the types of parameters
    number = sealed("number", Integer(), phase, index=BlindIndex())
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), number)
    postgresql_db.create(table.metadata)
    listed = table.c.number.in_(bindparam("listed", expanding=True))
    with postgresql_db.begin() as connection:
        connection.execute(insert(table), [{"id": n, "number": n} for n in range(1, 4)])
        for condition, found in ((listed, [1, 3]), (~listed, [2])):
            asked = select(table.c.id).where(condition).order_by(table.c.id)
            assert connection.scalars(asked, {"listed": [1, 3]}).all() == found


def test_a_guarded_column_is_added_with_its_check(db: Database) -> None:
    old = Table("t", MetaData(), Column("id", Integer, primary_key=True))
    old.append_column(Column("email", String(80), nullable=False))
    old.create(db.plain)
    db.execute_plain("INSERT INTO t VALUES (1, 'a@x')")
    column = sealed("email", String(80), "write-both", index=BlindIndex(), guard=True)
    both = Table("t", MetaData(), Column("id", Integer, primary_key=True), column)
    adoption = Adoption.of(both.c.email)
    begin_adoption(db.engine, adoption)

    with pytest.raises(DBAPIError):
        db.execute_plain("UPDATE t SET email_enc = 'plaintext'")
    with db.begin() as connection:
        connection.execute(insert(both), {"id": 2, "email": "b@x"})
    assert adopt(db.engine, db.encryption, adoption).rows_written == 1
    withdraw_adoption(db.engine, adoption)
    begin_adoption(db.engine, adoption)
    through_all_steps(db, adoption, 2)
