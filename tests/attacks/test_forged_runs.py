"""Somebody writes rows into ``encfields_runs``, so that a worker does with the keys what he wants.

The job of a run is sealed, and opened by whoever works at it: a row can delay a run, or be refused
with its name, and never says what is done.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, select, text, update

from encfields import context
from encfields.bulk.errors import ReencryptionError, RunRefusedError
from encfields.bulk.recorded_runs import abandon, report_of, work
from encfields.bulk.reencryption import Options
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.runs.store import create_run_tables
from encfields.bulk.runs.tables import runs
from encfields.cli import exits
from encfields.cli.main import main
from encfields.engine import engine_encryption
from encfields.errors import BindingError, ConfigurationError
from encfields.message import seal
from tests.attacks.run_clinic import SSN, Clinic
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


PLAIN = Job(SSN, to_plaintext={"ssn": "plain"})
THEFT = Job(SSN, TableSpec.of("patient", [SealedColumn("ssn", bind_to=("manager_id",))]))
HARMLESS = Job(SSN)


@pytest.fixture
def clinic(backend, tmp_path) -> Clinic:
    return Clinic(backend, tmp_path)


def forge(attacker: Engine, job: str, **columns: Any) -> str:
    """A row of a run, as far as one can be made without a key."""
    run_id = str(uuid.uuid4())
    row = {
        "id": run_id,
        "table_name": "patient",
        "fingerprint": "x",
        "kind": "reencrypt",
        "job": job,
        "active": 1,
        "state": "running",
        "pass_number": 0,
        "created_at": dt.datetime.now(dt.UTC),
        **columns,
    }
    with attacker.begin() as connection:
        connection.execute(insert(runs), row)
    return str(row["id"])


def alter(attacker: Engine, run_id: str, **columns: Any) -> None:
    with attacker.begin() as connection:
        connection.execute(update(runs).where(runs.c.id == run_id).values(**columns))


def job_of(attacker: Engine, run_id: str) -> str:
    with attacker.connect() as connection:
        return str(connection.execute(select(runs.c.job).where(runs.c.id == run_id)).scalar())


def plain(clinic: Clinic) -> set[Any]:
    with clinic.engine.connect() as connection:
        return set(connection.execute(text("SELECT plain FROM patient")).scalars())


@pytest.mark.parametrize("job", [PLAIN, THEFT, HARMLESS], ids=["decrypt", "rebind", "reencrypt"])
def test_a_row_that_anybody_inserted_is_refused_by_its_name(clinic, attacker, job):
    create_run_tables(attacker)
    before = clinic.stored()
    run_id = forge(attacker, job.to_json(), fingerprint=job.fingerprint(), kind=job.kind)
    (report,) = work(clinic.engine, clinic.encryption)
    assert (report.state, report.finished) == ("refused", False)
    assert run_id in str(report.error)
    assert "job: it is not a sealed message" in str(report.error)
    with pytest.raises(RunRefusedError):
        work(clinic.engine, clinic.encryption, run_id=run_id)
    assert clinic.stored() == before
    assert plain(clinic) == {None}


def test_a_row_with_only_the_fingerprint_of_the_requested_job_is_refused(clinic, attacker):
    create_run_tables(attacker)
    run = clinic.run(SSN)
    job = Job(SSN)
    run_id = forge(attacker, PLAIN.to_json(), fingerprint=job.fingerprint())
    clinic.rotate()
    with pytest.raises(RunRefusedError, match=run_id):
        run.run()
    abandon(clinic.engine, run_id)
    assert run.run().finished


def test_a_job_of_another_run_is_refused(clinic, attacker):
    theirs = clinic.run(PLAIN.spec, to_plaintext=PLAIN.to_plaintext).record()
    stolen = job_of(attacker, theirs)
    abandon(clinic.engine, theirs)
    for kind in ("decrypt", "reencrypt"):
        run_id = forge(attacker, stolen, kind=kind, fingerprint=PLAIN.fingerprint())
        with pytest.raises(RunRefusedError, match="not sealed for this field of this run"):
            work(clinic.engine, clinic.encryption, run_id=run_id)
        abandon(clinic.engine, run_id)
    assert plain(clinic) == {None}


def test_a_job_sealed_under_a_key_of_the_attacker_is_refused(clinic, attacker):
    """The holder of one tenant's key seals a job with all that belongs to it."""
    create_run_tables(attacker)
    clinic.encryption.keys.create("tenant/8")
    run_id, created_at = str(uuid.uuid4()), dt.datetime.now(dt.UTC)
    content = {"job": PLAIN.to_json(), "created_at": created_at.isoformat(), "secret": "00" * 32}
    pairs = {"enc:run": run_id, "enc:run:kind": "decrypt", "enc:run:purpose": "job"}
    key = engine_encryption(clinic.encryption).active_key("tenant/8")
    message = seal(json.dumps(content).encode(), context.serialize(pairs), key)
    sealed = base64.b64encode(message).decode()
    same = {"kind": "decrypt", "fingerprint": PLAIN.fingerprint(), "created_at": created_at}
    forge(attacker, sealed, id=run_id, **same)
    with pytest.raises(RunRefusedError, match="not sealed under the branch key 'default'"):
        work(clinic.engine, clinic.encryption, run_id=run_id)
    # It is the key alone that is the matter.
    options = Options(run_key="tenant/8")
    with pytest.raises(RunRefusedError, match="seal"):
        work(clinic.engine, clinic.encryption, run_id=run_id, options=options)


