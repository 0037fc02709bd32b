"""No exception tells a value: not its text, its arguments, its parameters, nor its chain."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import (
    CompileError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
    StatementError,
)
from sqlalchemy.orm import Session

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import (
    AmbiguousRowError,
    CiphertextCopyError,
    ContextMismatchError,
    KeyAccessError,
    KeyUnavailableError,
    MalformedMessageError,
    NotAttachedError,
    TamperedError,
    UnboundValueError,
    UnsupportedOperationError,
    ValueDecodingError,
    ValueEncodingError,
)
from tests.leaks.model import (
    NOTE,
    SCAN,
    SSN,
    Base,
    Patient,
    assert_nothing_shows,
    secrets_of_a_patient,
)
from tests.servers.backends import Backend
from tests.servers.kms_proxy import Failure, KmsProxy
from tests.servers.moto import Kms
from tests.turns import databases_by_turns

PATIENT: Any = Patient.__table__
ALL: Any = select(PATIENT)


def _caught(kind: type[BaseException], action: Callable[[], object]) -> Any:
    """The exception that the action raises; nothing may show in it."""
    with pytest.raises(kind) as caught:
        action()
    assert_nothing_shows(caught.value)
    return caught.value


def _caught_reading(kind: type[BaseException], action: Callable[[], object]) -> Any:
    """The same while nothing is written: no frame of SQLAlchemy's holds a value either."""
    error = _caught(kind, action)
    assert_nothing_shows(error, but_of=())
    return error


def _executed(engine: Engine, statement: Any, parameters: Any = None) -> Callable[[], object]:
    def run() -> None:
        with engine.begin() as connection:
            connection.execute(statement, parameters)

    return run


def _flushed(engine: Engine, *patients: dict[str, Any]) -> Callable[[], object]:
    def run() -> None:
        with Session(engine) as session:
            session.add_all(Patient(**patient) for patient in patients)
            session.flush()

    return run


def _row(**others: Any) -> dict[str, Any]:
    return {"id": 1, "name": "a", "born": None, **secrets_of_a_patient(), **others}


# -- our own refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [{"ssn": SCAN}, {"ssn": [SSN]}, {"ssn": SSN + "\ud800"}, {"notes": {NOTE: {1, SSN}}},
     {"notes": {"n": float("nan"), "x": NOTE}}, {"scan": SSN}],
    ids=["bytes", "list", "surrogate", "set", "nan", "text"],
)  # fmt: skip
def test_a_value_without_encoding(engine: Engine, bad: dict[str, Any]) -> None:
    _caught(ValueEncodingError, _executed(engine, insert(PATIENT), _row(**bad)))
    _caught(ValueEncodingError, _executed(engine, insert(PATIENT), [_row(), _row(id=2, **bad)]))
    _caught(ValueEncodingError, _flushed(engine, _row(**bad)))


def test_a_value_in_where(engine: Engine) -> None:
    typed = bindparam("v", SSN, type_=EncryptedType())
    _caught(UnboundValueError, _executed(engine, select(PATIENT.c.id).where(func.hex(typed) == "")))
    _caught(UnsupportedOperationError, lambda: select(PATIENT).where(PATIENT.c.ssn == SSN))
    _caught(UnsupportedOperationError, lambda: select(PATIENT).where(PATIENT.c.ssn.in_([SSN])))
    _caught(UnsupportedOperationError, lambda: select(PATIENT).where(PATIENT.c.ssn.like(SSN)))


def test_who_follows_causes_comes_to_an_end(engine: Engine) -> None:
    """SQLAlchemy raises what it does not wrap from itself."""
    typed = bindparam("v", SSN, type_=EncryptedType())
    error = _caught(UnboundValueError, _executed(engine, select(func.hex(typed))))
    assert error.__cause__ is None
    with pytest.raises(UnboundValueError) as caught:
        raise error from ValueError("another")
    assert str(caught.value.__cause__) == "another"


def test_a_value_in_text(engine: Engine) -> None:
    statement = text("SELECT :v").bindparams(bindparam("v", SSN, type_=EncryptedType()))
    _caught(UnboundValueError, _executed(engine, statement))


def test_an_ambiguous_update(engine: Engine) -> None:
    _caught(AmbiguousRowError, _executed(engine, update(PATIENT).values(ssn=SSN)))
    by_name = update(PATIENT).where(PATIENT.c.name != "a").values(notes={"n": NOTE})
    _caught(AmbiguousRowError, _executed(engine, by_name))


def test_a_value_in_an_expression(engine: Engine) -> None:
    statement = insert(PATIENT).values(id=1, name="a", ssn=func.lower(SSN))
    _caught(CiphertextCopyError, _executed(engine, statement))


