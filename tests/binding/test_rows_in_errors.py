"""Which of many rows an error is about: it says so, as far as the row's key is known."""

from __future__ import annotations

import decimal
from typing import Any

import pytest
from sqlalchemy import Integer, Numeric, bindparam, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType, attach
from encfields.errors import BindingError, EncFieldsError, KeyNotFoundError, ValueEncodingError
from encfields.testing import local_store
from tests.database import Database
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Visit(Base):
    __tablename__ = "visit"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant: Mapped[int | None]
    reason: Mapped[str | None] = mapped_column(
        EncryptedType(key="tenant/{tenant}", index=BlindIndex())
    )
    price: Mapped[decimal.Decimal | None] = mapped_column(
        EncryptedType(Numeric(5, 2), key="tenant/{tenant}")
    )


@pytest.fixture
def visits(sqlite_db: Database) -> Database:
    """No server sees what is refused here. Tenant 1 alone has a key."""
    sqlite_db.create_key("tenant/1")
    sqlite_db.create(Base.metadata)
    with sqlite_db.session() as session:
        session.add_all(Visit(id=n, tenant=1, reason="x", price=1) for n in (1, 2))
        session.commit()
    sqlite_db.encryption.detach()
    attach(sqlite_db.engine, local_store(bytes(32)))  # which makes no key
    return sqlite_db


INSERTS: dict[str, tuple[type[EncFieldsError], dict[str, Any], dict[str, str]]] = {
    "a missing beacon key": (
        KeyNotFoundError,
        {"tenant": 77, "reason": "x"},
        {"id": "8", "tenant": "77"},
    ),
    "a missing key": (KeyNotFoundError, {"tenant": 77, "price": 1}, {"id": "8", "tenant": "77"}),
    "a tenant that is NULL": (BindingError, {"tenant": None, "reason": "x"}, {"id": "8"}),
    "a tenant of another type": (BindingError, {"tenant": "a", "price": 1}, {"id": "8"}),
    "an indexed value of another type": (
        ValueEncodingError,
        {"tenant": 1, "reason": 5},
        {"id": "8", "tenant": "1"},
    ),
    "a value of another type": (
        ValueEncodingError,
        {"tenant": 1, "price": "5"},
        {"id": "8", "tenant": "1"},
    ),
}


@pytest.mark.parametrize("error, values, row", INSERTS.values(), ids=INSERTS.keys())
def test_an_insert_of_many_rows(visits, error, values, row):
    good = {"id": 7, "tenant": 1} | dict.fromkeys(values.keys() - {"tenant"})
    with pytest.raises(error) as caught, visits.session() as session:
        session.execute(insert(Visit), [good, {"id": 8, **values}])
    assert caught.value.table == "visit"
    assert caught.value.column == next(name for name in values if name != "tenant")
    assert caught.value.row == row


def test_a_row_of_no_tenant_that_holds_no_value_is_written_with_others(db: Database):
    db.create_key("tenant/1")
    db.create(Base.metadata)
    empty: dict[str, Any] = {"tenant": None, "reason": None}
    full: dict[str, Any] = {"tenant": 1, "reason": "x"}
    with db.session() as session:
        session.execute(insert(Visit), [{"id": 1, **empty}, {"id": 2, **full}])
        session.execute(insert(Visit.__table__).values([{"id": 3, **full}, {"id": 4, **empty}]))  # type: ignore[arg-type]
        session.add_all([Visit(id=5, reason=None), Visit(id=6, **full)])
        session.flush()
        session.expunge_all()
        found = session.execute(select(Visit.id, Visit.tenant, Visit.reason).order_by(Visit.id))
        holds: dict[int, dict[str, Any]] = {1: empty, 2: full, 3: full, 4: empty, 5: empty, 6: full}
        assert [tuple(row) for row in found] == [(n, *row.values()) for n, row in holds.items()]


def test_the_column_that_lacks_its_tenant_is_named(visits):
    rows: list[dict[str, Any]] = [
        {"id": 7, "tenant": 1, "reason": "x", "price": None},
        {"id": 8, "tenant": None, "reason": None, "price": 1},
    ]
    for given in (rows, rows[1:]):
        with pytest.raises(BindingError) as caught, visits.session() as session:
            session.execute(insert(Visit), given)
        assert (caught.value.column, caught.value.row) == ("price", {"id": "8"})


def test_a_flush(visits):
    with visits.session() as session:
        session.add_all([Visit(id=7, tenant=1, reason="x"), Visit(id=8, reason="x")])
        with pytest.raises(BindingError) as caught:
            session.commit()
    assert caught.value.row == {"id": "8"}


@pytest.mark.parametrize("column", ["reason", "price"])
def test_an_update_of_many_rows(visits, column):
    table: Any = Visit.__table__
    statement = update(table).where(
        table.c.id == bindparam("n"), table.c.tenant == bindparam("of_tenant")
    )
    rows: list[dict[str, Any]] = [
        {"n": 1, "of_tenant": 1, column: None},
        {"n": 2, "of_tenant": None, column: "x"},
    ]
    if column == "price":
        rows[1]["price"] = 1
    with pytest.raises(BindingError) as caught, visits.begin() as connection:
        connection.execute(statement, rows)
    assert caught.value.row == {"id": "2"}
