"""Two ``MetaData`` of one database: what each could not see of the other, their engine sees."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    select,
)

from encfields import BlindIndex, EncryptedType
from encfields.errors import DeclarationError
from encfields.testing import attach_locally


def table(called: str, **options: Any) -> Table:
    """A table of a ``MetaData`` of its own."""
    return Table(
        called,
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("tenant", String(20)),
        Column("v", EncryptedType(String(20), **options)),
    )


@pytest.fixture
def engine(sqlite: Any) -> Engine:
    engine: Engine = sqlite.create_engine()
    encryption = attach_locally(engine)
    encryption.keys.create("tenant/7")
    return engine


def create(engine: Engine, *tables: Table) -> None:
    for one in tables:
        one.metadata.create_all(engine)


@pytest.mark.parametrize(
    "one,other",
    [
        ({"key": "tenant/{tenant}"}, {"key": "tenant/7"}),
        ({"key": "tenant/{tenant}"}, {"former_keys": ["tenant/7"]}),
        ({"key": "tenant/{tenant}"}, {"index": BlindIndex(key="tenant/7")}),
        ({"name": "shared.v"}, {"name": "shared.v"}),
    ],
    ids=["keys", "a former key", "an index's key", "logical names"],
)
def test_names_and_keys_that_meet_are_refused_where_one_engine_is_used_with_both(
    engine, one, other
):
    first, second = table("first", **one), table("second", **other)
    create(engine, first, second)
    values = {"id": 1, "tenant": "7", "v": "of the first"}
    with engine.begin() as connection:
        connection.execute(insert(first), values)
        for statement in (select(second), insert(second).values(v="x"), select(second)):
            with pytest.raises(DeclarationError, match="first"):
                connection.execute(statement)
        assert connection.execute(select(first.c.v)).scalar() == "of the first"


def test_a_join_of_both_is_refused_too(engine):
    first, second = table("first", name="shared.v"), table("second", name="shared.v")
    create(engine, first, second)
    both = select(first.c.v, second.c.v).join_from(first, second, first.c.id == second.c.id)
    with engine.connect() as connection, pytest.raises(DeclarationError, match="logical name"):
        connection.execute(both)


def test_a_table_that_is_declared_in_both_is_one(engine):
    first, again = table("patient"), table("patient")
    create(engine, first)
    with engine.begin() as connection:
        connection.execute(insert(first), {"id": 1, "v": "a"})
        connection.execute(insert(again), {"id": 2, "v": "b"})
        assert set(connection.execute(select(again.c.v)).scalars()) == {"a", "b"}


def test_a_table_may_take_another_one_s_name_on_purpose(engine):
    first, archive = table("patient"), table("archive", name="patient.v")
    create(engine, first, archive)
    with engine.begin() as connection:
        for one in (first, archive):
            connection.execute(insert(one), {"id": 1, "v": "a"})
            assert connection.execute(select(one.c.v)).scalar() == "a"


def test_two_engines_are_two_databases(engine, tmp_path):
    first, second = table("first", name="shared.v"), table("second", name="shared.v")
    create(engine, first)
    with engine.begin() as connection:
        connection.execute(insert(first), {"id": 1, "v": "a"})
    elsewhere = create_engine(f"sqlite:///{tmp_path}/other.sqlite")
    attach_locally(elsewhere)
    create(elsewhere, second)
    with elsewhere.begin() as connection:
        connection.execute(insert(second), {"id": 1, "v": "b"})
        assert connection.execute(select(second.c.v)).scalar() == "b"
    elsewhere.dispose()


def test_a_table_whose_key_is_still_to_come_may_be_named(engine):
    early = Table("early", MetaData(), Column("n", Integer), Column("v", EncryptedType()))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE early (n INTEGER, v BLOB)")
        connection.exec_driver_sql("INSERT INTO early VALUES (1, NULL)")
        assert connection.execute(select(early.c.n)).scalar() == 1
