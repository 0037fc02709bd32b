"""An index over several columns is written whenever one of them is, or the write is refused."""

from __future__ import annotations

import datetime as dt
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    Dialect,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    insert,
    inspect,
    null,
    select,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, deferred, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType, blind
from encfields.errors import CiphertextCopyError, DeclarationError
from encfields.index.transforms import casefold
from tests.index_writes.expected import (
    PERSON,
    Index,
    check_indexes,
    folded,
    of_date,
    stored,
    utf8,
)
from tests.index_writes.models import Person
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

person: Any = Person.__table__
ADA = {"last_name": "Lovelace", "born": dt.date(1815, 12, 10)}
ALAN = {"last_name": "Turing", "born": dt.date(1912, 6, 23)}
ROWS = [{"id": 1, **ADA}, {"id": 2, **ALAN}, {"id": 3, "last_name": "Nobody", "born": None}]


@pytest.fixture
def people(clinic):
    with clinic.begin() as connection:
        connection.execute(insert(person), ROWS)
    return clinic


def found(db, last: str, year: int) -> list[int]:
    with db.session() as session:
        asked = blind(Person, "who").matches(last=last, born=year)
        return sorted(session.scalars(select(Person.id).where(asked)))


INSERTS = {
    "executemany": lambda s: s.connection().execute(insert(person), ROWS),
    "values": lambda s: [s.execute(insert(person).values(row)) for row in ROWS],
    "many values": lambda s: s.execute(insert(person).values(ROWS)),
    "objects": lambda s: s.add_all(
        Person(id=r["id"], last=r["last_name"], born=r["born"]) for r in ROWS
    ),
    "ORM's insert": lambda s: s.execute(
        insert(Person), [{"id": r["id"], "last": r["last_name"], "born": r["born"]} for r in ROWS]
    ),
    "bulk_insert_mappings": lambda s: s.bulk_insert_mappings(
        inspect(Person),
        [{"id": r["id"], "last": r["last_name"], "born": r["born"]} for r in ROWS],
    ),
}


@pytest.mark.parametrize("write", INSERTS.values(), ids=INSERTS.keys())
def test_an_insert_writes_the_index_of_each_row(clinic, write):
    with clinic.session() as session:
        write(session)
        session.commit()
    assert len(check_indexes(clinic, person, *PERSON)) == 3
    assert found(clinic, "LOVELACE", 1815) == [1]
    assert found(clinic, "turing", 1912) == [2]
    assert stored(clinic, person, "who_bidx")[3,] is None


def test_a_row_that_lacks_one_of_the_columns_has_no_index(clinic):
    with clinic.begin() as connection:
        connection.execute(
            insert(person), [{"id": 1, "last_name": "x"}, {"id": 2, "last_name": "y"}]
        )
        connection.execute(insert(person).values(id=3, born=ADA["born"], last_name=null()))
        connection.execute(insert(person).values(id=4, title="t"))
    check_indexes(clinic, person, *PERSON)
    assert set(stored(clinic, person, "who_bidx").values()) == {None}


def test_one_attribute_of_an_object_takes_the_others_along(people):
    with people.session() as session:
        session.get_one(Person, 1).last = "Byron"
        session.get_one(Person, 2).born = dt.date(1913, 1, 1)
        session.commit()
    check_indexes(people, person, *PERSON)
    assert found(people, "byron", 1815) == [1]
    assert found(people, "turing", 1913) == [2]
    assert found(people, "lovelace", 1815) == []


def test_it_takes_along_what_was_not_loaded(people):
    with people.session() as session:
        one = session.get_one(Person, 1)
        session.expire(one)
        one.last = "Byron"
        session.commit()
    check_indexes(people, person, *PERSON)
    assert found(people, "byron", 1815) == [1]


def test_one_attribute_set_to_none_takes_the_index_away(people):
    with people.session() as session:
        session.get_one(Person, 1).born = None
        session.get_one(Person, 2).last = null()
        session.commit()
    check_indexes(people, person, *PERSON)
    assert set(stored(people, person, "who_bidx").values()) == {None}


def test_the_missing_attribute_makes_the_index(people):
    with people.session() as session:
        session.get_one(Person, 3).born = dt.date(1900, 1, 1)
        session.commit()
    check_indexes(people, person, *PERSON)
    assert found(people, "nobody", 1900) == [3]


