"""Rows read through an engine: their cells are opened as they are fetched, if the core can."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import Integer, String, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import DecryptionError, NotAttachedError

COUNT = 40


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String(20), index=BlindIndex(bits=12)))
    age: Mapped[int | None] = mapped_column(EncryptedType(Integer))


class Gone:
    """What a value under a destroyed key reads as."""


@pytest.fixture
def encryption(engine):
    store = SqlKeyStore(keyrings.local(os.urandom(32)))
    encryption = attach(engine, store, create=True, destroyed=Gone, cache_check=0.1)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(
            Patient(id=number, ssn=ssn(number), age=number if number % 2 else None)
            for number in range(COUNT)
        )
        session.commit()
    yield encryption
    encryption.detach()


def ssn(number: int) -> str:
    return f"{number:03d}-45-6789"


def row(number: int) -> tuple[int, str, int | None]:
    return number, ssn(number), number if number % 2 else None


ALL = [row(number) for number in range(COUNT)]
STATEMENT = select(Patient.id, Patient.ssn, Patient.age).order_by(Patient.id)


MOVED = "UPDATE patient SET ssn = (SELECT ssn FROM patient WHERE id = 1) WHERE id = 2"


def partitioned(result):
    return [row for part in result.partitions(7) for row in part]


def by_many(result):
    return [*result.fetchmany(3), *result.fetchmany(5), *result.fetchall()]


def one_by_one(result):
    return [result.fetchone(), *result]


WAYS = {
    "all": lambda result: result.all(),
    "many": by_many,
    "one by one": one_by_one,
    "partitions": partitioned,
    "yield_per": lambda result: list(result.yield_per(6)),
    "mappings": lambda result: [tuple(one.values()) for one in result.mappings()],
    "frozen": lambda result: result.freeze()().all(),
}


@pytest.mark.parametrize("read", WAYS.values(), ids=WAYS)
def test_every_way_to_fetch_gives_every_value_and_counts_it_once(engine, encryption, read):
    before = encryption.stats.opened
    with engine.connect() as connection:
        assert [tuple(one) for one in read(connection.execute(STATEMENT))] == ALL
    assert encryption.stats.opened - before == COUNT + COUNT // 2


def test_rows_of_the_orm_and_of_a_look_up_are_read(engine, encryption):
    with Session(engine) as session:
        found = session.scalars(select(Patient).order_by(Patient.id)).all()
        assert [(one.id, one.ssn, one.age) for one in found] == ALL
        wanted = select(Patient).where(Patient.ssn.in_([ssn(3), ssn(4), ssn(5)]))
        found = session.scalars(wanted.order_by(Patient.id)).all()
        assert [one.id for one in found] == [3, 4, 5]


def test_a_value_that_does_not_open_is_refused_in_its_row_and_no_other(engine, encryption):
    with engine.begin() as connection:
        connection.execute(text(MOVED))
    with engine.connect() as connection:
        result = connection.execute(STATEMENT)
        with pytest.raises(DecryptionError) as caught:
            result.all()
    assert (caught.value.column, caught.value.row) == ("ssn", {"id": "2"})
    with engine.connect() as connection:
        others = connection.execute(STATEMENT.where(Patient.id != 2)).all()
    assert [tuple(one) for one in others] == [one for one in ALL if one[0] != 2]


def test_values_under_a_destroyed_key_read_as_it_was_asked(engine, encryption):
    encryption.keys.destroy("default", confirm="default", specs=None, at_once=True)
    with engine.connect() as connection:
        found = connection.execute(STATEMENT).all()
    assert all(one.ssn is Gone for one in found)
    assert [one.age for one in found] == [Gone if number % 2 else None for number in range(COUNT)]


def test_an_engine_without_encryption_any_more_opens_nothing(engine, encryption):
    with engine.connect() as connection:
        result = connection.execute(STATEMENT)
        encryption.detach()
        with pytest.raises(NotAttachedError):
            result.all()
