"""``encfields keys destroy``: counted, confirmed, with a receipt."""

from __future__ import annotations

import io
import json
import sys

import pytest

from encfields.cli import exits
from encfields.errors import KeyDestroyedError
from encfields.keys.cache.key_cache import DEFAULT_CHECK
from encfields.keys.fetching.runner import ThreadRunner
from tests.census.clinic import fill
from tests.cli.conftest import on_sqlite
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

TABLE = ("--table", "patient", "--column", "ssn", "--column", "notes")


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """How long the command would have waited for other processes: the waiting is left out."""
    told: list[float] = []
    monkeypatch.setattr(ThreadRunner, "pause", lambda self, seconds: told.append(seconds))
    return told


@pytest.fixture
def destroy(on_database, engine, patients):
    fill(engine, patients, range(1, 21))

    def run(*arguments: str):
        return on_database("keys", "destroy", "default", *arguments)

    return run


def test_what_is_under_it_is_counted_without_destroying_it(destroy, on_database, encryption):
    counted = on_database("keys", "count-values", "default", *TABLE, "--json")
    assert counted.code == exits.OK
    assert {one["column"]: one["values"] for one in counted.json} == {"ssn": 20, "notes": 18}
    assert [one.destroyed_at for one in encryption.keys.list()] == [None]


def test_without_confirmation_it_counts_and_does_nothing(destroy, encryption):
    told = destroy(*TABLE)
    assert told.code == exits.FAILED
    assert "patient.ssn (20 values), patient.notes (18 values)" in told.err
    assert encryption._store.active("default").id == "default"
    told = destroy(*TABLE, "--json", "--confirm", "Default")
    assert told.json["error"]["reason"] == "not-confirmed"


def test_confirmed_it_destroys_and_writes_the_receipt(destroy, encryption, tmp_path, pauses):
    file = tmp_path / "receipt.json"
    told = destroy(
        *TABLE, "--confirm", "default", "--receipt", str(file), "--signed-off-by", "DPO", "--json"
    )
    assert told.code == exits.OK
    receipt = json.loads(file.read_text())
    assert receipt == told.json
    assert receipt["values_unreadable"] == 38
    assert receipt["signed_off_by"] == "DPO"
    assert pauses == [DEFAULT_CHECK]
    with pytest.raises(KeyDestroyedError):
        encryption._store.active("default")


@on_sqlite
def test_people_get_a_table(destroy, on_database):
    told = destroy(*TABLE, "--confirm", "default")
    assert told.code == exits.OK
    assert "38 values" in told.out
    assert "destroyed 20" in on_database("keys", "list").out


@on_sqlite
def test_uncounted_only_on_request(destroy):
    told = destroy("--confirm", "default")
    assert told.code == exits.FAILED
    assert "no table is named" in told.err
    told = destroy("--confirm", "default", "--no-count", "--json")
    assert told.json["values_unreadable"] is None


@on_sqlite
@pytest.mark.parametrize("typed, code", [("default\n", exits.OK), ("yes\n", exits.FAILED)])
def test_on_a_terminal_the_id_is_asked_for(destroy, encryption, monkeypatch, typed, code):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    told = destroy(*TABLE)
    assert told.code == code
    assert "patient.ssn (20 values)" in told.err
    if code == exits.FAILED:
        assert encryption._store.active("default").id == "default"


@on_sqlite
def test_a_receipt_that_cannot_be_written_destroys_nothing(destroy, encryption, tmp_path):
    (tmp_path / "there").write_text("kept")
    for name in ("there", "no/such/directory"):
        told = destroy(*TABLE, "--confirm", "default", "--receipt", str(tmp_path / name))
        assert told.code == exits.FAILED
        assert "nothing was destroyed" in told.err
    assert (tmp_path / "there").read_text() == "kept"
    assert encryption._store.active("default").id == "default"


@on_sqlite
def test_no_receipt_is_left_of_what_did_not_happen(destroy, tmp_path):
    told = destroy(*TABLE, "--confirm", "no", "--receipt", str(tmp_path / "receipt"))
    assert told.code == exits.FAILED
    assert not (tmp_path / "receipt").exists()
