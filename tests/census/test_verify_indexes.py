"""A verification computes every blind index anew, and lists those that are not their value's."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import Engine, Table, select, text

from encfields import BlindIndex, Encryption
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.verify import verify
from encfields.errors import DeclarationError
from encfields.index import last
from encfields.testing import assert_absent
from tests.census.clinic import SECRET, fill, overwrite, patient_table, stored
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


@pytest.fixture
def indexed(engine: Engine, encryption: Encryption) -> Table:
    table = patient_table(index=[BlindIndex(), BlindIndex(last(4), bits=12)])
    table.create(engine)
    fill(engine, table, range(1, 31))
    return table


def test_indexes_of_their_values_are_no_failures(engine, encryption, indexed):
    told = verify(engine, encryption, TableSpec.from_table(indexed))
    assert told.ok
    assert told.rows == 30


def test_an_index_that_was_exchanged_is_listed_with_its_row(engine, encryption, indexed):
    overwrite(engine, 7, stored(engine, 8, "ssn_bidx"), "ssn_bidx")

    told = verify(engine, encryption, TableSpec.from_table(indexed))

    (failure,) = told.failures
    assert (failure.column, dict(failure.row)) == ("ssn_bidx", {"id": "7"})
    assert (failure.error, failure.reason) == ("BlindIndexError", "index-mismatch")
    assert told.failed == {("ssn_bidx", "index-mismatch"): 1}
    assert not told.ok
    with engine.connect() as connection:  # the very fault: a look-up finds a row that is another
        found = connection.scalars(select(indexed.c.id).where(indexed.c.ssn == f"{SECRET} 8")).all()
    assert sorted(found) == [7, 8]
    assert_absent(SECRET, repr(told), json.dumps(told.to_json()))


def test_an_index_that_is_missing_is_listed(engine, encryption, indexed):
    with engine.begin() as connection:
        connection.execute(text("UPDATE patient SET ssn_last4_bidx = NULL WHERE id > 28"))
    told = verify(engine, encryption, TableSpec.from_table(indexed))
    assert told.failed == {("ssn_last4_bidx", "index-missing"): 2}


def test_an_index_left_beside_a_null_is_listed(engine, encryption, indexed):
    with engine.begin() as connection:
        connection.execute(text("UPDATE patient SET ssn = NULL WHERE id = 3"))
    told = verify(engine, encryption, TableSpec.from_table(indexed))
    assert {column for column, _ in told.failed} == {"ssn_bidx", "ssn_last4_bidx"}
    assert {reason for _, reason in told.failed} == {"index-mismatch"}


def test_an_index_made_otherwise_than_declared_is_listed(engine, encryption, indexed):
    spec = TableSpec.from_table(patient_table(index=BlindIndex(domain="another")))
    told = verify(engine, encryption, spec)
    assert told.failed == {("ssn_bidx", "index-mismatch"): 30}


def test_of_a_value_that_does_not_open_only_that_is_told(engine, encryption, indexed):
    overwrite(engine, 5, stored(engine, 5)[:-1])
    told = verify(engine, encryption, TableSpec.from_table(indexed))
    assert told.failed == {("ssn", "truncated"): 1}


@on_each_database
def test_an_index_that_the_database_does_not_have_is_said_at_once(engine, encryption, indexed):
    spec = TableSpec.from_table(indexed)
    elsewhere = replace(spec.indexes[0], name="nowhere_bidx")
    with pytest.raises(DeclarationError, match="migrate the database first"):
        verify(engine, encryption, replace(spec, indexes=(elsewhere,)))
