"""A census counts, without a key, the rows that have a value and are not in its blind index."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine, Table, text

from encfields import BlindIndex, CompoundBlindIndex
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.census import Census, census
from encfields.bulk.survey.index_check import IndexCensus
from encfields.index.transforms import last
from tests.census.clinic import fill, patient_table
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


@pytest.fixture
def indexed(engine: Engine, encryption: object) -> Table:
    """Twenty rows, of which two have no notes, in all of their indexes."""
    table = patient_table(index=[BlindIndex(), BlindIndex(last(4), bits=20)])
    CompoundBlindIndex("both", "ssn", "notes")._set_parent(table)
    table.create(engine)
    fill(engine, table, range(1, 21))
    return table


def _sql(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def _counts(told: Census) -> dict[str, tuple[int, int, int]]:
    return {one.column: (one.indexed, one.missing, one.orphaned) for one in told.indexes}


@on_each_database
def test_every_row_that_has_the_values_is_in_the_index(engine, indexed):
    told = census(engine, TableSpec.from_table(indexed))
    assert _counts(told) == {
        "ssn_bidx": (20, 0, 0),
        "ssn_last4_bidx": (20, 0, 0),
        "both_bidx": (18, 0, 0),
    }
    assert told.is_indexed
    assert told.indexes[2] == IndexCensus("both_bidx", "both", ("ssn", "notes"), 1, indexed=18)


def test_rows_without_an_index_and_indexes_without_a_value_are_counted(engine, indexed):
    _sql(engine, "UPDATE patient SET ssn_bidx = NULL WHERE id <= 3")
    _sql(engine, "UPDATE patient SET both_bidx = NULL WHERE id IN (4, 10)")
    _sql(engine, "UPDATE patient SET ssn = NULL WHERE id IN (3, 5)")
    told = census(engine, TableSpec.from_table(indexed))
    assert _counts(told) == {
        "ssn_bidx": (16, 2, 1),
        "ssn_last4_bidx": (18, 0, 2),
        "both_bidx": (15, 1, 2),
    }
    assert not told.is_indexed


def test_a_second_version_of_the_key_is_counted_by_itself(engine, indexed):
    rotated = TableSpec.from_table(patient_table(index=BlindIndex(versions=(1, 2))))
    told = census(engine, rotated)
    first, second = told.indexes
    assert (first.version, first.is_there, first.is_complete) == (1, True, True)
    assert (second.version, second.is_there, second.is_complete) == (2, False, False)
    assert (second.column, second.indexed, second.missing) == ("ssn_bidx_v2", 0, 20)


def test_it_is_told_as_plain_data(engine, indexed):
    _sql(engine, "UPDATE patient SET ssn_bidx = NULL WHERE id = 7")
    document = json.loads(json.dumps(census(engine, TableSpec.from_table(indexed)).to_json()))
    assert document["indexes"][0] == {
        "column": "ssn_bidx",
        "index": "exact",
        "of": ["ssn"],
        "version": 1,
        "is_there": True,
        "indexed": 19,
        "missing": 1,
        "orphaned": 0,
    }


@on_each_database
def test_of_a_sample_the_totals_are_extrapolated(engine, indexed):
    _sql(engine, "UPDATE patient SET ssn_bidx = NULL")
    told = census(engine, TableSpec.from_table(indexed), sample=10)
    assert told.sample is not None
    first = told.to_json()["indexes"][0]
    assert first["missing"] == told.rows
    assert first["estimated"]["missing"] == (20 if told.rows else 0)