def test_another_attribute_leaves_the_index_alone(people):
    with people.session() as session, people.statements() as seen:
        session.get_one(Person, 1).title = "Countess"
        session.commit()
        assert not any("bidx" in c.statement for c in seen if c.isupdate)
    check_indexes(people, person, *PERSON)


APART = {
    "Core": lambda c: c.execute(update(person).where(person.c.id == 1).values(last_name="x")),
    "ORM's update": lambda c: c.execute(update(Person).where(Person.id == 1).values(last="x")),
    "parameters": lambda c: c.execute(
        update(person).where(person.c.id == 1), {"born": dt.date(2000, 1, 1)}
    ),
    "the index": lambda c: c.execute(update(person).values(who_bidx=null())),
    "one and the index": lambda c: c.execute(
        update(person).where(person.c.id == 1).values(last_name="x", who_bidx=null())
    ),
}


@pytest.mark.parametrize("write", APART.values(), ids=APART.keys())
def test_an_update_of_one_column_alone_is_refused(people, write):
    with people.session() as session, people.refused(CiphertextCopyError, person) as caught:
        write(session)
    assert "blind index" in str(caught.value)
    assert caught.value.table == "person"


TOGETHER = {
    "Core": lambda s: s.execute(
        update(person).where(person.c.id == 1).values(last_name="Byron", born=ADA["born"])
    ),
    "ORM's update": lambda s: s.execute(
        update(Person).where(Person.id == 1).values(last="Byron", born=ADA["born"])
    ),
    "parameters": lambda s: s.execute(
        update(person).where(person.c.id == 1), {"last_name": "Byron", "born": ADA["born"]}
    ),
    "value and parameter": lambda s: s.execute(
        update(person).where(person.c.id == 1).values(last_name="Byron"), {"born": ADA["born"]}
    ),
    "ORM's bulk update": lambda s: s.execute(
        update(Person), [{"id": 1, "last": "Byron", "born": ADA["born"]}]
    ),
    "bulk_update_mappings": lambda s: s.bulk_update_mappings(
        inspect(Person), [{"id": 1, "last": "Byron", "born": ADA["born"]}]
    ),
}


@pytest.mark.parametrize("write", TOGETHER.values(), ids=TOGETHER.keys())
def test_an_update_of_all_columns_writes_the_index(people, write):
    with people.session() as session:
        write(session)
        session.commit()
    check_indexes(people, person, *PERSON)
    assert found(people, "byron", 1815) == [1]


def test_null_for_one_column_takes_the_index_away_from_any_rows(people):
    with people.begin() as connection:
        connection.execute(update(person).values(born=null()))
    rows = check_indexes(people, person, *PERSON)
    assert {row["last_name"] for row in rows} == {"Lovelace", "Turing", "Nobody"}
    assert set(stored(people, person, "who_bidx").values()) == {None}


def test_null_for_one_column_and_a_value_for_another(people):
    with people.begin() as connection:
        connection.execute(
            update(person).where(person.c.id == 1).values(born=null(), last_name="x")
        )
        connection.execute(update(person).where(person.c.id == 2).values(born=None, last_name="y"))
    check_indexes(people, person, *PERSON)
    assert set(stored(people, person, "who_bidx").values()) == {None}


def test_a_new_key_takes_the_index_along(people):
    with people.session() as session:
        session.get_one(Person, 1).id = 77
        session.commit()
    check_indexes(people, person, *PERSON)
    assert found(people, "lovelace", 1815) == [77]


class Base(DeclarativeBase):
    pass