def test_literal_binds_are_refused(engine: Engine) -> None:
    statement = insert(PATIENT).values(_row())
    options = {"literal_binds": True}
    _caught(UnboundValueError, lambda: statement.compile(engine, compile_kwargs=options))


# -- failures of keys, inside a flush ----------------------------------------------------------


@databases_by_turns
@pytest.mark.parametrize("failure", ["deny", "throttle", "refuse", "error", "disabled"])
def test_a_kms_failure_inside_a_flush(
    backend: Backend, kms: Kms, kms_proxy: KmsProxy, failure: Failure
) -> None:
    arn = kms.create_key()
    first = attach(backend.create_engine(), SqlKeyStore(keyrings.aws_kms(arn)), create=True)
    first.prefetch()
    engine = backend.create_engine()
    attach(engine, SqlKeyStore(keyrings.aws_kms(arn, max_attempts=1)))
    Base.metadata.create_all(engine)
    kms_proxy.fail(failure)
    error = _caught(KeyUnavailableError, _flushed(engine, _row(), _row(id=2, name="b")))
    assert error.table == "patient"


def test_a_wrong_wrapping_key(backend: Backend, engine: Engine) -> None:
    other = backend.create_engine()
    attach(other, SqlKeyStore(keyrings.local(bytes(range(32)))))
    _caught(KeyAccessError, _flushed(other, _row()))


def test_an_engine_that_is_not_attached(detached: Engine, engine: Engine) -> None:
    _caught(NotAttachedError, _flushed(detached, _row()))
    _caught(NotAttachedError, _executed(detached, insert(PATIENT), [_row(), _row(id=2)]))


# -- errors of SQLAlchemy and the driver about the same statement ------------------------------


def test_another_column_violates_a_constraint(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Patient(**_row()))
        session.commit()
    again = _row(id=2)
    _caught(IntegrityError, _executed(engine, insert(PATIENT), again))
    _caught(IntegrityError, _executed(engine, insert(PATIENT), [again, _row(id=3)]))
    _caught(IntegrityError, _flushed(engine, again))
    without_key = {name: value for name, value in again.items() if name != "id"}
    _caught(IntegrityError, _flushed(engine, without_key))
    missing = ProgrammingError if engine.driver == "pg8000" else IntegrityError
    _caught(missing, _executed(engine, insert(PATIENT), _row(id=4, name=None)))


def test_another_columns_value_is_refused_by_its_type_or_the_driver(engine: Engine) -> None:
    bad = _row(born="no date")
    _caught(StatementError, _executed(engine, insert(PATIENT), bad))
    _caught(StatementError, _executed(engine, insert(PATIENT), [_row(), bad]))
    _caught(StatementError, _flushed(engine, bad))
    setting = update(PATIENT).where(PATIENT.c.id == 1).values(born="no date", ssn=SSN)
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), _row(born=dt.date(2024, 1, 1)))
    _caught(StatementError, _executed(engine, setting))


def test_another_columns_value_does_not_fit(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        bad = _row(id=2**70)  # SQLite has no length of a string, but one of an integer
        _caught(OverflowError, _executed(engine, insert(PATIENT), bad))
    else:
        bad = _row(name="x" * 50)
        _caught(DBAPIError, _executed(engine, insert(PATIENT), bad))
        _caught(DBAPIError, _flushed(engine, bad))


def test_another_columns_default_function_fails(engine: Engine) -> None:
    def fail(context: Any) -> str:
        raise RuntimeError("no default")

    table = Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("name", String, default=fail),
        Column("ssn", EncryptedType(String)),
    )
    _caught(Exception, _executed(engine, insert(table), {"id": 1, "ssn": SSN}))
    _caught(Exception, _executed(engine, insert(table), [{"id": n, "ssn": SSN} for n in (1, 2)]))


def test_a_bind_is_missing(engine: Engine) -> None:
    statement = insert(PATIENT).values(id=bindparam("key"), name=bindparam("label"))
    statement = statement.values(ssn=bindparam("secret"))
    given = {"key": 1, "secret": SSN}
    _caught(StatementError, _executed(engine, statement, given))
    _caught(StatementError, _executed(engine, statement, [{**given, "label": "a"}, given]))
    # Not a NULL that the database would replace by a key of its own.
    _caught(StatementError, _executed(engine, statement, {"label": "a", "secret": SSN}))


def test_parameters_that_are_hidden_are_said_to_be(engine: Engine) -> None:
    error = _caught(StatementError, _executed(engine, insert(PATIENT), _row(born="no date")))
    # SQLite's type refuses the date while the values wait to be sealed; a server, afterwards.
    assert ("parameters hidden" in str(error)) == (engine.dialect.name == "sqlite")


