"""A column is adopted whichever driver the application has, and no error of it shows a value."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from encfields import BlindIndex, EncryptedType, Encryption, Plaintext, attach
from encfields.adopt import (
    Adoption,
    adopt,
    begin_adoption,
    close_plaintext,
    end_adoption,
    ensure_adopted,
    withdraw_adoption,
)
from encfields.errors import ConfigurationError, EncFieldsError
from encfields.testing import local_store
from encfields.traces import chained
from tests.drivers.conftest import WRAPPING_KEY, Leg
from tests.servers.drivers import with_driver

CANARY = "canary-4711"
DEFAULT = {"sqlite": "pysqlite", "postgresql": "psycopg"}


def account(phase: str) -> Table:
    """The table of one version of the application; of ``"old"``, with the plaintext alone."""
    sealed: Any = Column("email", String(60), unique=True, nullable=False)
    if phase != "old":
        adopts: Any = {"adopts": Plaintext("email", phase=phase)} if phase != "done" else {}  # type: ignore[arg-type]
        type_ = EncryptedType(String(60), name="account.email", index=BlindIndex(), **adopts)
        sealed = Column("email_enc", type_, key="email" if phase == "done" else None)
    return Table(
        "account",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("age", Integer),
        sealed,
        CheckConstraint("age > 0", name="grown"),
    )


@pytest.fixture
def operator(driver: Leg) -> Iterator[Engine]:
    """Who carries out the operations, with the table of the old application and one row."""
    engine = create_engine(with_driver(driver.url, DEFAULT.get(driver.server, "pymysql")))
    encryption = attach(engine, local_store(WRAPPING_KEY))
    old = account("old")
    old.drop(engine, checkfirst=True)
    old.create(engine)
    driver.run(lambda c: c.execute(insert(old), {"id": 1, "age": 1, "email": "1@old"}))
    yield engine
    old.drop(engine)
    encryption.detach()
    engine.dispose()


def sealed_column(table: Table) -> Column[Any]:
    return next(c for c in table.c if c.name == "email_enc")


def works(driver: Leg, phase: str, first: int) -> None:
    """Write and read every row in one version of the application."""
    table = account(phase)
    email = sealed_column(table)

    def at_work(connection: Any) -> None:
        rows = [
            {"id": n, "age": 1, email.key: f"{n}@{phase}"} for n in (first, first + 1, first + 2)
        ]
        connection.execute(insert(table), rows[0])
        connection.execute(insert(table), rows[1:])
        changed = update(table).where(table.c.id == bindparam("k")).values({email: bindparam("v")})
        connection.execute(changed, [{"k": 1, "v": f"1@{phase}"}])
        found = dict(iter(connection.execute(select(table.c.id, email)).all()))
        assert found[1] == f"1@{phase}"
        assert found[first] == f"{first}@{phase}"
        for key, value in found.items():
            asked = select(table.c.id).where(email == value)
            assert connection.scalars(asked).all() == [key]
        among = select(table.c.id).where(email.in_(list(found.values())))
        assert len(connection.scalars(among).all()) == len(found)

    driver.run(at_work)


def test_every_driver_goes_through_all_phases(driver: Leg, operator: Engine) -> None:
    through_all_phases(driver, driver.engine if takes_runs(driver) else operator)


def takes_runs(driver: Leg) -> bool:
    """Whether it is synchronous; SQLAlchemy 2.0.25 has MySQL Connector/Python commit no reads."""
    levels = driver.engine.dialect.get_isolation_level_values(None)
    return not driver.is_async and "AUTOCOMMIT" in levels


@pytest.mark.parametrize("name", ["e%mail", ":mail"])
def test_a_name_that_a_driver_could_take_for_a_parameter(driver: Leg, name: str) -> None:
    if not takes_runs(driver):
        pytest.skip("a run takes a synchronous driver that can commit each read")
    adopts = Plaintext(name, phase="read-sealed")
    sealed: Column[str] = Column("sealed", EncryptedType(String(60), name="m.e", adopts=adopts))
    table = Table("member", MetaData(), Column("id", Integer, primary_key=True), sealed)
    adoption = Adoption.of(table.c.sealed)
    plain: Column[str] = Column(name, String(60))
    old = Table("member", MetaData(), Column("id", Integer, primary_key=True), plain)
    driver.run(lambda c: old.drop(c, checkfirst=True))
    driver.run(old.create)
    driver.run(lambda c: c.execute(insert(old), {"id": 1, name: "1@old"}))
    begin_adoption(driver.engine, adoption)
    assert adopt(driver.engine, driver.encryption, adoption).rows_written == 1
    assert ensure_adopted(driver.engine, driver.encryption, adoption).both == 1
    driver.run(old.drop)


def test_psycopg_does_so_beside_an_event_loop(driver: Leg, operator: Engine) -> None:
    if driver.driver != "psycopg":
        pytest.skip("of psycopg's other half")
    beside = Leg("postgresql", driver.url.set(drivername="postgresql+psycopg_async")).attach()
    through_all_phases(beside, operator)
    beside.dispose()


def through_all_phases(driver: Leg, operator: Engine) -> None:
    keys: Encryption = driver.encryption
    adoption = Adoption.of(sealed_column(account("write-both")))
    begin_adoption(operator, adoption)
    works(driver, "write-both", 10)
    assert adopt(operator, keys, adoption).finished
    works(driver, "read-sealed", 20)
    ensure_adopted(operator, keys, adoption)
    works(driver, "write-sealed", 30)
    close_plaintext(operator, keys, adoption)
    works(driver, "write-sealed", 40)
    end_adoption(operator, adoption)
    works(driver, "done", 50)


def shown(error: BaseException) -> str:
    """All that whoever reports an error can read of it."""
    told = [*traceback.format_exception(error)]
    for one in chained(error):
        told += [str(one), repr(one)]
        for name in dir(one):
            value = getattr(one, name, None)
            told.append(f"{name}: {value!r}")
            told += [f"{n}: {getattr(value, n, None)!r}" for n in dir(value) if name == "diag"]
        told.append(repr(one.__reduce_ex__(4)))
    return "\n".join(told)


def refused(driver: Leg, statement: Any, row: dict[str, Any]) -> DBAPIError:
    error = raised_by(driver, statement, row)
    assert isinstance(error, DBAPIError)
    return error


def raised_by(driver: Leg, statement: Any, row: dict[str, Any]) -> Exception:
    with pytest.raises((DBAPIError, EncFieldsError)) as raised:
        driver.run(lambda connection: connection.execute(statement, row))
    return raised.value


@pytest.mark.parametrize("phase", ["write-both", "write-sealed"])
def test_an_error_shows_no_value_of_a_row(driver: Leg, operator: Engine, phase: str) -> None:
    adoption = Adoption.of(sealed_column(account("write-both")))
    begin_adoption(operator, adoption)
    both, other = account("write-both"), account(phase)
    driver.run(lambda c: c.execute(insert(both), {"id": 2, "age": 1, "email_enc": CANARY}))
    if phase == "write-sealed":
        assert adopt(operator, driver.encryption, adoption).finished
    raw = text("INSERT INTO account (id, age, email) VALUES (:id, :age, :email)")
    errors = [
        refused(driver, insert(both), {"id": 3, "age": 1, "email_enc": CANARY}),
        raised_by(driver, insert(other), {"id": 4, "age": -1, "email_enc": f"{CANARY}!"}),
        refused(driver, update(both).where(both.c.id == 2), {"age": -1}),
        refused(driver, raw.bindparams(email=CANARY), {"id": 5, "age": 1}),
    ]
    # Rows may not have only a sealed value yet, as this library tells in words of its own.
    assert isinstance(errors[1], ConfigurationError if phase == "write-sealed" else DBAPIError)
    for error in errors:
        if isinstance(error, DBAPIError):
            error.params = error.statement = None  # what the application gave, and says it hides
        assert CANARY not in shown(error)
    withdraw_adoption(operator, adoption)


def test_psycopg2_tells_the_rest_of_it(driver: Leg, operator: Engine) -> None:
    if driver.driver != "psycopg2":
        pytest.skip("of psycopg2's errors")
    both = account("write-both")
    begin_adoption(operator, Adoption.of(sealed_column(both)))
    driver.run(lambda c: c.execute(insert(both), {"id": 2, "age": 1, "email_enc": CANARY}))
    error: Any = refused(driver, insert(both), {"id": 3, "age": 1, "email_enc": CANARY}).orig
    assert (error.pgcode, error.diag.sqlstate) == ("23505", "23505")
    assert error.diag.constraint_name == "account_email_key"
    assert error.diag.message_detail is None
    assert type(pickle.loads(pickle.dumps(error))) is type(error).__mro__[1]
    withdraw_adoption(operator, Adoption.of(sealed_column(both)))