def test_the_application_cannot_be_had_to_seal_one(clinic):
    with pytest.raises(BindingError) as caught:
        clinic.encryption.seal(b"{}", {"enc:run": "1"})
    assert caught.value.reason == "context-reserved"


@pytest.mark.parametrize(
    "column, value",
    [
        ("table_name", "person"),
        ("kind", "rebind"),
        ("fingerprint", "0" * 64),
        ("created_at", dt.datetime(2100, 1, 1, tzinfo=dt.UTC)),
        ("job", ""),
        ("pass_number", 1),
        ("carved", 7),
        ("frontier", '[["i",400]]'),
        ("frontier_done", 1),
        ("pass_begun", "2100-01-01T00:00:00+00:00"),
        ("seal", None),
        ("seal", "é"),
    ],
)
def test_what_a_row_says_beside_its_job_is_compared(clinic, attacker, column, value):
    run_id = clinic.run().record()
    clinic.rotate()
    before = clinic.stored()
    alter(attacker, run_id, **{column: value})
    with pytest.raises(RunRefusedError) as caught:
        work(clinic.engine, clinic.encryption, run_id=run_id)
    assert run_id in str(caught.value)
    assert column in str(caught.value)
    assert clinic.stored() == before


def test_a_state_that_no_worker_noted_is_no_success(clinic, attacker):
    run_id = clinic.run().record()
    clinic.rotate()
    for state in ("finished", "quarantined"):
        alter(attacker, run_id, state=state, active=None)
        with pytest.raises(RunRefusedError, match="state"):
            work(clinic.engine, clinic.encryption, run_id=run_id)
        with pytest.raises(RunRefusedError, match="state"):
            report_of(clinic.engine, run_id, clinic.encryption)
    alter(attacker, run_id, state="running", active=1)
    assert clinic.run().run().finished


