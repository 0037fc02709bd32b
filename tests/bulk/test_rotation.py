"""After a key's rotation, a run moves every value to the new version and changes nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, update

from encfields.bulk.errors import UnfinishedError
from encfields.bulk.recorded_runs import report_of
from encfields.bulk.reencryption import ProgressState, Reencryption
from encfields.engine import engine_encryption
from encfields.testing import attach_locally
from tests.bulk.support import NOTES, PATIENT, ROWS, VALUES, Patient
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


@on_each_database
def test_after_a_rotation_a_run_leaves_no_value_under_the_old_version(clinic):
    version = clinic.rotate()
    report = clinic.run().run()
    assert report.finished
    assert report.state == "finished"
    assert clinic.versions() == {("default", version): VALUES}


def test_a_run_changes_no_plaintext(clinic):
    before = clinic.values()
    clinic.rotate()
    clinic.run().run()
    assert clinic.values() == before


@on_each_database
def test_null_stays_null(clinic):
    clinic.rotate()
    clinic.run().run()
    assert sum(row[2] is None for row in clinic.values().values()) == ROWS - NOTES


@on_each_database
def test_every_row_is_written_once(clinic):
    clinic.rotate()
    report = clinic.run().run()
    assert (report.rows_seen, report.rows_written, report.rows_current) == (ROWS, ROWS, 0)
    assert report.rows_skipped_locked == 0
    assert report.passes == 2  # one that rewrites, one that sees that nothing is left


def test_rows_that_are_current_are_left_alone_and_not_opened(clinic):
    opened = clinic.encryption.stats.opened
    stored = clinic.stored()
    report = clinic.run().run()
    assert (report.rows_written, report.rows_current) == (0, ROWS)
    assert clinic.stored() == stored
    assert clinic.encryption.stats.opened == opened


def test_a_row_with_one_current_value_keeps_that_value(clinic):
    version = clinic.rotate()
    with clinic.engine.begin() as connection:
        connection.execute(update(Patient).where(Patient.id == 7).values(ssn="new"))
    kept = [data for name, data in clinic.stored() if _version(data) == version]
    clinic.run().run()
    assert [data for _, data in clinic.stored() if data in kept] == kept
    assert clinic.versions() == {("default", version): VALUES}


def test_one_column_of_two_can_be_named(clinic):
    from encfields.bulk.rows.spec import TableSpec

    version = clinic.rotate()
    clinic.run(TableSpec.of("patient", ["ssn"])).run()
    stored = clinic.stored()
    assert {_version(data) for name, data in stored if name == "ssn"} == {version}
    assert version not in {_version(data) for name, data in stored if name == "notes"}


def test_an_empty_table_is_finished_at_once(backend):
    from tests.bulk.support import Clinic

    report = Clinic(backend).run().run()
    assert report.finished
    assert report.rows_seen == 0


def test_ensure_refuses_until_a_run_has_finished(clinic):
    clinic.rotate()
    run = clinic.run()
    with pytest.raises(UnfinishedError, match=f"{VALUES} values are not current"):
        run.ensure()
    run.run()
    summary = run.ensure()
    assert (summary.current, summary.null, summary.not_current) == (VALUES, ROWS - NOTES, 0)


def test_the_key_cache_of_another_process_does_not_make_a_run_use_an_old_version(clinic):
    engine_encryption(clinic.encryption).active_key("default")
    _, elsewhere = clinic.setup()
    version = elsewhere.keys.rotate("default").version
    assert clinic.run().run().finished
    assert clinic.versions() == {("default", version): VALUES}


def test_progress_is_told_with_rate_and_remaining_time(clinic, monkeypatch):
    monkeypatch.setattr("encfields.bulk.runs.progress.REPORT_SECONDS", 0.0)
    clinic.rotate()
    told: list[ProgressState] = []
    clinic.run().run(progress=told.append)
    first = [state for state in told if state.sweep == 0]
    assert [s.rows_done for s in first] == sorted(s.rows_done for s in first)
    assert first[-1].rows_done == ROWS
    assert max(s.rows_per_second for s in first) > 0
    assert first[-1].seconds_left == 0


def test_a_report_can_be_had_later(clinic):
    clinic.rotate()
    report = clinic.run().run()
    later = report_of(clinic.engine, report.run_id)
    assert (later.state, later.rows_written) == ("finished", ROWS)


def test_a_run_after_a_finished_one_is_another_run(clinic):
    first = clinic.run().run()
    second = clinic.run().run()
    assert first.run_id != second.run_id


def test_an_async_engine_is_refused_with_the_way_out(sqlite):
    from sqlalchemy.ext.asyncio import create_async_engine

    from encfields.errors import ConfigurationError

    engine = create_async_engine("sqlite+aiosqlite://")
    with pytest.raises(ConfigurationError, match="plain Engine"):
        Reencryption(engine, attach_locally(create_engine("sqlite://")), PATIENT)  # type: ignore[arg-type]


def _version(data: bytes) -> str:
    from encfields.message import read_header

    return read_header(data).version
