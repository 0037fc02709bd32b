"""A key version is retired only when no value is under it."""

from __future__ import annotations

import pytest

from encfields.bulk.survey.retirement import refuse_retirement, values_under
from encfields.errors import ConfigurationError
from encfields.keys.removal import ValuesUnder
from tests.census.clinic import fill, overwrite, spec_of, stored


def test_a_version_with_values_is_refused_by_place_and_count(engine, encryption, patients):
    fill(engine, patients, range(1, 11))
    old = encryption.keys.list()[0].version
    encryption.keys.rotate("default")
    fill(engine, patients, range(11, 13))

    assert values_under(engine, [spec_of(patients)], "default", old) == [
        ValuesUnder("patient", "ssn", 10),
        ValuesUnder("patient", "notes", 9),
    ]
    with pytest.raises(ConfigurationError) as caught:
        refuse_retirement(engine, [spec_of(patients)], "default", old)
    assert caught.value.reason == "values-left"
    assert "patient.ssn (10 values), patient.notes (9 values)" in str(caught.value)


def test_a_version_without_values_is_not_refused(engine, encryption, patients):
    old = encryption.keys.list()[0].version
    encryption.keys.rotate("default")
    fill(engine, patients, range(1, 11))
    refuse_retirement(engine, [spec_of(patients)], "default", old)


def test_the_same_version_of_another_key_does_not_count(engine, encryption, patients):
    fill(engine, patients, range(1, 11))
    version = encryption.keys.list()[0].version
    refuse_retirement(engine, [spec_of(patients)], "clinical", version)


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
        refuse_retirement(engine, [spec_of(patients)], "default", old)
