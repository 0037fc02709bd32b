"""A key version is retired only when no value is under it."""

from __future__ import annotations

import pytest

from encfields.bulk import SealedColumn, TableSpec
from encfields.errors import ConfigurationError
from encfields.keys.removal import ValuesUnder
from tests.census.clinic import fill, overwrite, spec_of, stored
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


def test_a_version_with_values_is_refused_by_place_and_count(engine, encryption, patients):
    fill(engine, patients, range(1, 11))
    old = encryption.keys.list()[0].version
    encryption.keys.rotate("default")
    fill(engine, patients, range(11, 13))

    assert spec_of(patients).count_under(engine, "default", old)[1] == [
        ValuesUnder("patient", "ssn", 10),
        ValuesUnder("patient", "notes", 9),
    ]
    with pytest.raises(ConfigurationError) as caught:
        encryption.keys.retire("default", old, specs=[spec_of(patients)], at_once=True)
    assert caught.value.reason == "values-left"
    assert "patient.ssn (10 values), patient.notes (9 values)" in str(caught.value)


def test_a_version_without_values_is_not_refused(engine, encryption, patients):
    old = encryption.keys.list()[0].version
    encryption.keys.rotate("default")
    fill(engine, patients, range(1, 11))
    encryption.keys.retire("default", old, specs=[spec_of(patients)], at_once=True)


def test_the_same_version_of_another_key_does_not_count(engine, encryption, patients):
    fill(engine, patients, range(1, 11))
    version = encryption.keys.list()[0].version
    assert spec_of(patients).count_under(engine, "clinical", version)[1] == []


def test_a_misplaced_value_keeps_its_version_alive(engine, encryption, patients):
    fill(engine, patients, range(1, 2))
    moved = stored(engine, 1)
    old = encryption.keys.list()[0].version
    encryption.keys.rotate("default")
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM patient")
    fill(engine, patients, range(2, 4))
    overwrite(engine, 3, moved)
    with pytest.raises(ConfigurationError, match=r"patient\.ssn"):
        encryption.keys.retire("default", old, specs=[spec_of(patients)], at_once=True)


@on_each_database
def test_a_view_which_may_leave_rows_out_is_not_counted(engine, encryption, patients):
    fill(engine, patients, range(1, 11))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW few AS SELECT * FROM patient WHERE id < 3")
    view = TableSpec.of("few", [SealedColumn("ssn", "patient.ssn", bind_to=("id",))])
    with pytest.raises(ConfigurationError, match="is a view") as caught:
        encryption.keys.destroy("default", confirm="default", specs=[view], at_once=True)
    assert caught.value.reason == "view"
    assert encryption.keys.list()[0].active
