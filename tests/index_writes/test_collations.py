"""A tenant that the database matches in another spelling has the index key of its own spelling."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, select, update

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.index_writes.expected import Index, check_indexes, utf8

KEY = "tenant/{tenant}"


def table_of(collation: str | None) -> Table:
    return Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant", String(20, collation=collation)),
        Column("ssn", EncryptedType(key=KEY, index=BlindIndex())),
        Column("code", EncryptedType(key=KEY)),
        CompoundBlindIndex("both", "ssn", "code"),
    )


KNOWN = (
    Index("ssn_bidx", "t.ssn", {"ssn": utf8}, key=KEY),
    Index("both_bidx", "t.both", {"ssn": utf8, "code": utf8}, "exact+exact", key=KEY),
)


def test_an_update_that_spells_the_tenant_differently(db):
    table = table_of({"sqlite": "NOCASE"}.get(db.name))
    db.create(table.metadata)
    for tenant in ("abc", "ABC"):
        db.create_key(f"tenant/{tenant}")
    with db.begin() as connection:
        rows = [{"id": n, "tenant": "abc", "ssn": f"v-{n}", "code": "c"} for n in (1, 2, 3)]
        connection.execute(insert(table), rows)
        by_key = update(table).where(table.c.id == bindparam("k"), table.c.tenant == bindparam("t"))
        change = by_key.values(ssn=bindparam("v"), code="d")
        connection.execute(change, {"k": 1, "t": "ABC", "v": "new"})
        connection.execute(change, [{"k": n, "t": "ABC", "v": f"new-{n}"} for n in (2, 3)])
        ssns = set(connection.scalars(select(table.c.ssn)))
    if db.name == "postgresql":  # where "ABC" is another tenant
        assert ssns == {"v-1", "v-2", "v-3"}
    else:
        assert ssns == {"new", "new-2", "new-3"}
    check_indexes(db, table, *KNOWN, look_up=db.name == "postgresql")


def test_a_query_whose_tenant_may_be_spelt_differently_is_refused(db):
    table = table_of({"sqlite": "NOCASE"}.get(db.name))
    db.create(table.metadata)
    db.create_key("tenant/abc")
    with db.begin() as connection:
        connection.execute(insert(table), {"id": 1, "tenant": "abc", "ssn": "v", "code": "c"})
    asked = select(table.c.id).where(table.c.tenant == "ABC", table.c.ssn == "v")
    if db.name == "postgresql":  # where "ABC" is another tenant
        db.create_key("tenant/ABC")
        with db.begin() as connection:
            assert connection.scalars(asked).all() == []
        return
    with db.begin() as connection, pytest.raises(UnsupportedOperationError, match="collation"):
        connection.execute(asked)


def test_under_a_binary_collation_a_tenant_has_one_spelling(db):
    binary = {"mariadb": "utf8mb4_nopad_bin", "mysql": "utf8mb4_0900_bin"}.get(db.name)
    table = table_of(binary)
    db.create(table.metadata)
    db.create_key("tenant/abc")
    with db.begin() as connection:
        connection.execute(insert(table), {"id": 1, "tenant": "abc", "ssn": "v", "code": "c"})
        asked = select(table.c.id).where(table.c.tenant == "abc", table.c.ssn == "v")
        assert connection.scalars(asked).all() == [1]