def test_a_database_that_does_not_answer_is_the_drivers_error(backend: Backend) -> None:
    elsewhere = create_engine(
        backend.url.set(database="/nowhere/at/all.db")
        if backend.name == "sqlite"
        else backend.url.set(host="127.0.0.1", port=1)
    )
    attach(elsewhere, SqlKeyStore(keyrings.local(bytes(32))))
    # MySQL Connector/Python and pg8000 have it of the second kind.
    with pytest.raises((OperationalError, InterfaceError)):
        elsewhere.connect()


def test_parameters_of_a_statement_about_nothing_encrypted_stay_visible(engine: Engine) -> None:
    plain = Table("plain", MetaData(), Column("data", String))
    for statement in (select(plain), update(plain).values(data="x")):
        incomplete = statement.where(plain.c.data == bindparam("a"), plain.c.data > bindparam("b"))
        error = _caught(StatementError, _executed(engine, incomplete, {"a": "some data"}))
        assert error.params == [{"a": "some data"}]


def test_a_column_is_unknown(engine: Engine) -> None:
    _caught(CompileError, _executed(engine, insert(PATIENT).values(_row(unknown=SSN))))


def test_the_table_is_missing(engine: Engine) -> None:
    Base.metadata.drop_all(engine)
    error = _caught(DBAPIError, _executed(engine, insert(PATIENT), _row()))
    assert "patient" in str(error)


def test_sqlalchemys_parameters_are_ciphertext_once_they_are_sealed(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), _row())
    error = _caught(IntegrityError, _executed(engine, insert(PATIENT), _row()))
    sealed = list(error.params.values() if isinstance(error.params, dict) else error.params)
    assert sum(isinstance(one, bytes) and one[:3] == b"\x02\x04\x78" for one in sealed) == 3


def test_a_session_that_must_be_rolled_back(engine: Engine) -> None:
    with Session(engine) as session:
        session.add_all([Patient(**_row()), Patient(**_row(id=2))])
        with pytest.raises(IntegrityError):
            session.flush()
        error = _caught(PendingRollbackError, lambda: session.execute(select(Patient)))
        assert "UNIQUE" in str(error).upper() or "DUPLICATE" in str(error).upper()
    with Session(engine) as session:
        session.add(Patient(**_row(ssn=[SSN])))
        with pytest.raises(ValueEncodingError):
            session.flush()
        _caught(PendingRollbackError, session.commit)


# -- values that do not open -------------------------------------------------------------------


def _stored(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), [_row(), _row(id=2, name="b")])


def _spoilt(engine: Engine, sql: str, value: bytes | None = None) -> None:
    with engine.begin() as connection:
        connection.execute(text(sql), {} if value is None else {"v": value})


def test_a_moved_value(engine: Engine) -> None:
    _stored(engine)
    with engine.connect() as connection:
        sealed = connection.execute(text("SELECT ssn FROM patient WHERE id = 1")).scalar_one()
    _spoilt(engine, "UPDATE patient SET ssn = :v WHERE id = 2", bytes(sealed))
    _caught_reading(ContextMismatchError, _executed_fetch(engine))


def test_an_altered_value(engine: Engine) -> None:
    _stored(engine)
    with engine.connect() as connection:
        sealed = connection.execute(text("SELECT ssn FROM patient WHERE id = 1")).scalar_one()
    altered = bytes(sealed)[:-1] + bytes([bytes(sealed)[-1] ^ 1])
    _spoilt(engine, "UPDATE patient SET ssn = :v WHERE id = 1", altered)
    _caught_reading(TamperedError, _executed_fetch(engine))


def test_plaintext_in_the_column_is_not_repeated(engine: Engine) -> None:
    _stored(engine)
    _spoilt(engine, "UPDATE patient SET ssn = :v WHERE id = 1", SSN.encode())
    # SQLAlchemy 2.0 has what the driver delivered in a variable: here that is the plaintext.
    caught = _caught if sqlalchemy.__version__.startswith("2.0") else _caught_reading
    caught(MalformedMessageError, _executed_fetch(engine))


def test_a_value_of_another_column_type_is_not_repeated(engine: Engine) -> None:
    _stored(engine)
    retyped = Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(Integer)),
    )
    _caught_reading(ValueDecodingError, _executed_fetch(engine, select(retyped.c.ssn)))


def _executed_fetch(engine: Engine, statement: Any = ALL) -> Callable[[], object]:
    def run() -> None:
        with engine.connect() as connection:
            connection.execute(statement).all()

    return run
