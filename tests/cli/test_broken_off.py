"""What a signal breaks off in the middle: its exit status, what is left, and how it goes on."""

from __future__ import annotations

import datetime as dt
import json
import signal
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from encfields import SqlKeyStore
from encfields.bulk.reencryption import ProgressLog
from encfields.cli import exits
from encfields.cli.interrupts import interrupts
from encfields.keys.fetching.runner import ThreadRunner
from tests.attached import attach_with_kept_keys
from tests.cli.conftest import Run, on_sqlite
from tests.cli.processes import COMMAND_IN_A_TERMINAL, start
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

MODELS = """
from sqlalchemy import Column, Date, DateTime, Integer, MetaData, String, Table
from encfields import EncryptedType, Plaintext

before, after = MetaData(), MetaData()
adopts = Plaintext("mail", phase="write-both")
for metadata, name, inner in ((before, "visit.day", Date), (after, "visit.new", DateTime)):
    Table("visit", metadata, Column("id", Integer, primary_key=True),
          Column("day", EncryptedType(inner, name=name)), Column("mail", String(40)))
adopted = MetaData()
Table("visit", adopted, Column("id", Integer, primary_key=True),
      Column("sealed", EncryptedType(String, name="visit.mail", adopts=adopts)))
"""


@pytest.fixture
def visits(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than the first batch has."""
    (tmp_path / "shop_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("shop_models", None)
    import shop_models  # type: ignore[import-not-found]

    attach_with_kept_keys(engine)
    table = shop_models.before.tables["visit"]
    table.create(engine)
    rows = [{"id": n, "day": dt.date(2020, 1, 2), "mail": f"m{n}"} for n in range(1, 401)]
    with engine.begin() as connection:
        connection.execute(insert(table), rows)


RUNS = {
    "rebind": ("rebind", "visit.day", "--models=shop_models:after", "--was-name=visit.day"),
    "convert": (
        "convert", "visit.day", "--models=shop_models:after", "--was=Date", "--was-name=visit.day",
    ),
    "adopt": ("adopt", "run", "visit.mail", "--models=shop_models:adopted"),
}  # fmt: skip


@on_sqlite
@pytest.mark.usefixtures("visits")
@pytest.mark.parametrize("name", RUNS)
def test_ctrl_c_during_any_run_is_told_by_the_status_and_the_run_goes_on(
    on_database: Run, local_key, monkeypatch, name
):
    if name == "adopt":
        assert on_database("adopt", "begin", *RUNS[name][2:]).code == exits.OK
    begins = ProgressLog.__call__

    def interrupted(self, state):
        begins(self, state)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ProgressLog, "__call__", interrupted)
        told = on_database(*RUNS[name], "--keyring", local_key)
    assert (told.code, "running" in told.out) == (exits.INTERRUPTED, True)

    assert on_database(*RUNS[name], "--keyring", local_key).code == exits.OK


KEYS = [f"tenant/{number}" for number in range(5)]


@pytest.fixture
def tenants(on_database: Run, local_key, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(ThreadRunner, "pause", lambda self, seconds: None)
    made = on_database("keys", "create", *KEYS, "--create-table", "--keyring", local_key)
    assert made.code == exits.OK
    return on_database


def states_of(run: Run) -> dict[str, bool]:
    """Which keys are in force."""
    return {one["key_id"]: one["active"] for one in run("keys", "list", "--json").json}


def test_the_same_command_goes_on_destroying_and_adds_its_receipts(
    tenants: Run, tmp_path, monkeypatch
):
    file = tmp_path / "receipts"
    command = ("keys", "destroy", *KEYS, "--no-count", "--confirm", "5", "--receipt", str(file))
    wipe = SqlKeyStore.destroy

    def wipe_some(self, key_id):
        if key_id in KEYS[3:]:
            raise KeyboardInterrupt
        return wipe(self, key_id)

    with monkeypatch.context() as patch:
        patch.setattr(SqlKeyStore, "destroy", wipe_some)
        assert tenants(*command).code == exits.INTERRUPTED
    receipts = [json.loads(line) for line in file.read_text().splitlines()]
    in_force = {key_id for key_id, active in states_of(tenants).items() if active}
    assert {*KEYS[3:]} <= in_force
    assert in_force == {*KEYS} - {one["key_id"] for one in receipts}

    assert tenants(*command).code == exits.OK
    receipts = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted(one["key_id"] for one in receipts) == KEYS
    assert not any(states_of(tenants).values())


def test_an_interrupt_while_keys_are_refused_leaves_all_in_force(tenants: Run, monkeypatch):
    refuse = SqlKeyStore.refuse

    def refuse_some(self, key_id, version=None):
        if key_id == KEYS[-1]:
            raise KeyboardInterrupt
        return refuse(self, key_id, version)

    monkeypatch.setattr(SqlKeyStore, "refuse", refuse_some)
    told = tenants("keys", "destroy", *KEYS, "--no-count", "--confirm", "5")
    assert told.code == exits.INTERRUPTED
    assert all(states_of(tenants).values())


def test_an_interrupt_as_one_key_is_refused_leaves_it_in_force(tenants: Run, monkeypatch):
    refuse = SqlKeyStore.refuse

    def refused_and_interrupted(self, key_id, version=None):
        refuse(self, key_id, version)
        raise KeyboardInterrupt

    monkeypatch.setattr(SqlKeyStore, "refuse", refused_and_interrupted)
    told = tenants("keys", "destroy", KEYS[0], "--no-count", "--confirm", KEYS[0])
    assert told.code == exits.INTERRUPTED
    assert all(states_of(tenants).values())


@on_sqlite
def test_a_receipt_is_written_into_what_a_killed_process_left_empty(tenants: Run, tmp_path):
    for name, keys, confirmed in (("one", KEYS[:1], KEYS[0]), ("more", KEYS[1:3], "2")):
        file = tmp_path / name
        file.touch()
        command = ("keys", "destroy", *keys, "--no-count", "--confirm", confirmed)
        assert tenants(*command, "--receipt", str(file)).code == exits.OK
        assert "encfields key destruction" in file.read_text()

    (file := tmp_path / "other").write_text('{"receipt": "of the baker"}\n')
    command = ("keys", "destroy", *KEYS[3:], "--no-count", "--confirm", "2")
    told = tenants(*command, "--receipt", str(file))
    assert (told.code, "holds something else" in told.err) == (exits.FAILED, True)
    assert states_of(tenants)[KEYS[3]]


def test_sigterm_while_a_key_waits_to_be_wiped_leaves_it_in_force(tenants: Run, monkeypatch):
    """Not a key that nobody can use and nobody has destroyed."""
    monkeypatch.setattr(interrupts, "terminated", False)
    monkeypatch.setattr(
        ThreadRunner, "pause", lambda self, seconds: signal.raise_signal(signal.SIGTERM)
    )
    for keys, confirmed in ((KEYS[:1], KEYS[0]), (KEYS, "5")):
        told = tenants("keys", "destroy", *keys, "--no-count", "--confirm", confirmed)
        assert told.code == exits.INTERRUPTED
        assert all(states_of(tenants).values())
    assert interrupts.terminated
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


ENDS_BY_SIGTERM = (
    "-c",
    "import os, signal\n"
    "from encfields.keys.fetching.runner import ThreadRunner\n"
    "ThreadRunner.pause = lambda self, seconds: os.kill(os.getpid(), signal.SIGTERM)\n"
    + COMMAND_IN_A_TERMINAL[1],
)


@on_sqlite
@pytest.mark.usefixtures("tenants")
def test_its_process_ends_as_sigterm_ends_any(backend: Backend):
    process = start(
        backend, "keys", "destroy", KEYS[0], "--no-count", "--confirm", KEYS[0],
        program=ENDS_BY_SIGTERM,
    )  # fmt: skip
    with pytest.raises(AssertionError, match="it failed"):  # ended by a signal, it tells no status
        process.communicate(timeout=240)
    assert process._process.exitcode == -signal.SIGTERM


# A class whose body is interrupted (before Python 3.12, a RuntimeError), a callback of the garbage
# collector (printed and forgotten), and a driver that makes an error of its own of it.
SWALLOWED = {
    "class": """
class Interrupted:
    def __set_name__(self, owner, name):
        signal.raise_signal(signal.SIGINT)
class Model:
    column = Interrupted()
""",
    "callback": """
import time, weakref
class Object: pass
one = Object()
ref = weakref.ref(one, lambda ref: signal.raise_signal(signal.SIGINT))
del one
for _ in range(2400):
    time.sleep(0.1)
""",
    "driver": """
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    raise sqlalchemy.exc.OperationalError("SELECT", {}, Exception("cancelled")) from None
""",
}


@on_sqlite
@pytest.mark.parametrize("place", SWALLOWED)
def test_ctrl_c_ends_the_command_wherever_it_is_swallowed(place, backend: Backend, tmp_path):
    (tmp_path / "swallows.py").write_text(f"import signal, sqlalchemy\n{SWALLOWED[place]}")
    process = start(backend, "status", "--models", "swallows:Base", program=COMMAND_IN_A_TERMINAL)
    _, err = process.communicate(timeout=240)
    assert (process.status, err) == (exits.INTERRUPTED, "")
