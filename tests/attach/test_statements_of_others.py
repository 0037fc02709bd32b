"""What an attached engine does to statements that touch no encrypted column: nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from encfields import EncryptedType
from encfields.testing import attach_locally
from tests.servers.backends import Backend

METADATA = MetaData()
LISTS = Table(
    "lists", METADATA, Column("id", Integer, primary_key=True), Column("parts", ARRAY(Integer))
)
SEALED = Table(
    "sealed",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("parts", ARRAY(Integer)),
    Column("note", EncryptedType(String)),
)


def test_what_one_dialect_alone_can_say_is_executed(postgresql: Backend) -> None:
    engine = postgresql.create_engine()
    attach_locally(engine)
    METADATA.create_all(engine)
    first: Any = LISTS.c.parts[1:2]
    with engine.begin() as connection:
        connection.execute(insert(LISTS), {"id": 1, "parts": [1, 2, 3]})
        assert connection.scalar(select(first)) == [1, 2]
        assert connection.scalar(select(first).order_by(text("1"))) == [1, 2]


def test_so_it_is_beside_an_encrypted_column(postgresql: Backend) -> None:
    engine = postgresql.create_engine()
    attach_locally(engine)
    METADATA.create_all(engine)
    first: Any = SEALED.c.parts[1:2]
    both = select(first, SEALED.c.id, SEALED.c.note)
    with engine.begin() as connection:
        connection.execute(insert(SEALED), {"id": 1, "parts": [1, 2, 3], "note": "n"})
        assert connection.execute(both.distinct()).one() == ([1, 2], 1, "n")
        assert connection.execute(both.order_by(text("id"))).one() == ([1, 2], 1, "n")
