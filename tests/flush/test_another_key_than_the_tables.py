"""A class may leave out its table's primary key, and have another unique key for its own."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Index, Integer, String, Table, UniqueConstraint, select, update
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.orm.exc import StaleDataError

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError
from tests.database import Database
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


def _table(name: str, email: Any, *more: Any) -> Table:
    code = Column("code", String(20), nullable=False)
    tenant = Column("tenant", Integer)
    key = Column("id", Integer, primary_key=True)
    changes = Column("changes", Integer, nullable=False)
    columns = (key, tenant, code, Column("email", email), Column("phone", email), changes)
    return Table(name, Base.metadata, *columns, *more)


def _model(table: Table) -> Any:
    own = {
        "primary_key": [table.c.code],
        "exclude_properties": ["id"],
        "version_id_col": table.c.changes,
    }
    return type(table.name.title(), (Base,), {"__table__": table, "__mapper_args__": own})


def _of(**options: Any) -> EncryptedType:
    return EncryptedType(String(40), **options)


FOUND = BlindIndex(key="default")
PLAIN = _model(_table("plain_by_code", String(40), UniqueConstraint("code")))
MODELS = {
    "bound to the table's key": _table("by_code", _of(index=FOUND), UniqueConstraint("code")),
    "bound to its own key": _table(
        "bound_code", _of(index=FOUND, bind_to=("code",)), UniqueConstraint("code")
    ),
    "unique by an index": _table(
        "indexed_code", _of(index=FOUND), Index("ux_indexed_code", "code", unique=True)
    ),
    "a tenant's key": _table(
        "tenant_code", _of(index=FOUND, key="tenant/{tenant}"), UniqueConstraint("code")
    ),
    "a compound index": _table(
        "pair_code", _of(), UniqueConstraint("code"), CompoundBlindIndex("who", "email", "phone")
    ),
}
MODELS = {way: _model(table) for way, table in MODELS.items()}
NOT_UNIQUE = _model(_table("any_code", _of()))


@pytest.fixture
def tables(db: Database) -> Database:
    for tenant in (1, 2):
        db.create_key(f"tenant/{tenant}")
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all(
            model(code=code, tenant=1, email=f"{code}@old", phone=f"{code}-old")
            for model in (PLAIN, NOT_UNIQUE, *MODELS.values())
            for code in ("a", "b")
        )
        session.commit()
    return db


def _changes_a_value(session: Session, model: Any) -> None:
    session.get_one(model, "a").email = "new"


def _changes_its_key(session: Session, model: Any) -> None:
    session.get_one(model, "a").code = "c"


def _changes_both(session: Session, model: Any) -> None:
    row = session.get_one(model, "a")
    row.code, row.email = "c", "new"


def _moves_to_another_tenant(session: Session, model: Any) -> None:
    session.get_one(model, "b").tenant = 2


def _changes_each(session: Session, model: Any) -> None:
    for row in session.scalars(select(model)):
        row.email = f"{row.code}@new"


def _writes_a_list(session: Session, model: Any) -> None:
    rows = [{"code": code, "phone": f"{code}-new", "changes": 1} for code in "ab"]
    session.execute(update(model), rows)


def _deletes(session: Session, model: Any) -> None:
    session.delete(session.get_one(model, "b"))


CHANGES = (
    _changes_a_value,
    _changes_its_key,
    _changes_both,
    _moves_to_another_tenant,
    _changes_each,
    _writes_a_list,
    _deletes,
)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", MODELS)
def test_a_row_is_changed_by_the_key_that_its_class_has(
    way: str, change: Any, tables: Database
) -> None:
    outcomes = [_outcome(tables, change, model) for model in (PLAIN, MODELS[way])]
    assert outcomes[0] == outcomes[1]


def _outcome(db: Database, change: Any, model: Any) -> Any:
    with db.session() as session:
        change(session, model)
        session.commit()
    with db.session() as session:
        rows = session.scalars(select(model).order_by(model.code)).all()
        return [(r.code, r.tenant, r.email, r.phone, r.changes) for r in rows]


@on_each_database
@pytest.mark.parametrize("model", [PLAIN, MODELS["bound to the table's key"]])
def test_a_row_that_somebody_else_has_changed_is_not_overwritten(
    model: Any, tables: Database
) -> None:
    with tables.session() as session:
        row = session.get_one(model, "a")
        with tables.begin() as connection:
            table = model.__table__
            connection.execute(update(table).where(table.c.code == "a").values(changes=9))
        row.email = "new"
        with pytest.raises(StaleDataError):
            session.commit()


def test_what_may_be_several_rows_is_refused(tables: Database) -> None:
    with tables.session() as session:
        session.get_one(NOT_UNIQUE, "a").email = "new"
        with pytest.raises(AmbiguousRowError, match="id"):
            session.commit()
