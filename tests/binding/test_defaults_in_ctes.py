"""Writes inside a CTE, to a table whose encrypted columns have defaults of their own."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, update

from encfields import EncryptedType
from encfields.errors import UnboundValueError
from tests.database import Database

metadata = MetaData()
made = Table(
    "made",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("label", String(20)),
    Column("first", EncryptedType(), default="default"),
)
changed = Table(
    "changed",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("label", String(20)),
    Column("other", EncryptedType()),
    Column("last", EncryptedType(), onupdate=lambda: "onupdate"),
)


def test_an_update_in_a_cte_is_not_refused_for_a_default_that_only_an_insert_sets(
    postgresql_db: Database,
) -> None:
    postgresql_db.create(metadata)
    with postgresql_db.begin() as connection:
        connection.execute(insert(made).values(id=1))
        updated = update(made).values(label="x").returning(made.c.id, made.c.label).cte()
        assert connection.execute(select(updated)).one() == (1, "x")
        assert connection.execute(select(made)).one() == (1, "x", "default")


def test_an_insert_in_a_cte_is_not_refused_for_a_default_that_only_an_update_sets(
    postgresql_db: Database,
) -> None:
    postgresql_db.create(metadata)
    with postgresql_db.begin() as connection:
        inserted = insert(changed).values(id=1).returning(changed.c.id).cte()
        assert connection.execute(select(inserted)).one() == (1,)


def test_what_sets_an_encrypted_column_in_a_cte_is_named(postgresql_db: Database) -> None:
    postgresql_db.create(metadata)
    inserted = insert(made).values(id=2).returning(made.c.id).cte()
    updated = update(changed).values(label="x").returning(changed.c.id).cte()
    for written, column in ((inserted, made.c.first), (updated, changed.c["last"])):
        with (
            postgresql_db.begin() as connection,
            postgresql_db.refused(UnboundValueError, column.table) as refused,
        ):
            connection.execute(select(written))
        assert (refused.value.column, refused.value.reason) == (column.name, "cte")
