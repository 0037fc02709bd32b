"""Bulk UPDATEs by primary key, with a tenant key and on joined subclasses, as on a plain column."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import ForeignKey, Integer, String, select, update
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from encfields import BlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Doc(Base):
    __tablename__ = "doc"

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant_id = mapped_column(Integer)
    title = mapped_column(EncryptedType(String, key="tenant/{tenant_id}"))
    body = mapped_column(EncryptedType(String, key="tenant/{tenant_id}"))


class Person(Base):
    __tablename__ = "person"

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    name = mapped_column(EncryptedType(String(50), index=BlindIndex()))
    kind = mapped_column(String(20))
    __mapper_args__: Any = {"polymorphic_on": kind, "polymorphic_identity": "person"}  # noqa: RUF012


class Manager(Person):
    __tablename__ = "manager"

    id = mapped_column(ForeignKey("person.id"), primary_key=True)
    status = mapped_column(EncryptedType(String(50), index=BlindIndex()))
    __mapper_args__: Any = {"polymorphic_identity": "manager"}  # noqa: RUF012


class Logged(Base):
    __tablename__ = "logged"

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant_id = mapped_column(Integer)
    title = mapped_column(String(20))
    state = mapped_column(
        EncryptedType(String, key="tenant/{tenant_id}", index=BlindIndex()), onupdate="changed"
    )


class Animal(Base):
    """It is queried together with its subclasses, so a statement names the join of their tables."""

    __tablename__ = "animal"

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    name = mapped_column(EncryptedType(String(50), index=BlindIndex()))
    kind = mapped_column(String(20))
    __mapper_args__: Any = {  # noqa: RUF012
        "polymorphic_on": kind,
        "polymorphic_identity": "animal",
        "with_polymorphic": "*",
    }


class Dog(Animal):
    __tablename__ = "dog"

    id = mapped_column(ForeignKey("animal.id"), primary_key=True)
    __mapper_args__: Any = {"polymorphic_identity": "dog"}  # noqa: RUF012


@pytest.fixture
def docs(db):
    """Documents 1 and 2 of tenant 1, and 3 of tenant 2."""
    db.create(Base.metadata)
    for tenant in (1, 2):
        db.create_key(f"tenant/{tenant}")
    with db.session() as session:
        for n, tenant in ((1, 1), (2, 1), (3, 2)):
            session.add(Doc(id=n, tenant_id=tenant, title="t", body="b"))
        session.commit()
    return db


def bulk(session: Any, how: str, rows: list[dict[str, Any]]) -> None:
    if how == "update":
        session.execute(update(Doc), rows)
    else:
        session.bulk_update_mappings(Doc, rows)
    session.commit()


def contents(db: Any) -> list[tuple[Any, ...]]:
    with db.session() as session:
        found = session.execute(select(Doc.id, Doc.tenant_id, Doc.title, Doc.body).order_by(Doc.id))
        return [tuple(row) for row in found]


@pytest.mark.parametrize("how", ["update", "mappings"])
def test_without_the_tenant_each_row_keeps_its_own(docs, how):
    with docs.session() as session:
        bulk(session, how, [{"id": n, "title": f"new {n}"} for n in (1, 3)])
    assert contents(docs) == [(1, 1, "new 1", "b"), (2, 1, "t", "b"), (3, 2, "new 3", "b")]
    assert b"tenant/2" in docs.stored(Doc.title, 3)


@pytest.mark.parametrize("how", ["update", "mappings"])
def test_with_the_tenant_a_row_may_stay_or_move(docs, how):
    before = docs.stored(Doc.body, 3)
    with docs.session() as session:
        bulk(session, how, [{"id": n, "tenant_id": 1, "title": "new"} for n in (1, 2)])
        bulk(session, how, [{"id": 3, "tenant_id": 2, "title": "new"}])
    assert docs.stored(Doc.body, 3) == before
    with docs.session() as session:
        bulk(session, how, [{"id": n, "tenant_id": 2} for n in (2, 3)])
    assert contents(docs) == [(1, 1, "new", "b"), (2, 2, "new", "b"), (3, 2, "new", "b")]


@pytest.mark.parametrize("how", ["update", "mappings"])
def test_a_row_that_is_listed_twice_and_moves_is_written_as_last_listed(docs, how):
    """Some drivers do not count the rows: a second UPDATE that matched none would be lost."""
    rows = [
        {"id": 1, "tenant_id": 2, "title": "first"},
        {"id": 2, "tenant_id": 2, "title": "other"},
        {"id": 1, "tenant_id": 2, "title": "second"},
    ]
    with docs.session() as session:
        bulk(session, how, rows)
    assert contents(docs)[:2] == [(1, 2, "second", "b"), (2, 2, "other", "b")]
    there_and_back = [{"id": 1, "tenant_id": n, "title": f"of {n}"} for n in (1, 2, 1)]
    with docs.session() as session:
        bulk(session, how, there_and_back)
    assert contents(docs)[0] == (1, 1, "of 1", "b")


def test_a_row_that_is_not_there_is_stale_as_ever(docs):
    for rows in ([{"id": 9, "title": "x"}], [{"id": 1, "title": "x"}, {"id": 9, "title": "x"}]):
        with docs.session() as session, pytest.raises(StaleDataError):
            session.execute(update(Doc), rows)
    with docs.session() as session, pytest.raises(StaleDataError):
        session.execute(update(Doc), [{"id": 9, "tenant_id": 2}])
    assert contents(docs)[0] == (1, 1, "t", "b")


@pytest.mark.parametrize("how", ["update", "mappings"])
def test_rows_of_a_joined_subclass(docs, how):
    rows = [{"id": n, "name": f"n{n}", "status": f"s{n}"} for n in (1, 2)]
    with docs.session() as session:
        session.add_all(Manager(id=n, name="n", status="s") for n in (1, 2))
        session.commit()
        if how == "update":
            session.execute(update(Manager), rows)
        else:
            session.bulk_update_mappings(Manager, rows)
        session.commit()
        assert session.scalars(select(Manager).where(Manager.name == "n2")).one().status == "s2"
        assert session.scalars(select(Manager).where(Manager.status == "s1")).one().name == "n1"


@pytest.fixture
def logged(docs):
    """Row 1 of tenant 1 and row 2 of tenant 2, whose state changes with every UPDATE."""
    with docs.session() as session:
        session.add_all([Logged(id=n, tenant_id=n, title="t", state="new") for n in (1, 2)])
        session.commit()
    return docs


def found_as_changed(db: Any) -> list[int]:
    with db.session() as session:
        changed = Logged.state == "changed"
        found = [select(Logged).where(changed, Logged.tenant_id == tenant) for tenant in (1, 2)]
        return [row.id for statement in found for row in session.scalars(statement)]


def test_an_onupdate_default_is_of_the_tenant_that_the_row_has(logged):
    with logged.session() as session:
        session.get(Logged, 2).title = "other"
        session.commit()
    assert found_as_changed(logged) == [2]


@pytest.mark.parametrize("how", ["update", "mappings"])
def test_so_it_is_in_bulk(logged, how):
    rows: list[dict[str, Any]] = [{"id": n, "title": "other"} for n in (1, 2)]
    with logged.session() as session:
        if how == "update":
            session.execute(update(Logged), rows)
        else:
            session.bulk_update_mappings(Logged, rows)
        session.commit()
    assert found_as_changed(logged) == [1, 2]


def test_and_a_row_that_is_not_there_is_stale(logged):
    with logged.session() as session, pytest.raises(StaleDataError):
        session.execute(update(Logged), [{"id": n, "title": "other"} for n in (7, 8)])


@pytest.mark.skipif(
    sqlalchemy.__version__ == "2.0.25", reason="writes UPDATE .. JOIN, which no plain table has"
)
@pytest.mark.parametrize("synchronize", ["evaluate", "fetch"])
def test_an_update_of_a_class_that_is_joined_with_its_subclasses_writes_the_index(
    docs, synchronize
):
    with docs.session() as session:
        session.add_all([Animal(id=1, name="a"), Dog(id=2, name="d")])
        session.commit()
        statement = update(Animal).where(Animal.id == 2).values(name="new")
        session.execute(statement, execution_options={"synchronize_session": synchronize})
        session.commit()
        assert session.scalars(select(Animal).where(Animal.name == "new")).one().id == 2


def test_an_onupdate_default_of_many_rows_is_refused_as_a_value_is(logged):
    with logged.session() as session, pytest.raises(AmbiguousRowError):
        session.execute(update(Logged).where(Logged.id > 0).values(title="other"))
