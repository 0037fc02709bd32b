"""An upsert's SET may compare the values of the row that it inserts, and of the one that is there,
as of plaintext columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Boolean, Integer, String, and_, case, or_, select
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import declarative_base, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.database import Database

WHY = "a test"


def _made(base: Any, name: str, *, encrypted: bool) -> Any:
    def column(type_: Any, *index: BlindIndex) -> Any:
        return mapped_column(EncryptedType(type_, index=list(index)) if encrypted else type_)

    body = {
        "__tablename__": name,
        "id": mapped_column(Integer, primary_key=True, autoincrement=False),
        "visits": mapped_column(Integer),
        "mail": column(String(40), BlindIndex()),
        "active": column(Boolean(), BlindIndex(accept_leakage=WHY)),
        "hidden": column(Boolean()),
    }
    return type(name.title(), (base,), body)


@pytest.fixture
def accounts(db: Database) -> tuple[Any, Any]:
    base = declarative_base()
    pair = tuple(_made(base, n, encrypted=n == "sealed") for n in ("sealed", "plain"))
    db.create(base.metadata)
    with db.session() as session:
        for of in pair:
            session.add_all(of(id=n, visits=n, mail=f"m{n}", active=n == 1) for n in (1, 2))
        session.commit()
    return pair[0], pair[1]


def _upserted(of: Any, name: str, visits: Callable[[Any, Any], Any]) -> Any:
    makes: dict[str, Any] = {"postgresql": postgresql_insert, "sqlite": sqlite_insert}
    if name not in makes:
        made = mysql_insert(of)
        inserted = made.inserted
        return made.on_duplicate_key_update(visits=visits(inserted, of), active=inserted.active)
    made = makes[name](of)
    set_ = {"visits": visits(made.excluded, of), "active": made.excluded.active}
    return made.on_conflict_do_update(index_elements=["id"], set_=set_)


COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "itself": lambda new, old: case((new.active, 5), else_=6),
    "not": lambda new, old: case((~new.active, 5), else_=6),
    "is_(True)": lambda new, old: case((new.active.is_(True), 5), else_=6),
    "== True": lambda new, old: case((new.active == True, 5), else_=6),  # noqa: E712
    "in and": lambda new, old: case((and_(new.active, old.visits > 0), 5), else_=6),
    "in or": lambda new, old: case((or_(new.mail == "x", new.active), 5), else_=6),
    "both": lambda new, old: case((and_(new.active, ~old.active), 5), else_=6),
    "a value": lambda new, old: case((new.mail == "m1", 5), (new.mail.is_(None), 7), else_=6),
    "a list": lambda new, old: case((new.mail.in_(["m1", "m3"]), 5), else_=6),
    "values": lambda new, old: case({"m1": 5, "m9": 7}, value=new.mail, else_=6),
    "the old value": lambda new, old: case((new.mail != old.mail, old.visits + 1), else_=0),
    "deeper": lambda new, old: case((case((new.active, 1), else_=0) == 1, 5), else_=6) + 1,
}


@pytest.mark.parametrize("compared", COMPARED.values(), ids=COMPARED)
def test_what_is_inserted_is_compared_as_of_plaintext_columns(db, accounts, compared):
    rows = [
        {"id": 1, "mail": "m1", "active": False},
        {"id": 2, "mail": "m9", "active": True},
        {"id": 3, "mail": None, "active": None},
    ]
    left = []
    for of in accounts:
        with db.begin() as connection:
            connection.execute(_upserted(of, db.backend.name, compared).values(rows))
            found = select(of.id, of.visits, of.mail, of.active).order_by(of.id)
            left.append([tuple(row) for row in connection.execute(found)])
    assert left[0] == left[1]
    db.assert_no_plaintext()


HIDDEN: dict[str, Callable[[Any, Any], Any]] = {
    "itself": lambda new, old: case((new.hidden, 5), else_=6),
    "not": lambda new, old: case((~new.hidden, 5), else_=6),
    "in and": lambda new, old: case((and_(new.hidden, new.active), 5), else_=6),
    "a value": lambda new, old: case((new.hidden == True, 5), else_=6),  # noqa: E712
    "the old one": lambda new, old: case((old.hidden, 5), else_=6),
}


def test_what_no_index_answers_is_no_condition(db, accounts):
    if db.backend.name not in ("sqlite", "postgresql"):
        pytest.skip("its upserts have no WHERE")
    of = accounts[0]
    makes: dict[str, Any] = {"postgresql": postgresql_insert, "sqlite": sqlite_insert}
    made = makes[db.backend.name](of)
    for where in (of.hidden, made.excluded.hidden, and_(of.hidden, of.visits > 0)):
        upsert = made.on_conflict_do_update(index_elements=["id"], set_={"visits": 9}, where=where)
        with db.begin() as connection, pytest.raises(UnsupportedOperationError):
            connection.execute(upsert.values({"id": 1, "hidden": True}))


@pytest.mark.parametrize("compared", HIDDEN.values(), ids=HIDDEN)
def test_what_no_index_answers_is_refused(db, accounts, compared):
    row = {"id": 1, "hidden": True, "active": None}
    with db.begin() as connection, pytest.raises(UnsupportedOperationError):
        connection.execute(_upserted(accounts[0], db.backend.name, compared).values(row))
