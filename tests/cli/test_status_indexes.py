"""``encfields status`` about blind indexes: what is missing, and when an older version may go."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from encfields import BlindIndex
from encfields.cli import exits
from tests.census.clinic import fill, patient_table
from tests.cli.conftest import on_sqlite

MODELS = """
from encfields import BlindIndex
from tests.census.clinic import patient_table

table = patient_table(index=BlindIndex(versions={versions}), **{options})
metadata = table.metadata
"""


@pytest.fixture
def models(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Writes a module of models, and gives the option that names it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    test = "".join(c if c.isalnum() else "_" for c in request.node.nodeid)

    def write(*versions: int, **options: str) -> tuple[str, str]:
        name = f"models_{test}_{len(versions)}_{versions[-1]}"
        (tmp_path / f"{name}.py").write_text(MODELS.format(versions=versions, options=options))
        return "--models", f"{name}:metadata"

    return write


@pytest.fixture
def indexed(engine, encryption):
    table = patient_table(index=BlindIndex())
    table.create(engine)
    fill(engine, table, range(1, 21))


def _sql(engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_rows_that_an_index_misses_are_work_left(on_database, engine, indexed, models):
    told = on_database("status", *models(1))
    assert told.code == exits.OK
    assert "patient: blind indexes" in told.out
    _sql(engine, "UPDATE patient SET ssn_bidx = NULL WHERE id = 7")
    told = on_database("status", *models(1))
    assert told.code == exits.WORK_LEFT
    assert "Rows have a value and are not in its blind index" in told.out
    assert "Not every value is under the active version" not in told.out
    document = on_database("status", "--json", *models(1)).json
    assert document["verdict"] == "work-left"
    assert document["tables"][0]["indexes"][0]["missing"] == 1


def test_it_says_when_the_older_version_may_go(on_database, engine, indexed, models):
    told = on_database("status", *models(1, 2))
    assert told.code == exits.WORK_LEFT
    assert "ssn_bidx_v2: the database has no such column yet" in told.out
    column = "VARBINARY(16)" if engine.dialect.name == "mysql" else "BYTEA"
    _sql(engine, f"ALTER TABLE patient ADD COLUMN ssn_bidx_v2 {column}")
    assert "is complete" not in on_database("status", *models(1, 2)).out
    _sql(engine, "UPDATE patient SET ssn_bidx_v2 = ssn_bidx")
    told = on_database("status", *models(1, 2))
    assert told.code == exits.OK
    assert "ssn_bidx_v2 is complete: declare versions=(2,)" in " ".join(told.out.split())


def test_without_models_no_index_is_known(on_database, indexed):
    told = on_database("status", "--table", "patient", "--column", "ssn")
    assert told.code == exits.OK
    assert "blind indexes" not in told.out


def test_an_index_whose_beacon_key_is_missing_is_no_current_one(
    on_database, engine, indexed, models
):
    _sql(engine, "DELETE FROM encfields_keys WHERE purpose = 'beacon-key'")
    told = on_database("status", *models(1))
    assert told.code == exits.FAULTS
    assert "The key table lacks the beacon key of 'default': no row is found" in told.out
    assert "Every value is under the active version" not in told.out
    document = on_database("status", "--json", *models(1)).json
    assert document["verdict"] == "faults"
    assert document["without_beacon_key"] == ["default"]


@on_sqlite
def test_each_tenants_beacon_key_is_looked_for(on_database, engine, encryption, models):
    table = patient_table(index=BlindIndex(), key="tenant/{id}")
    table.create(engine)
    patients = range(101, 211)
    encryption.keys.each(f"tenant/{number}" for number in patients).create()
    fill(engine, table, patients)
    _sql(
        engine, "DELETE FROM encfields_keys WHERE purpose = 'beacon-key' AND key_id = 'tenant/210'"
    )
    encryption.keys.destroy("tenant/101", confirm="tenant/101", specs=None, at_once=True)
    document = on_database("status", "--json", *models(1, key="tenant/{id}")).json
    assert document["without_beacon_key"] == ["tenant/210"]