@pytest.mark.parametrize("ended", ["finished", "abandoned"])
def test_a_run_that_has_ended_is_not_revived(clinic, attacker, ended):
    run = clinic.run(PLAIN.spec, to_plaintext=PLAIN.to_plaintext)
    run_id = run.record()
    if ended == "finished":
        run.run()
    else:
        abandon(clinic.engine, run_id)
    with attacker.begin() as connection:
        connection.execute(text("UPDATE patient SET plain = NULL"))
        connection.execute(text("DELETE FROM encfields_ranges"))
    alter(attacker, run_id, state="running", active=1, ended_at=None, pass_number=0, carved=0)
    alter(attacker, run_id, frontier=None, frontier_done=0)
    (report,) = work(clinic.engine, clinic.encryption)
    assert report.state == "refused"
    with pytest.raises(RunRefusedError):
        work(clinic.engine, clinic.encryption, run_id=run_id)
    assert plain(clinic) == {None}


def test_one_put_back_with_its_job_of_then_does_the_work_that_is_due_now(clinic, attacker):
    """Whoever kept the whole row can put it back: what it noted then is not believed now."""
    run = clinic.run()
    run_id = run.record()
    with attacker.connect() as connection:
        job = connection.execute(select(runs.c.job).where(runs.c.id == run_id)).scalar_one()
    assert run.run().finished
    version = clinic.rotate()
    alter(attacker, run_id, job=job, state="running", active=1, ended_at=None)
    assert run.run().finished
    assert {found for _, found in clinic.versions()} == {version}


def test_an_old_run_put_back_takes_in_nothing_under_a_key_that_is_no_longer_former(
    clinic, attacker
):
    """Who holds the key that a column had, and kept the run that moved its values to another."""
    clinic.encryption.keys.create("clinical")
    column = SealedColumn("ssn", key="clinical", former_keys=("default",))
    run_id = clinic.run(TableSpec.of("patient", [column])).record()
    with attacker.connect() as connection:
        kept = dict(connection.execute(select(runs)).mappings().one())
    (report,) = work(clinic.engine, clinic.encryption, run_id=run_id)
    assert report.finished
    pairs = {"enc:column": "patient.ssn", "enc:row:id": "7"}
    default = engine_encryption(clinic.encryption).active_key("default")
    forged = seal(b"of the forger", context.serialize(pairs), default)
    with attacker.begin() as connection:
        put = text("UPDATE patient SET ssn = :ssn WHERE id = 7")
        connection.execute(put, {"ssn": forged})
        connection.execute(delete(runs))
        connection.execute(insert(runs), kept)
        connection.execute(text("DELETE FROM encfields_ranges"))
    (report,) = work(clinic.engine, clinic.encryption)
    assert (report.run_id, report.finished) == (run_id, False)
    assert f"encfields reencrypt --run {run_id}" in str(report.error)
    assert forged in [data for _, data in clinic.stored()]


def test_a_run_that_decrypts_or_rebinds_is_worked_at_by_its_id_alone(clinic):
    run_id = clinic.run(PLAIN.spec, to_plaintext=PLAIN.to_plaintext).record()
    (report,) = work(clinic.engine, clinic.encryption)
    assert (report.run_id, report.state) == (run_id, "running")
    assert f"encfields reencrypt --run {run_id}" in str(report.error)
    assert plain(clinic) == {None}
    (report,) = work(clinic.engine, clinic.encryption, run_id=run_id)
    assert report.finished
    assert None not in plain(clinic)


def test_an_old_run_is_refused(clinic):
    run_id = clinic.run().record()
    young = Options(max_age_days=1.0)
    old = Options(max_age_days=1e-9)
    with pytest.raises(RunRefusedError, match="created_at: it was recorded"):
        work(clinic.engine, clinic.encryption, run_id=run_id, options=old)
    (report,) = work(clinic.engine, clinic.encryption, run_id=run_id, options=young)
    assert report.finished


def test_without_the_key_that_seals_jobs_it_says_so(clinic):
    options = {"run_key": "no-such-key"}
    engine_encryption(clinic.encryption)._create = False
    with pytest.raises(ConfigurationError, match="encfields keys create no-such-key"):
        clinic.run(**options).record()


