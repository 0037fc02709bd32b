"""A tenant that the database matches in another spelling has the index key of its own spelling."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, select, update

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
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
        db.encryption.keys.create(f"tenant/{tenant}")
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
    check_indexes(db, table, *KNOWN)
