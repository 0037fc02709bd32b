"""A run may end at any moment; the next call goes on, and several may work at one."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest
from sqlalchemy import text

from encfields.bulk.connections import Connections
from encfields.bulk.errors import ConflictingRunError, LeaseLostError, ReencryptionError
from encfields.bulk.recorded_runs import abandon, pause, report_of, work
from encfields.bulk.reencryption import Options
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.runs.run_row import Counts, read_run
from encfields.errors import ConfigurationError
from tests.bulk.process import start
from tests.bulk.support import ROWS, VALUES
from tests.turns import databases_by_turns, on_each_database
from tests.waiting import until

pytestmark = databases_by_turns


def stopping(stop: threading.Event, rows: int) -> Any:
    """A progress callback that stops the run once some rows are done."""

    def progress(state: Any) -> None:
        if state.rows_done >= rows:
            stop.set()

    return progress


def test_a_run_that_is_stopped_goes_on_where_it_was(clinic, told):
    version = clinic.rotate()
    before = clinic.values()
    stop = threading.Event()
    first = clinic.run().run(stop=stop, progress=stopping(stop, 60))
    assert (first.finished, first.state) == (False, "running")
    assert 60 <= first.rows_written < 120
    second = clinic.run().run()
    assert second.run_id == first.run_id
    assert second.finished
    assert second.rows_written == ROWS  # none was written twice
    assert clinic.versions() == {("default", version): VALUES}
    assert clinic.values() == before


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_run_whose_tables_key_has_other_columns_since_says_what_to_do(clinic, told):
    clinic.rotate()
    stop = threading.Event()
    assert clinic.run().run(stop=stop, progress=stopping(stop, 60)).state == "running"
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient DROP CONSTRAINT patient_pkey"))
        connection.execute(text("ALTER TABLE patient ADD PRIMARY KEY (seen, id)"))
    stored = clinic.stored()
    with pytest.raises(ReencryptionError, match=r"patient: .* other columns .* abandon\(\)"):
        clinic.run().run()
    assert clinic.stored() == stored


def test_a_stop_before_the_first_batch_changes_nothing(clinic):
    clinic.rotate()
    stop = threading.Event()
    stop.set()
    stored = clinic.stored()
    assert not clinic.run().run(stop=stop).finished
    assert clinic.stored() == stored


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_signal_ends_a_run_after_the_batch_under_way(clinic, number):
    clinic.rotate()
    process = start(clinic.backend.url_text, rows_per_second=40)
    until(lambda: written(clinic) >= 20)
    os.kill(process.pid, number)
    state, run_id = process.result(timeout=240)
    assert state == "running"
    with clinic.engine.connect() as connection:
        owners = connection.execute(text("SELECT owner FROM encfields_ranges")).scalars().all()
    assert set(owners) == {None}  # nobody has to wait for a lease
    report = clinic.run().run()
    assert (report.finished, report.run_id) == (True, run_id)


def written(clinic: Any) -> int:
    """Rows that a run of any process has written so far."""
    from sqlalchemy import inspect

    with clinic.engine.connect() as connection:
        if not inspect(connection).has_table("encfields_ranges"):
            return 0
        statement = text("SELECT COALESCE(SUM(rows_written), 0) FROM encfields_ranges")
        return int(connection.execute(statement).scalar_one())


@on_each_database
def test_two_runs_started_by_mistake_share_the_work(clinic):
    version = clinic.rotate()
    before = clinic.values()
    reports: list[Any] = []
    threads = [
        threading.Thread(target=lambda: reports.append(clinic.run(range_rows=24).run()))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({report.run_id for report in reports}) == 1
    assert all(report.finished for report in reports)
    assert reports[0].rows_seen == ROWS
    assert clinic.versions() == {("default", version): VALUES}
    assert clinic.values() == before


def test_a_run_of_another_description_is_refused_until_the_first_has_ended(clinic):
    run_id = clinic.run().record()
    with pytest.raises(ConflictingRunError, match=run_id):
        clinic.run(TableSpec.of("patient", ["ssn"])).record()
    abandon(clinic.engine, run_id)
    assert report_of(clinic.engine, run_id).state == "abandoned"
    clinic.run(TableSpec.of("patient", ["ssn"])).record()


@on_each_database
def test_recording_a_run_twice_is_one_run(clinic):
    assert clinic.run().record() == clinic.run().record()


def test_a_worker_works_at_whatever_was_recorded(clinic):
    clinic.rotate()
    run_id = clinic.run().record()
    reports = work(clinic.engine, clinic.encryption, options=Options(batch_rows=20))
    assert [(report.run_id, report.finished) for report in reports] == [(run_id, True)]
    assert work(clinic.engine, clinic.encryption) == []


def test_a_worker_where_no_run_was_recorded_is_told_so(clinic):
    with pytest.raises(ConfigurationError, match="no run was recorded"):
        work(clinic.engine, clinic.encryption)


@on_each_database
def test_a_range_whose_worker_is_gone_is_taken_over_when_its_lease_is_over(clinic):
    clinic.rotate()
    run_id = clinic.run().record()
    store = clinic.ranges_of(run_id)
    own = Connections(clinic.backend.create_engine())
    began = time.monotonic()
    with own.writing().begin() as begun:
        run = read_run(begun.connection, run_id)
        claim = store.claim_new(begun.connection, run, (48,), "a dead worker", 1.5)
    assert claim is not None
    report = clinic.run().run()
    assert report.finished
    assert time.monotonic() - began >= 1.0
    # Should it only have been asleep, what it writes from now on is rolled back.
    with pytest.raises(LeaseLostError), own.writing().begin() as begun:
        store.checkpoint(begun.connection, claim, Counts(1, 1, 0, 0), 30, (10,))
    own.close()


@on_each_database
def test_a_worker_that_lost_its_lease_writes_nothing(clinic, told):
    """Another has its range: what it would store is undone with its checkpoint."""
    version = clinic.rotate()
    stolen: list[int] = []

    def steal(state: Any) -> None:
        if not stolen:
            with clinic.backend.create_engine().begin() as connection:
                connection.execute(
                    text(
                        "UPDATE encfields_ranges SET claims = claims + 1,"
                        " owner = NULL, lease_until = 0"
                    )
                )
            stolen.append(state.rows_done)

    report = clinic.run().run(progress=steal)
    assert stolen
    assert report.finished
    assert report.rows_written == ROWS
    assert clinic.versions() == {("default", version): VALUES}


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_run_can_be_paused_and_let_go_on(clinic, told):
    clinic.rotate()
    run_id = clinic.run().record()
    pause(clinic.engine, run_id)
    reasons = []

    def progress(state: Any) -> None:
        if state.paused:
            reasons.append(state.paused)
            pause(clinic.engine, run_id, paused=False)

    assert clinic.run(check_seconds=0.05).run(progress=progress).finished
    assert reasons[0] == "the run is set to pause"
