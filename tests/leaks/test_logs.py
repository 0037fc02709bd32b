"""No value shows in a log, with every logger at DEBUG and ``echo=True``."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import Engine, bindparam, event, insert, select, update
from sqlalchemy.orm import Session

from encfields.testing import attach_locally
from tests.leaks.model import SSN, Base, Patient, assert_nothing_shows, secrets_of_a_patient
from tests.servers.backends import Backend


def _logged(log: pytest.LogCaptureFixture, statement: str) -> None:
    """The statement was logged, with its parameters, and without a value in them."""
    texts = [record.getMessage() for record in log.records]
    assert any(text.startswith(statement) for text in texts), texts
    assert any("] (" in text or "] [" in text or "] {" in text for text in texts)
    assert_nothing_shows(log.records, log.text)


def test_a_flush(engine: Engine, log: pytest.LogCaptureFixture) -> None:
    with Session(engine) as session:
        session.add(Patient(name="one", **secrets_of_a_patient()))
        session.commit()
    _logged(log, "INSERT INTO patient")


def test_a_flush_of_many_with_generated_keys(engine: Engine, log: pytest.LogCaptureFixture) -> None:
    with Session(engine) as session:
        session.add_all(Patient(name=f"n{n}", **secrets_of_a_patient()) for n in range(20))
        session.commit()
    _logged(log, "INSERT INTO patient")


def test_a_bulk_insert_with_returning(
    backend: Backend, engine: Engine, log: pytest.LogCaptureFixture
) -> None:
    backend.require_returning()
    with Session(engine) as session:
        rows = [{"id": n + 1, "name": f"n{n}", **secrets_of_a_patient()} for n in range(20)]
        got = session.scalars(insert(Patient).returning(Patient.ssn), rows).all()
        assert got == [SSN] * 20
    _logged(log, "INSERT INTO patient")


def test_executemany_and_updates(engine: Engine, log: pytest.LogCaptureFixture) -> None:
    table: Any = Patient.__table__
    with engine.begin() as connection:
        rows = [{"id": n + 1, "name": f"n{n}", **secrets_of_a_patient()} for n in range(20)]
        connection.execute(insert(table), rows)
        connection.execute(update(table).where(table.c.id == 3).values(ssn=SSN))
        by_key = update(table).where(table.c.id == bindparam("key"))
        connection.execute(by_key, [{"key": n + 1, "ssn": SSN} for n in range(20)])
    _logged(log, "UPDATE patient")


def test_several_rows_in_one_values_clause(engine: Engine, log: pytest.LogCaptureFixture) -> None:
    rows = [{"id": n + 1, "name": f"n{n}", **secrets_of_a_patient()} for n in range(3)]
    with engine.begin() as connection:
        connection.execute(insert(Patient).values(rows))
    _logged(log, "INSERT INTO patient")


def test_a_statement_from_the_cache(engine: Engine, log: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        with engine.begin() as connection:
            row = {"id": number + 1, "name": f"n{number}", **secrets_of_a_patient()}
            connection.execute(insert(Patient), row)
    assert any("[cached since" in record.getMessage() for record in log.records)
    _logged(log, "INSERT INTO patient")


def test_reading(engine: Engine, log: pytest.LogCaptureFixture) -> None:
    with Session(engine) as session:
        session.add(Patient(name="one", **secrets_of_a_patient()))
        session.commit()
        log.clear()
        assert session.scalars(select(Patient)).one().ssn == SSN
        assert session.scalar(select(Patient.ssn)) == SSN
    texts = [record.getMessage() for record in log.records]
    assert any(text.startswith("SELECT") for text in texts)
    assert_nothing_shows(log.records, log.text)


def test_failed_statements(engine: Engine, log: pytest.LogCaptureFixture) -> None:
    for name in ("same", "same"):
        try:
            with Session(engine) as session:
                session.add(Patient(name=name, **secrets_of_a_patient()))
                session.commit()
        except Exception:
            logging.getLogger("application").exception("it failed")
    assert any(record.exc_info for record in log.records)
    _logged(log, "INSERT INTO patient")


def test_a_listener_before_ours_sees_redacted_parameters(
    backend: Backend, log: pytest.LogCaptureFixture
) -> None:
    engine = backend.create_engine()
    seen: list[Any] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(conn: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if statement.startswith("INSERT INTO patient"):
            seen.append(repr(parameters))

    attach_locally(engine)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Patient), {"id": 1, "name": "a", **secrets_of_a_patient()})
    assert "<encrypted value>" in seen[0]
    assert_nothing_shows(seen)


def test_only_echo_debug_prints_values_because_it_prints_result_rows(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    # SQLAlchemy prints each row as the application gets it: a promise nobody can make good.
    with caplog.at_level(logging.DEBUG, "sqlalchemy.engine"):
        engine = backend.create_engine(echo="debug")
        attach_locally(engine)
        Base.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(insert(Patient), {"id": 1, "name": "a", **secrets_of_a_patient()})
        assert_nothing_shows(caplog.records)
        with engine.begin() as connection:
            connection.execute(select(Patient.ssn)).all()
    printed = [r.getMessage() for r in caplog.records if SSN in r.getMessage()]
    assert printed
    assert all(text.startswith("Row ") for text in printed)
