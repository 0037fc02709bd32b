"""Somebody alters what the workers of a run noted of it, so that rows are passed over unsaid.

Each range's row is sealed. One that is not as a worker wrote it counts for nothing: its rows are
looked at again, and a run is at its end only when its own workers have seen the whole table.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text

from encfields.bulk.connections import Connections
from encfields.bulk.recorded_runs import report_of
from encfields.bulk.reencryption import Options, Reencryption
from encfields.bulk.runs.run_row import read_run
from encfields.bulk.runs.tables import quarantine, ranges
from tests.attacks.run_clinic import Clinic
from tests.crossed import crossed
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


LEASE = 1000
"""Seconds: who waited for a dead worker's lease would be seen to, on the busiest machine."""


@pytest.fixture
def clinic(backend, tmp_path) -> Clinic:
    return Clinic(backend, tmp_path)


def sql(attacker: Engine, statement: str, **parameters: Any) -> None:
    with attacker.begin() as connection:
        connection.execute(text(statement), parameters)


@pytest.fixture
def begun(clinic: Clinic) -> str:
    """A run of which a worker that died has cut one range, and left it."""
    clinic.rotate()
    run_id = clinic.run().record()
    store, own = clinic.ranges_of(run_id), Connections(clinic.engine)
    with own.writing().begin() as transaction:
        run = read_run(transaction.connection, run_id)
        claim = store.claim_new(transaction.connection, run, (20,), "a worker", LEASE)
        assert claim is not None
        store.release(transaction.connection, claim)
    own.close()
    return run_id


def require_all_moved(clinic: Clinic, run_id: str) -> None:
    began = time.monotonic()
    report = clinic.run().run()
    assert (report.finished, report.run_id) == (True, run_id)
    assert time.monotonic() - began < LEASE / 2
    require_one_version(clinic)


def require_one_version(clinic: Clinic) -> None:
    (active,) = [one.version for one in clinic.encryption.keys.list() if one.active]
    assert clinic.versions().keys() == {("default", active)}


ALTERED = [
    "done = 1",
    "position_key = upper_key",
    "position_key = '[[\"i\",100000]]'",
    'position_key = \'[["s","x"]]\'',
    "position_key = 'no key'",
    "upper_key = NULL",
    "upper_key = lower_key, position_key = upper_key",
    "lower_key = '[[\"i\",19]]'",
    "number = 99999",
    "pass_number = 7",
    "seal = NULL",
    "done = 7",
    "owner = 'nobody', lease_until = 1e12",
    "owner = 'nobody', lease_until = 1e300",
    "owner = 'nobody', lease_until = -1e300",
    "claims = 2147483647",
    "claims = -1",
    "rows_seen = 9223372036854775807",
    "rows_written = -5",
    "rows_missed = 9223372036854775807",
    "values_refused = 5000",
    "error = 'x'",
]


OF_MANY_TYPES = [
    "done = 1",
    "upper_key = NULL",
    "seal = NULL",
    "owner = 'nobody', lease_until = 1e300",
    "rows_seen = 9223372036854775807",
]
"""Of those, what a database may read back otherwise than it was written."""


@pytest.mark.parametrize("backend, change", crossed(ALTERED, OF_MANY_TYPES), indirect=["backend"])
def test_an_altered_range_is_looked_at_again(clinic, attacker, begun, change):
    sql(attacker, f"UPDATE encfields_ranges SET {change}")
    require_all_moved(clinic, begun)


ODD = {
    "sqlite": ["lease_until = 'soon'", "number = 'one'", "claims = 'x'", "done = 'no'",
               "rows_seen = 9e999", "position_key = x'ff'", "lease_until = 9e999"],
    "postgresql": ["owner = 'x', lease_until = 'NaN'", "owner = 'x', lease_until = 'infinity'"],
    "mariadb": ["owner = 'x', lease_until = 1.7e308", "upper_key = '\\''"],
}  # fmt: skip


@on_each_database
def test_what_no_worker_could_write_is_too(clinic, attacker, begun):
    for change in ODD[clinic.backend.family]:
        sql(attacker, f"UPDATE encfields_ranges SET {change} WHERE done = 0")
    require_all_moved(clinic, begun)