class Deferring(Base):
    __tablename__ = "deferring"
    __table_args__ = (
        CompoundBlindIndex("both", "a", ("b", casefold)),
        CompoundBlindIndex("other", "b", "c", unique=True),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    a: Mapped[str | None] = mapped_column(EncryptedType())
    b: Mapped[str | None] = deferred(mapped_column(EncryptedType()))
    c: Mapped[str | None] = deferred(mapped_column(EncryptedType()))


DEFERRING = (
    Index("both_bidx", "deferring.both", {"a": utf8, "b": folded}, "exact+casefold"),
    Index("other_bidx", "deferring.other", {"b": utf8, "c": utf8}, "exact+exact"),
)


def test_a_deferred_attribute_is_taken_along(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all([Deferring(a="a", b="B", c="c"), Deferring(a="a", b="b2", c="c2")])
        session.commit()
    with db.session() as session:
        first = session.scalars(select(Deferring).order_by(Deferring.id)).all()[0]
        first.b = "New"
        session.commit()
    check_indexes(db, Deferring, *DEFERRING)


class Said(TypeDecorator[str]):
    """A text that stands where nothing was said; None is no NULL."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str:
        return "nothing" if value is None else value


class Saying(Base):
    __tablename__ = "saying"
    __table_args__ = (CompoundBlindIndex("both", "who", "what"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    who: Mapped[str | None] = mapped_column(EncryptedType(String(20)))
    what: Mapped[str | None] = mapped_column(EncryptedType(Said(20)))


@pytest.mark.parametrize("how", ["object", "bulk"])
def test_none_for_one_column_is_indexed_where_it_is_a_value(db, how):
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all(Saying(id=n, who="ada", what="yes") for n in (1, 2))
        session.add(Saying(id=3, who="ada", what=null()))
        session.commit()
        if how == "object":
            session.get_one(Saying, 1).what = None
            session.get_one(Saying, 3).who = "eve"
        else:
            session.execute(update(Saying), [{"id": 1, "what": None}])
            session.execute(update(Saying), [{"id": 3, "who": "eve"}])
        session.commit()
        asked = select(Saying.id).where(blind(Saying, "both").matches(who="ada", what="nothing"))
        assert session.scalars(asked).all() == [1]
    assert stored(db, Saying.__table__, "both_bidx")[3,] is None


def test_a_name_and_its_parts_never_run_into_each_other(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all([Deferring(a="ab", b="c"), Deferring(a="a", b="bc")])
        session.commit()
    held = stored(db, Deferring.__table__, "both_bidx")
    assert len(set(held.values())) == 2
    check_indexes(db, Deferring, *DEFERRING)


def test_an_onupdate_default_of_one_column_is_refused_as_declared():
    with pytest.raises(DeclarationError, match="onupdate"):
        Table(
            "t",
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("a", EncryptedType(), onupdate=lambda: "x"),
            Column("b", EncryptedType()),
            CompoundBlindIndex("both", "a", "b"),
        )


def test_a_compound_index_of_a_tenant(db):
    table = Table(
        "fellow",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant", String(20)),
        Column("a", EncryptedType(key="tenant/{tenant}", index=BlindIndex())),
        Column("born", EncryptedType(Date, key="tenant/{tenant}")),
        CompoundBlindIndex("both", "a", "born"),
    )
    db.create(table.metadata)
    for tenant in ("x", "y"):
        db.create_key(f"tenant/{tenant}")
    with db.begin() as connection:
        connection.execute(
            insert(table),
            [{"id": n, "tenant": t, "a": "a", "born": ADA["born"]} for n, t in enumerate("xxy")],
        )
    parts = {"a": utf8, "born": of_date}
    key = "tenant/{tenant}"
    check_indexes(db, table, Index("both_bidx", "fellow.both", parts, "exact+exact", key=key))
    held = stored(db, table, "both_bidx")
    assert held[0,] == held[1,] != held[2,]


@pytest.mark.parametrize("change", [{"born": ALAN["born"]}, {"id": 7}], ids=["part", "key"])
def test_a_row_that_was_deleted_meanwhile_is_stale_as_on_plain_columns(clinic, change):
    with Session(clinic.engine, expire_on_commit=False) as session:
        ada = Person(id=1, last="Lovelace", born=ADA["born"])
        session.add(ada)
        session.commit()
        with Session(clinic.engine) as other:
            other.delete(other.get_one(Person, 1))
            other.commit()
        for name, value in change.items():
            setattr(ada, name, value)
        with pytest.raises(StaleDataError):
            session.commit()


def test_a_bulk_update_of_rows_where_one_is_not_there_does_as_on_plain_columns(clinic):
    with Session(clinic.engine) as session:
        session.add(Person(id=1, last="Lovelace", born=ADA["born"]))
        session.flush()
        rows = [{"id": n, "born": ALAN["born"]} for n in (1, 2)]
        # Where the driver counts the rows of a batch, SQLAlchemy compares.
        counted = clinic.engine.dialect.supports_sane_multi_rowcount
        with pytest.raises(StaleDataError) if counted else nullcontext():
            session.execute(update(Person), rows)
        if not counted:
            assert session.get_one(Person, 1, populate_existing=True).born == ALAN["born"]
