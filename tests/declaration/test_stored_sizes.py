"""The size of a stored value is computable, exactly."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import Any

import pytest
from sqlalchemy import (
    CHAR,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    Enum,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Uuid,
    insert,
)

from encfields import EncryptedType, sizes
from encfields.errors import DeclarationError, UnknownIdentityError
from encfields.testing import attach_locally
from tests.database import raw_select
from tests.servers.backends import Backend


class Ward(enum.Enum):
    surgery = 1
    intensive_care = 2


def _table(key_type: Any, inner: Any, **options: Any) -> Table:
    return Table(
        "patient",
        MetaData(),
        Column("id", key_type, primary_key=True, autoincrement=False),
        Column("ssn", EncryptedType(inner, **options)),
    )


@pytest.mark.parametrize(
    "key_type, key, inner, value",
    [
        (Integer(), -(2**31), String(5), "\N{GRINNING FACE}" * 5),
        (BigInteger(), -(2**63), LargeBinary(7), bytes(7)),
        (SmallInteger(), -(2**15), Uuid(), uuid.UUID(int=1)),
        (Uuid(), uuid.UUID(int=2), Integer(), -(2**63)),
        (String(6), "\N{GRINNING FACE}" * 6, Date(), dt.date(2026, 1, 31)),
        (CHAR(4), "\N{GRINNING FACE}" * 4, Enum(Ward), Ward.intensive_care),
        (LargeBinary(8), bytes(8), String(1), "\N{GRINNING FACE}"),
        (Date(), dt.date(9999, 12, 31), String(0), ""),
        (Enum("a", "longer"), "longer", Boolean(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_longest_value_takes_the_bytes_that_were_computed(
    sqlite: Backend, key_type: Any, key: Any, inner: Any, value: Any
) -> None:
    table = _table(key_type, inner)
    engine = sqlite.create_engine()
    attach_locally(engine)
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": key, "ssn": value})
        stored = connection.execute(raw_select(table)).one().ssn
    assert len(stored) == sizes.max_stored_bytes(table.c.ssn)


def test_the_size_of_one_value(sqlite: Backend) -> None:
    table = _table(Integer(), String())
    engine = sqlite.create_engine()
    attach_locally(engine)
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": 42, "ssn": "123-45-6789"})
        stored = connection.execute(raw_select(table)).one().ssn
    assert len(stored) == sizes.stored_bytes(table.c.ssn, 11, {"id": "42"}) == 308


def test_a_key_template_counts_with_its_columns() -> None:
    table = Table(
        "patient",
        MetaData(),
        Column("id", Uuid, primary_key=True),
        Column("tenant", String(10)),
        Column("ssn", EncryptedType(String(9), key="t/{tenant}/{tenant}")),
    )
    row = {"id": str(uuid.UUID(int=1)), "tenant": "\U0001f512" * 10}
    assert sizes.max_stored_bytes(table.c.ssn) == sizes.stored_bytes(table.c.ssn, 36, row)


@pytest.mark.parametrize(
    "key_type, inner", [(Integer(), String()), (Integer(), JSON()), (String(), String(9))]
)
def test_what_has_no_length_has_no_bound(key_type: Any, inner: Any) -> None:
    assert sizes.max_stored_bytes(_table(key_type, inner).c.ssn) is None


def test_the_size_that_is_named_is_enough_and_one_less_is_not() -> None:
    needed = sizes.max_stored_bytes(_table(Integer(), String(11)).c.ssn)
    assert needed is not None
    _table(Integer(), String(11), storage=LargeBinary(needed))
    with pytest.raises(DeclarationError, match=str(needed)):
        _table(Integer(), String(11), storage=LargeBinary(needed - 1))


def test_a_column_that_is_not_encrypted_has_no_such_size() -> None:
    with pytest.raises(DeclarationError):
        sizes.max_stored_bytes(_table(Integer(), String()).c.id)


def test_the_rows_key_must_be_whole() -> None:
    with pytest.raises(UnknownIdentityError, match="row= lacks id"):
        sizes.stored_bytes(_table(Integer(), String()).c.ssn, 1, {})


def test_a_bounded_column_holds_its_longest_value(backend: Backend) -> None:
    needed = sizes.max_stored_bytes(_table(Integer(), String(50)).c.ssn)
    table = _table(Integer(), String(50), storage=LargeBinary(needed))
    engine = backend.create_engine()
    attach_locally(engine)
    table.metadata.create_all(engine)
    value = "\N{GRINNING FACE}" * 50
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": -(2**31), "ssn": value})
        assert connection.execute(table.select()).one().ssn == value