def test_a_range_that_nobody_cut_holds_nothing_up(clinic, attacker, begun):
    row = {"run_id": begun, "number": 99_999, "owner": "nobody", "claims": 1, "lease_until": 1e12}
    with attacker.begin() as connection:
        for pass_number in (0, 1, 2):
            connection.execute(insert(ranges), {**row, "pass_number": pass_number})
    require_all_moved(clinic, begun)


def test_neither_does_one_in_the_way_of_the_next(clinic, attacker, begun):
    row = {"run_id": begun, "pass_number": 0, "number": 1, "owner": "nobody", "claims": 1}
    with attacker.begin() as connection:
        connection.execute(insert(ranges), row)
    require_all_moved(clinic, begun)


def test_a_range_that_is_taken_away_is_looked_at_again(clinic, attacker, begun):
    sql(attacker, "DELETE FROM encfields_ranges")
    require_all_moved(clinic, begun)


@on_each_database
def test_so_is_one_that_is_altered_while_it_is_worked_at(clinic, attacker, begun, monkeypatch):
    monkeypatch.setattr("encfields.bulk.runs.progress.REPORT_SECONDS", 0.0)
    altered: list[int] = []

    def tamper(state: Any) -> None:
        if len(altered) < 3:
            change = "done = 1, position_key = upper_key, owner = NULL, claims = claims + 1"
            sql(attacker, f"UPDATE encfields_ranges SET {change}")
            altered.append(state.rows_done)

    small: Reencryption = clinic.run(batch_rows=7, range_rows=15)
    assert small.run(progress=tamper).finished
    assert altered
    require_all_moved(clinic, clinic.run().record())


def test_a_sweep_that_is_put_in_place_of_the_work_is_not_believed(clinic, attacker, begun):
    """The ranges of a run that came to its end long ago, put back in another one's place."""
    with attacker.begin() as connection:
        found = connection.execute(text("SELECT * FROM encfields_ranges")).mappings().one()
        row = {**found, "pass_number": 1, "upper_key": None, "done": 1}
        connection.execute(insert(ranges), row)
    require_all_moved(clinic, begun)


@on_each_database
def test_ranges_that_are_always_altered_are_reported_and_never_succeed(clinic, attacker, begun):
    stop = threading.Event()

    def tamper() -> None:
        while not stop.wait(0.005):
            sql(attacker, "UPDATE encfields_ranges SET seal = NULL WHERE done = 1")

    if clinic.backend.name == "sqlite":
        pytest.skip("two writers of one file wait for each other")
    thread = threading.Thread(target=tamper)
    thread.start()
    try:
        report = clinic.run(max_sweeps=3).run()
    finally:
        stop.set()
        thread.join()
    if report.finished:  # whoever alters them may have come too late
        require_one_version(clinic)
    else:
        assert "were altered or removed" in str(report.error)
        require_all_moved(clinic, begun)


def test_a_quarantine_that_was_emptied_is_no_success(clinic, attacker):
    sql(attacker, "UPDATE patient SET ssn = 'never sealed' WHERE id = 7")
    clinic.rotate()
    report = clinic.run().run()
    assert (report.finished, report.state, len(report.quarantined)) == (False, "quarantined", 1)
    clinic.rotate()
    small = clinic.run(batch_rows=7, range_rows=15)

    def tamper(state: Any) -> None:
        sql(attacker, "DELETE FROM encfields_quarantine")

    report = small.run(progress=tamper)
    assert (report.finished, report.state) == (False, "quarantined")


def test_a_quarantine_of_nonsense_neither_fails_a_run_nor_the_report(clinic, attacker, begun):
    row = {"run_id": begun, "pass_number": 0, "column_name": "ssn", "reason": "x", "message": "x"}
    with attacker.begin() as connection:
        for number, key in enumerate(["", "[1]", "{", '{"id": [1]}', "[" * 5000]):
            forged = {**row, "key_hash": str(number), "row_key": key}
            connection.execute(
                text(
                    "INSERT INTO encfields_quarantine (run_id, key_hash, column_name, pass_number,"
                    " row_key, reason, message, found_at) VALUES (:run_id, :key_hash,"
                    " :column_name, :pass_number, :row_key, :reason, :message,"
                    " '2026-01-01 00:00:00')"
                ),
                forged,
            )
    assert quarantine.name == "encfields_quarantine"
    shown = report_of(clinic.engine, begun).quarantined
    assert [one.key for one in shown] == [{}, {}, {}, {"id": "[1]"}, {}]
    assert clinic.run(max_quarantined=2).run().finished
    assert Options().max_quarantined > 2
