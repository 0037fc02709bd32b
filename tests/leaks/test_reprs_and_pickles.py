"""Nothing that is printed or pickled on the way holds a value."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from sqlalchemy import Engine, bindparam, insert, inspect, select, update
from sqlalchemy.orm import Session

from encfields.errors import UnboundValueError, UnreadableError
from encfields.orm.write.pending import Pending
from tests.leaks.model import (
    SSN,
    Base,
    Patient,
    assert_nothing_shows,
    secrets_of_a_patient,
)
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

PATIENT: Any = Patient.__table__
ROW: dict[str, Any] = {"id": 1, "name": "a", **secrets_of_a_patient()}


@pytest.mark.parametrize(
    "statement",
    [
        insert(PATIENT).values(ROW),
        insert(PATIENT).values([ROW, {**ROW, "id": 2}]),
        insert(Patient).values(ssn=SSN).returning(Patient.ssn),
        update(PATIENT).where(PATIENT.c.id == 1).values(ssn=SSN),
        update(Patient).where(Patient.id == bindparam("key", 1)).values(ssn=SSN),
        select(Patient).where(Patient.ssn.is_not(None)),
    ],
    ids=["insert", "many", "returning", "update", "bindparam", "select"],
)
def test_a_statement_prints_without_its_values(engine: Engine, statement: Any) -> None:
    assert_nothing_shows(
        str(statement),
        repr(statement),
        str(statement.compile()),
        str(statement.compile(engine)),
        repr(statement.compile(engine)),
    )


def test_models_tables_and_types_print_no_value(engine: Engine) -> None:
    with Session(engine) as session:
        patient = Patient(**ROW)
        session.add(patient)
        session.flush()
        assert_nothing_shows(
            repr(patient), repr(inspect(patient)), repr(PATIENT), repr(Base.metadata),
            [repr(column.type) for column in PATIENT.c], repr(session), repr(session.connection()),
        )  # fmt: skip


# -- the parcel that carries a value to where it is sealed -------------------------------------


@pytest.fixture
def parcel() -> Pending:
    return Pending(SSN)


def test_the_parcel_prints_nothing(parcel: Pending) -> None:
    assert repr(parcel) == repr([parcel])[1:-1] == "<encrypted value>"
    assert not hasattr(parcel, "__dict__")


@pytest.mark.parametrize(
    "conversion",
    [str, bytes, "{}".format, "{:>5}".format, "%s".__mod__, lambda p: f"{p}"],
    ids=["str", "bytes", "format", "format-spec", "percent", "f-string"],
)
def test_the_parcel_becomes_no_text(parcel: Pending, conversion: Any) -> None:
    with pytest.raises(UnboundValueError) as caught:
        conversion(parcel)
    assert_nothing_shows(caught.value)


@pytest.mark.parametrize("conversion", [pickle.dumps, copy.copy, copy.deepcopy])
def test_the_parcel_is_neither_pickled_nor_copied(parcel: Pending, conversion: Any) -> None:
    with pytest.raises(TypeError) as caught:
        conversion(parcel)
    assert_nothing_shows(caught.value)


# -- pickles -----------------------------------------------------------------------------------


def test_metadata_pickles_hold_no_value_of_the_rows_that_went_through(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Patient(**ROW))
        session.commit()
        session.scalars(select(Patient)).all()
    assert_nothing_shows(pickle.dumps(Base.metadata), pickle.dumps(PATIENT.c.ssn.type))


def test_a_pickled_instance_holds_its_values_as_any_object_would(engine: Engine) -> None:
    # By design, and for the README: what an application pickles or caches is plaintext.
    with Session(engine) as session:
        session.add(Patient(**ROW))
        session.commit()
        loaded = session.scalars(select(Patient)).one()
        assert loaded.ssn == SSN
        assert pickle.loads(pickle.dumps(loaded)).ssn == SSN


def test_an_error_made_again_from_its_arguments_says_where_it_happened() -> None:
    """As a task queue makes it, from JSON."""
    error = UnreadableError("it does not open", table="patient", row={"id": "1"})
    error.column = "ssn"  # known later
    assert str(type(error)(*error.args)) == str(error) == "patient.ssn, row id=1: it does not open"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
