"""``encfields reencrypt``: works at recorded runs, or starts them, and tells what is left."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from encfields import SqlKeyStore, attach, keyrings
from encfields.bulk import ReencryptionError, abandon, pause
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.runs.progress_display import ProgressLog
from encfields.bulk.runs.report import Quarantined, Report
from encfields.cli import exits
from encfields.cli.commands.reencrypt import print_reports
from encfields.cli.output import Output
from encfields.testing import assert_absent
from tests.census.clinic import SECRET, fill, overwrite, patient_table, spec_of
from tests.cli.conftest import on_sqlite
from tests.cli.processes import start
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database
from tests.waiting import until

pytestmark = databases_by_turns

ROOT = Path(__file__).parents[2]
COLUMNS = ("--table", "patient", "--column", "ssn", "--column", "notes")


@pytest.fixture
def rotated(engine, encryption, patients):
    """Three hundred rows under the older version of a key."""
    fill(engine, patients, range(1, 301))
    encryption.keys.rotate("default")
    return patients


def test_a_dry_run_needs_no_keyring_and_writes_nothing(on_database, rotated):
    told = on_database("reencrypt", "--dry-run", *COLUMNS)
    assert told.code == exits.WORK_LEFT
    assert "rows to rewrite" in told.out
    (document,) = on_database("reencrypt", "--dry-run", "--json", *COLUMNS).json
    assert (document["table"], document["rows"], document["rows_to_rewrite"]) == (
        "patient",
        300,
        300,
    )
    assert document["versions"][0]["values"] == 570
    assert on_database("status", *COLUMNS).code == exits.WORK_LEFT


@on_each_database
def test_a_table_is_moved_to_the_active_version(on_database, rotated, local_key):
    told = on_database("reencrypt", "--start", *COLUMNS, "--keyring", local_key)
    assert told.code == exits.OK
    assert "finished; 300 rows seen, 300 written, 0 were current" in told.out
    assert on_database("status", *COLUMNS).code == exits.OK
    assert on_database("verify", *COLUMNS, "--keyring", local_key).code == exits.OK
    assert on_database("reencrypt", "--dry-run", *COLUMNS).code == exits.OK


def test_a_worker_works_at_what_was_recorded(on_database, engine, encryption, rotated, local_key):
    run_id = Reencryption(engine, encryption, spec_of(rotated)).record()
    shown = on_database("reencrypt", "--show", run_id, "--json")
    assert (shown.code, shown.json[0]["rows_written"]) == (exits.WORK_LEFT, 0)

    told = on_database("reencrypt", "--json", "--keyring", local_key)

    assert told.code == exits.OK
    assert (told.json[0]["run_id"], told.json[0]["finished"]) == (run_id, True)
    told = on_database("reencrypt", "--keyring", local_key)
    assert told.code == exits.OK
    assert "No run is under way." in told.out


def test_one_run_can_be_named(on_database, engine, encryption, rotated, local_key):
    run_id = Reencryption(engine, encryption, spec_of(rotated)).record()
    told = on_database("reencrypt", "--run", run_id, "--keyring", local_key)
    assert told.code == exits.OK
    told = on_database("reencrypt", "--run", "no-such-run", "--keyring", local_key)
    assert told.code == exits.FAILED
    assert "there is no run no-such-run" in told.err


def test_a_run_is_paused_resumed_and_abandoned(on_database, engine, encryption, rotated):
    steps = ("--show", "--pause", "--resume", "--abandon")
    for step in steps:
        assert "no run was recorded in it yet" in on_database("reencrypt", step, "a-run").err
    run_id = Reencryption(engine, encryption, spec_of(rotated)).record()
    assert on_database("reencrypt", "--pause", run_id).code == exits.OK
    assert on_database("reencrypt", "--resume", run_id).code == exits.OK
    told = on_database("reencrypt", "--abandon", run_id)
    assert told.code == exits.OK
    assert "abandoned" in told.out
    for step in steps:
        assert "there is no run another" in on_database("reencrypt", step, "another").err
    for change in (pause, abandon):
        with pytest.raises(ReencryptionError, match="there is no run another"):
            change(engine, "another")


def test_values_that_do_not_open_are_told_and_left(on_database, engine, rotated, local_key):
    overwrite(engine, 7, SECRET.encode())
    told = on_database("reencrypt", "--start", *COLUMNS, "--keyring", local_key)
    assert told.code == exits.FAULTS
    assert "id=7" in told.out
    assert "not-a-message" in told.out
    assert_absent(SECRET, told.out, told.err)


@on_sqlite
@pytest.mark.parametrize(
    "number, status", [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, exits.WORK_LEFT)]
)
def test_a_signal_after_a_value_did_not_open_is_told_by_the_status(
    on_database, engine, rotated, local_key, monkeypatch, number, status
):
    overwrite(engine, 1, SECRET.encode())
    monkeypatch.setattr("encfields.bulk.runs.progress.REPORT_SECONDS", 0.0)
    begins = ProgressLog.__call__

    def interrupted(self, state):
        begins(self, state)
        if state.quarantined:
            signal.raise_signal(number)

    run = ("reencrypt", "--start", *COLUMNS, "--keyring", local_key, "--batch-rows", "10")
    with monkeypatch.context() as patch:
        patch.setattr(ProgressLog, "__call__", interrupted)
        told = on_database(*run)
    assert ("running" in told.out, "not-a-message" in told.out) == (True, True)
    assert told.code == status

    assert on_database(*run).code == exits.FAULTS


@on_each_database
def test_keys_that_fail_are_named_with_how_many_values_they_leave(
    on_database, engine, encryption, rotated, local_key
):
    columns = ("--table", "patient", "--column", "ssn", "--key", "patient/{id}")
    encryption.keys.each([f"patient/{number}" for number in range(1, 11)]).create()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM patient WHERE id > 10"))
        connection.execute(
            text("UPDATE encfields_keys SET wrapped = :wrapped WHERE key_id = 'patient/7'"),
            {"wrapped": b"altered"},
        )
    told = on_database(
        "reencrypt", "--start", *columns, "--former-key", "default", "--keyring", local_key
    )
    assert told.code == exits.FAULTS
    assert "id=7" in told.out
    assert "key 'patient/7', KeyAccessError" in told.out
    assert "(1 value)" in told.out


@on_sqlite
def test_options_reach_the_engine(on_database, rotated, local_key):
    began = time.monotonic()
    told = on_database(
        "reencrypt", "--start", *COLUMNS, "--keyring", local_key,
        "--batch-rows", "50", "--rows-per-second", "200",
    )  # fmt: skip
    assert told.code == exits.OK
    assert time.monotonic() - began > 1.0
    for option, value, refusal in (
        ("--workers", "0", "workers=0 is too small"),
        ("--workers", "100000000", "workers must be at most 1,000"),
        ("--batch-rows", "9" * 20, "batch_rows must be at most 1,000,000"),
        ("--rows-per-second", "nan", "rows_per_second=nan is too small"),
    ):
        told = on_database("reencrypt", "--start", *COLUMNS, "--keyring", local_key, option, value)
        assert told.code == exits.FAILED
        assert refusal in told.err


@on_sqlite
def test_tables_are_not_rewritten_by_being_named(on_database, rotated, local_key):
    told = on_database("reencrypt", *COLUMNS, "--keyring", local_key)
    assert told.code == exits.FAILED
    assert "--start or --dry-run" in told.err
    assert on_database("status", *COLUMNS).code == exits.WORK_LEFT


@on_sqlite
def test_without_a_keyring_it_says_how_to_give_one(on_database, rotated):
    told = on_database("reencrypt", "--start", *COLUMNS)
    assert told.code == exits.FAILED
    assert "no keyring is given" in told.err


def assert_a_log_of_progress(err: str) -> None:
    """Nothing but lines with a time: no warning, no traceback."""
    for line in err.splitlines():
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ patient.*: .* rows \(.*", line), err


def test_several_processes_through_kms(postgresql: Backend, kms):
    arn = kms.create_key()
    engine = postgresql.create_engine()
    encryption = attach(engine, SqlKeyStore(keyrings.aws_kms(arn)), create=True)
    table = patient_table()
    table.create(engine)
    fill(engine, table, range(1, 1_001))
    encryption.keys.rotate("default")

    done = start(
        postgresql, "reencrypt", "--start", *COLUMNS, "--keyring", f"kms:{arn}",
        "--workers", "2", "--range-rows", "200",
    )  # fmt: skip

    out, err = done.communicate(timeout=240)
    assert done.status == exits.OK
    assert_a_log_of_progress(err)
    assert "1,000 written" in out


@pytest.mark.parametrize(
    "number, status", [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, exits.WORK_LEFT)]
)
def test_a_signal_stops_it_gracefully_and_it_goes_on_later(
    postgresql: Backend, command, local_key, monkeypatch, number, status
):
    engine = postgresql.create_engine()
    store = SqlKeyStore(keyrings.local(local_key.partition(":")[2]))
    encryption = attach(engine, store, create=True)
    table = patient_table()
    table.create(engine)
    fill(engine, table, range(1, 301))
    encryption.keys.rotate("default")
    run_id = Reencryption(engine, encryption, TableSpec.from_table(table)).record()
    slowly = ("--batch-rows", "10", "--rows-per-second", "20")

    process = start(postgresql, "reencrypt", "--keyring", local_key, *slowly)
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", postgresql.url_text)

    def has_written() -> bool:
        assert not process.has_ended, process.communicate(0)
        with engine.connect() as connection:
            return (
                connection.scalar(
                    text("SELECT COALESCE(SUM(rows_written), 0) FROM encfields_ranges")
                )
                > 0
            )

    until(has_written)
    assert command("reencrypt", "--show", run_id, "--json").json[0]["rows_written"] > 0
    process.send_signal(number)
    out, err = process.communicate(timeout=240)

    assert process.status == status
    assert_a_log_of_progress(err)
    assert "running" in out
    assert command("reencrypt", "--keyring", local_key).code == exits.OK
    assert command("status", *COLUMNS).code == exits.OK


def test_of_very_many_values_that_do_not_open_a_thousand_are_listed(capsys):
    left = tuple(Quarantined("t", "c", {"id": str(n)}, "destroyed", "") for n in range(1_200))
    report = Report("1", False, "quarantined", 1_200, 0, 0, 0, left, 2, 0.1, None)
    assert print_reports([report], Output(as_json=False)) == exits.FAULTS
    told = capsys.readouterr().out
    assert ("id=999 " in told, "id=1000 " in told) == (True, False)
    assert "and 200 more, which --json lists" in told
    print_reports([report], Output(as_json=True))
    assert len(json.loads(capsys.readouterr().out)[0]["quarantined"]) == 1_200