GARBAGE = {
    "not-json": "{",
    "nested": "[" * 100_000,
    "empty": "",
    "base64": base64.b64encode(b"no message").decode(),
    "cut": base64.b64encode(b"\x02\x04\x78" + bytes(40)).decode(),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_stops_only_that_run_and_the_command_exits_as_documented(
    clinic, attacker, garbage, monkeypatch, capsys
):
    run_id = clinic.run().record()
    version = clinic.rotate()
    forged = forge(attacker, garbage, table_name="other")
    reports = work(clinic.engine, clinic.encryption)
    assert {one.run_id: one.state for one in reports} == {run_id: "finished", forged: "refused"}
    assert {found for _, found in clinic.versions()} == {version}
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", clinic.backend.url_text)
    code = main(["reencrypt", "--keyring", f"local:{clinic.key_file}", "--json"])
    told = capsys.readouterr()
    assert code == exits.FAILED
    assert forged in told.out
    assert "Traceback" not in told.err


UNREADABLE = {
    "sqlite": [
        "created_at = 'yesterday'",
        "created_at = NULL",
        "pass_number = 'one'",
        "pass_number = 9e999",
        "state = x'00ff'",
        "estimated_rows = -1",
        "job = x'ff'",
    ],
    "postgresql": ["created_at = 'infinity'", "created_at = '4000-01-01 BC'", "carved = -1"],
    "mariadb": ["pass_number = 2147483647", "state = 'odd'", "paused = 7", "paused = -1"],
}
NEVER_MOVED = ["active = 0", "active = NULL", "active = 2"]
"""A worker would wait for such a run to move on, for ever."""


@on_each_database
def test_a_row_of_nonsense_names_the_field(clinic, attacker):
    run_id = clinic.run().record()
    for change in (*UNREADABLE[clinic.backend.family], *NEVER_MOVED):
        if change == "created_at = NULL":
            continue  # the column is NOT NULL; in place of it, an empty text
        with attacker.begin() as connection:
            was = connection.execute(text("SELECT * FROM encfields_runs")).mappings().one()
            connection.execute(text(f"UPDATE encfields_runs SET {change}"))
        with pytest.raises(RunRefusedError, match=change.split()[0]):
            work(clinic.engine, clinic.encryption, run_id=run_id)
        sets = ", ".join(f"{name} = :{name}" for name in was)
        with attacker.begin() as connection:
            connection.execute(text(f"UPDATE encfields_runs SET {sets}"), dict(was))


def test_a_row_of_any_length_takes_no_more_than_a_line(sqlite, tmp_path):
    """SQLite keeps to no length of a column."""
    clinic = Clinic(sqlite, tmp_path)
    create_run_tables(clinic.engine)
    long = "\x1b[31m" + 200_000 * "x"
    forge(clinic.engine, "no job", id=long)
    (report,) = work(clinic.engine, clinic.encryption)
    assert len(repr(report)) < 1000
    assert report.run_id == "\\x1b[31m" + 56 * "x" + "... (200,005 characters)"
    for attempt in (
        clinic.run(SSN).record,
        lambda: report_of(clinic.engine, long),
        lambda: report_of(clinic.engine, 200_000 * "y"),
    ):
        with pytest.raises(ReencryptionError) as caught:
            attempt()
        assert len(str(caught.value)) < 500
    run_id = str(uuid.uuid4())
    with clinic.engine.begin() as connection:
        connection.execute(update(runs).values(id=run_id, error=long, state="failed", active=None))
    assert len(repr(report_of(clinic.engine, run_id))) < 5000


@on_each_database
def test_tables_of_an_earlier_version_are_told(clinic, attacker):
    create_run_tables(attacker)
    with attacker.begin() as connection:
        connection.execute(text("ALTER TABLE encfields_runs DROP COLUMN seal"))
    for attempt in (clinic.run().record, lambda: work(clinic.engine, clinic.encryption)):
        with pytest.raises(ConfigurationError, match="drop encfields_") as caught:
            attempt()
        assert caught.value.reason == "run-tables"
