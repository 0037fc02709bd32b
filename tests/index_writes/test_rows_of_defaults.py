"""``values([{}, {}])`` stores as many rows as it does of a plain table: one, or all of them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy import Column, Identity, Integer, MetaData, Sequence, String, Table, insert, select

from encfields import BlindIndex, EncryptedType
from encfields.testing import attach_locally
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

KEYS: dict[str, Any] = {
    "generated": lambda: (),
    "an identity": lambda: (Identity(),),
    "of a sequence": lambda: (Sequence("defaulted_seq"),),
    "of an optional sequence": lambda: (Sequence("defaulted_seq", optional=True),),
}
ROWS: dict[str, Any] = {
    "empty": [{}, {}, {}],
    "empty tuples": [(), ()],
    "one": [{}],
    "the first empty": [{}, {"grade": 4, "name": "Ada"}],
    "the last empty": [{"grade": 4}, {}],
}


def _table(name: str, key: str, default: bool, type_: Any) -> Table:
    arguments: dict[str, Any] = {"default": lambda: 7} if default else {}
    return Table(
        name,
        MetaData(),
        Column("id", Integer, *KEYS[key](), primary_key=True),
        Column("name", type_),
        Column("grade", Integer, server_default="3", **arguments),
    )


def _stored(connection: Any, table: Table, rows: Any, returned: bool) -> Any:
    statement: Any = insert(table).values(rows)
    if returned:
        statement = statement.returning(table.c.name, table.c.grade)
    names = select(table.c.name, table.c.grade).order_by(table.c.id)
    with connection.begin() as transaction:
        try:
            result = connection.execute(statement)
            seen = result.all() if returned else result.rowcount
        except Exception as error:
            return type(error)
        stored = connection.execute(names).all()
        transaction.rollback()
        return seen, stored


@pytest.mark.parametrize("key", list(KEYS))
@pytest.mark.parametrize("default", [False, True], ids=["no default", "a default"])
def test_as_many_rows_as_of_a_plain_table(backend: Backend, key: str, default: bool) -> None:
    plain, ours = backend.create_engine(), backend.create_engine()
    attach_locally(ours)
    expected = _table("plain", key, default, String(9))
    expected.metadata.create_all(plain)
    types = EncryptedType(String(9), index=BlindIndex()), EncryptedType(String(9))
    for number, type_ in enumerate(types):
        table = _table(f"ours_{number}", key, default, type_)
        table.metadata.create_all(ours)
        with plain.connect() as twin, ours.connect() as connection:
            for rows, returned in itertools.product(ROWS.values(), [False, True]):
                assert _stored(connection, table, rows, returned) == _stored(
                    twin, expected, rows, returned
                )
