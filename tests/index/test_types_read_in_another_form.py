"""A type of the user's own that reads something else than it takes: a mask, or an object.

What a blind index finds is compared as it is stored, and is indexed anew as it is stored.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Dialect, Integer, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType, blind
from encfields.index import casefold
from tests.database import Database


class Phone:
    """What is read of a number; to write one, its text is given."""

    def __init__(self, text: str) -> None:
        self.text = text


class PhoneType(TypeDecorator[Any]):
    impl = String(40)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if isinstance(value, Phone):
            raise TypeError("give the text of a number")
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else Phone(value)


class Masked(TypeDecorator[str]):
    impl = String(40)
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else f"*{value[-2:]}"


class Prefixed(TypeDecorator[str]):
    impl = String(40)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else f"tel:{value}"


class Base(DeclarativeBase):
    """Of these models."""


class Caller(Base):
    __tablename__ = "caller"
    __table_args__ = (CompoundBlindIndex("line", ("phone", casefold), "area"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[int]
    phone: Mapped[Any] = mapped_column(EncryptedType(PhoneType, index=BlindIndex(bits=4)))
    area: Mapped[int] = mapped_column(EncryptedType(Integer))
    masked: Mapped[str] = mapped_column(EncryptedType(Masked, index=BlindIndex()))
    prefixed: Mapped[str] = mapped_column(EncryptedType(Prefixed, index=BlindIndex()))
    of_tenant: Mapped[Any] = mapped_column(
        EncryptedType(PhoneType, key="tenant/{tenant}", index=BlindIndex())
    )


@pytest.fixture
def callers(sqlite_db: Database) -> Database:
    sqlite_db.create(Base.metadata)
    for tenant in (1, 2):
        sqlite_db.create_key(f"tenant/{tenant}")
    with sqlite_db.session() as session:
        for n, text in enumerate(("0123", "0456"), start=1):
            same = dict.fromkeys(("phone", "masked", "prefixed", "of_tenant"), text)
            session.add(Caller(id=n, tenant=1, area=n, **same))
        session.commit()
    return sqlite_db


LOOKUPS = {
    "truncated": lambda: Caller.phone == "0123",
    "read as a mask": lambda: Caller.masked == "0123",
    "written with a prefix": lambda: Caller.prefixed == "0123",
    "not another": lambda: Caller.masked != "0456",
    "among others": lambda: Caller.phone.in_(["0123", "0789"]),
    "compound": lambda: blind(Caller, "line").matches(phone="0123", area=1),
    "of a tenant": lambda: (Caller.tenant == 1) & (Caller.of_tenant == "0123"),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_rows_are_found_by_what_was_written(callers: Database, name: str) -> None:
    with callers.session() as session:
        (found,) = session.scalars(select(Caller).where(LOOKUPS[name]()))
        assert found.id == 1
        assert (found.phone.text, found.masked, found.prefixed) == ("0123", "*23", "tel:0123")
        some = select(Caller.id, Caller.phone, Caller.masked, Caller.prefixed)
        assert session.execute(some.where(LOOKUPS[name]())).first() is not None
    assert callers.encryption.stats.index_mismatches == 0


def test_a_value_that_is_indexed_anew_beside_a_change_is_found(callers: Database) -> None:
    with callers.session() as session:
        caller = session.get_one(Caller, 1)
        caller.area = 7  # of the compound index
        caller.tenant = 2
        session.commit()
        for found in (
            blind(Caller, "line").matches(phone="0123", area=7),
            (Caller.tenant == 2) & (Caller.of_tenant == "0123"),
        ):
            assert session.scalars(select(Caller.id).where(found)).all() == [1]
