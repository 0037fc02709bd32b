"""Neither a value, nor what of it is indexed, nor a key shows in a log or an exception."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import (
    BlindIndex,
    CompoundBlindIndex,
    EncryptedType,
    SqlKeyStore,
    attach,
    blind,
    keyrings,
)
from encfields.errors import BindingError, EncFieldsError, NotAttachedError, ValueEncodingError
from encfields.index.hashing import index_key
from encfields.index.transforms import casefold, digits, last
from encfields.testing import assert_absent
from tests.index_writes.expected import beacon_key
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

SSN = "CANARY-4711-Secret"
CANARIES = (SSN, SSN.casefold(), "Secret", "secret")


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    __table_args__ = (CompoundBlindIndex("both", ("ssn", casefold), "code"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(10), unique=True)
    ssn: Mapped[Any] = mapped_column(
        EncryptedType(
            String, index=[BlindIndex(unique=True), BlindIndex(casefold), BlindIndex(last(6))]
        ),
        nullable=True,
    )
    code: Mapped[Any] = mapped_column(EncryptedType(Integer, index=BlindIndex()), nullable=True)


patient: Any = Patient.__table__


class Plain:
    """What the tests of expected indexes ask of a database."""

    def __init__(self, engine: Engine) -> None:
        self.plain = engine


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.fixture
def engine(backend: Backend, log: pytest.LogCaptureFixture) -> Engine:
    """An attached engine with ``echo=True``."""
    engine = backend.create_engine(echo=True)
    attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    Base.metadata.create_all(engine)
    log.clear()
    return engine


@pytest.fixture
def keys(engine: Engine, backend: Backend) -> list[bytes]:
    """The beacon key, and the keys that are derived from it."""
    beacon = beacon_key(Plain(backend.create_engine()))
    names = ("exact", "casefold", "last6", "casefold+exact")
    derived = [
        index_key(beacon, f"patient.{of}", n) for of in ("ssn", "code", "both") for n in names
    ]
    return [beacon, *derived]


def nothing_shows(keys: list[bytes], *places: Any) -> None:
    printed = [
        "".join(traceback.format_exception(one)) for one in places if isinstance(one, BaseException)
    ]
    canaries: list[Any] = [*CANARIES, *keys]
    for canary in canaries:
        assert_absent(canary, *places, *printed)


def caught(keys: list[bytes], kind: type[BaseException], action: Callable[[], object]) -> Any:
    with pytest.raises(kind) as raised:
        action()
    nothing_shows(keys, raised.value)
    return raised.value


def row(**others: Any) -> dict[str, Any]:
    return {"id": 1, "name": "a", "ssn": SSN, "code": 471147114711 % 2**31, **others}


def executed(engine: Engine, statement: Any, parameters: Any = None) -> Callable[[], object]:
    def run() -> None:
        with engine.begin() as connection:
            connection.execute(statement, parameters)

    return run


def flushed(engine: Engine, *rows: dict[str, Any]) -> Callable[[], object]:
    def run() -> None:
        with Session(engine) as session:
            session.add_all(Patient(**one) for one in rows)
            session.flush()

    return run


@on_each_database
def test_every_write_and_look_up_in_the_log(engine, log, keys):
    by_key = update(patient).where(patient.c.id == bindparam("key"))
    with Session(engine) as session:
        session.add(Patient(name="one", ssn=SSN, code=5))
        session.flush()
        connection = session.connection()
        connection.execute(
            insert(patient), [row(id=n, name=f"n{n}", ssn=SSN + str(n)) for n in (8, 9)]
        )
        connection.execute(insert(patient).values([row(id=10, name="m", ssn=SSN + "x")]))
        connection.execute(by_key, [{"key": n, "ssn": f"{n}{SSN}", "code": 7} for n in (8, 9)])
        connection.execute(
            update(patient).where(patient.c.id == 10).values(ssn=SSN + "y", code=None)
        )
        assert session.scalars(select(Patient.id).where(Patient.ssn == SSN)).all()
        assert session.scalars(select(Patient.id).where(Patient.ssn.in_([SSN, SSN + "y"]))).all()
        by_end = select(Patient).where(Patient.ssn.blind("last6") == "Secret")
        assert session.scalars(by_end).all()
        asked = blind(Patient, "both").matches(ssn=SSN, code=5)
        assert session.scalars(select(Patient.id).where(asked)).all()
        session.commit()
    texts = [record.getMessage() for record in log.records]
    for verb in ("INSERT INTO patient", "UPDATE patient", "SELECT patient"):
        assert any(text.startswith(verb) for text in texts)
    nothing_shows(keys, log.records, log.text)


@on_each_database
def test_an_integrity_error(engine, log, keys):
    # pg8000 tells by itself only that another row has the same.
    missing = ProgrammingError if engine.driver == "pg8000" else IntegrityError
    flushed_once = row(id=1)
    with Session(engine) as session:
        session.add(Patient(**flushed_once))
        session.commit()
    for kind, action in (
        (IntegrityError, executed(engine, insert(patient), row(id=2, name="b"))),
        (
            IntegrityError,
            executed(engine, insert(patient), [row(id=2, name="b"), row(id=3, name="c")]),
        ),
        (IntegrityError, executed(engine, insert(patient).values([row(id=2, name="b")]))),
        (IntegrityError, flushed(engine, row(id=2, name="b"))),
        (IntegrityError, flushed(engine, {"name": "b", "ssn": SSN, "code": 1})),
        (missing, executed(engine, insert(patient), row(id=4, name=None, ssn=SSN + "z"))),
    ):
        error = caught(keys, kind, action)
        nothing_shows(keys, error.params, str(error), repr(error), str(error.orig))
    nothing_shows(keys, log.records, log.text)


@on_each_database
def test_an_error_of_another_column(engine, keys):
    bad = row(name=object())
    caught(keys, DBAPIError, executed(engine, insert(patient), bad))
    missing = {"id": 1, "ssn": SSN}
    many = [row(), missing]
    caught(keys, StatementError, executed(engine, insert(patient), many))


WRONG: list[Any] = [SSN.encode(), [SSN], SSN + "\ud800", {"x": SSN}]


@pytest.mark.parametrize("wrong", WRONG, ids=["bytes", "list", "surrogate", "dict"])
def test_a_value_of_the_wrong_type(engine, keys, wrong):
    caught(keys, ValueEncodingError, executed(engine, insert(patient), row(ssn=wrong)))
    caught(keys, ValueEncodingError, flushed(engine, row(ssn=wrong)))
    caught(
        keys, ValueEncodingError, executed(engine, insert(patient), [row(), row(id=2, ssn=wrong)])
    )


def test_refused_writes(engine, keys):
    for statement in (
        update(patient).values(ssn=SSN, code=1),
        update(patient).where(patient.c.id == 1).values(ssn=SSN),
        insert(patient).values(row(ssn_bidx=SSN.encode())),
        insert(patient).values(row(ssn_bidx=literal(SSN.encode()))),
        insert(patient).values(row(ssn=literal(SSN, String))),
        update(patient).where(patient.c.id == 1).values(ssn_bidx=SSN.encode()),
    ):
        caught(keys, BindingError, executed(engine, statement))


def test_printed_statements(engine, keys):
    for statement in (
        insert(patient).values(row()),
        update(patient).where(patient.c.id == 1).values(ssn=SSN),
        select(patient).where(patient.c.ssn == SSN),
    ):
        nothing_shows(keys, str(statement), repr(statement), str(statement.compile(engine)))
        caught(
            keys,
            EncFieldsError,
            lambda s=statement: s.compile(engine, compile_kwargs={"literal_binds": True}),  # type: ignore[misc]
        )


def test_an_engine_that_is_not_attached(backend, engine, keys):
    detached = backend.create_engine()
    caught(keys, NotAttachedError, flushed(detached, row()))
    caught(keys, NotAttachedError, executed(detached, insert(patient), [row(), row(id=2)]))
    caught(keys, NotAttachedError, executed(detached, select(patient).where(patient.c.ssn == SSN)))
    executed(detached, insert(patient).values(id=5, name="no secrets"))()


def test_reprs(engine, keys, backend):
    index = BlindIndex(digits.then(last(4)))
    table = Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(index=index)),
    )
    with engine.begin() as connection:
        connection.execute(insert(patient), row())
    encryption = attach(backend.create_engine(), SqlKeyStore(keyrings.local(bytes(32))))
    nothing_shows(keys, encryption, index, table, *map(repr, table.c), patient, Patient)
