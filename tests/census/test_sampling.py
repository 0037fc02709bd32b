"""A sample says what was drawn and what that is worth; the whole table is the default."""

from __future__ import annotations

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    func,
    insert,
    select,
)

from encfields import EncryptedType, Encryption
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey import scan
from encfields.bulk.survey.census import census
from encfields.bulk.survey.scan import RowSource, Sample, count_rows
from encfields.bulk.survey.verify import verify
from encfields.errors import ConfigurationError
from tests.census.clinic import fill, patient_table, spec_of
from tests.database import Database

ROWS = 3_000
PATIENTS = patient_table()
LETTERS = Table(
    "letter", PATIENTS.metadata, Column("name", String(40), primary_key=True),
    Column("body", EncryptedType(String)),
)  # fmt: skip


def fill_both(db: Database) -> None:
    fill(db.engine, PATIENTS, range(1, ROWS + 1))
    with db.engine.begin() as connection:
        rows = [{"name": f"n{i}", "body": "x"} for i in range(2_000)]
        connection.execute(insert(LETTERS), rows)


@pytest.fixture
def clinic(shared_tables: None, db: Database) -> Database:
    """No test changes a row of the tables: they are filled once."""
    db.share(PATIENTS.metadata, fill=fill_both)
    return db


@pytest.fixture
def engine(clinic: Database) -> Engine:
    return clinic.engine


@pytest.fixture
def encryption(clinic: Database) -> Encryption:
    return clinic.encryption


@pytest.fixture
def filled(clinic: Database) -> Table:
    return PATIENTS


def test_a_sample_describes_what_was_drawn(engine, filled):
    told = census(engine, spec_of(filled), sample=500)

    drawn = told.sample
    assert drawn is not None
    assert (drawn.wanted, drawn.total_rows, drawn.total_is_estimate) == (500, ROWS, False)
    assert drawn.rows == told.rows
    assert 250 < drawn.rows < 800
    assert drawn.method == ("rows" if engine.dialect.name == "postgresql" else "key-ranges")
    assert f"{drawn.rows:,} of 3,000 rows" in drawn.caveat
    assert "without sampling" in drawn.caveat


def test_counts_and_extrapolated_totals_are_told_apart(engine, filled):
    told = census(engine, spec_of(filled), sample=500).to_json()
    (version,) = told["columns"][0]["versions"]
    assert version["values"] == told["rows"] < 1_000
    assert version["estimated"] == ROWS
    nulls = told["columns"][1]["estimated"]["nulls"]
    assert 100 < nulls < 600


def test_no_row_is_drawn_twice(engine, filled):
    told = census(engine, spec_of(filled), sample=ROWS - 1)
    assert told.rows <= ROWS
    assert told.columns[0].versions.total() == told.rows


def test_a_sample_as_large_as_the_table_is_the_table(engine, filled):
    told = census(engine, spec_of(filled), sample=ROWS)
    assert told.rows == ROWS
    assert told.sample is None


def test_keys_that_are_no_numbers_are_drawn_row_by_row(engine):
    told = census(engine, TableSpec.from_table(LETTERS), sample=400)
    assert told.sample is not None
    assert told.sample.method == "rows"
    assert 250 < told.rows < 600
    assert told.columns[0].versions.total() == told.rows


def test_whole_pages_are_drawn_from_a_huge_postgresql_table(request, monkeypatch):
    monkeypatch.setattr(scan, "PAGES_FROM", 2_000)
    backend = request.getfixturevalue("postgresql")
    engine = backend.create_engine()
    table = Table(
        "blobs", MetaData(), Column("id", Integer, primary_key=True), Column("c", LargeBinary)
    )
    table.create(engine)
    with engine.begin() as connection:
        numbers = select(func.generate_series(1, 20_000), func.decode("00ff", "hex"))
        connection.execute(insert(table).from_select(["id", "c"], numbers))
    told = census(engine, TableSpec.of("blobs", ["c"]), sample=5_000)
    assert told.sample is not None
    assert told.sample.method == "pages"
    assert 0 < told.rows < 20_000
    assert "pages" in told.sample.caveat
    assert told.columns[0].plaintext == told.rows


def test_the_databases_own_estimate_replaces_a_count_of_a_huge_table(engine, filled, monkeypatch):
    monkeypatch.setattr(scan, "ESTIMATE_FROM", 100)
    if engine.dialect.name != "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            analyze = "ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE TABLE"
            connection.exec_driver_sql(f"{analyze} patient").close()
    total, is_estimate = count_rows(RowSource(engine), filled)
    assert is_estimate is (engine.dialect.name != "sqlite")
    assert ROWS * 0.5 < total < ROWS * 2


def test_a_verification_can_be_of_a_sample_too(engine, encryption: Encryption, filled):
    told = verify(engine, encryption, spec_of(filled), sample=300)
    assert told.sample is not None
    assert told.sample.rows == told.rows < 600
    assert told.ok


def test_a_sample_on_the_callers_connection(engine, filled):
    with engine.connect() as connection:
        told = census(connection, spec_of(filled), sample=300)
    assert told.rows < 600


@pytest.mark.parametrize("wanted", [0, -1])
def test_a_sample_has_rows(engine, filled, wanted):
    with pytest.raises(ConfigurationError, match="sample= takes a whole number of 1 or more"):
        census(engine, spec_of(filled), sample=wanted)


def test_nothing_drawn_is_nothing_known():
    drawn = Sample(10, 0, 1_000_000, True, "pages")
    assert drawn.extrapolate(0) == 0
    assert "nothing is known" in drawn.caveat


def test_what_was_not_found_may_still_be_there():
    drawn = Sample(1_000, 1_000, 1_000_000, True, "rows")
    assert "of about 1,000,000 rows" in drawn.caveat
    assert "may still be in some 3,000 rows" in drawn.caveat
