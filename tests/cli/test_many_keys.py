"""``encfields keys create``, ``rotate``, ``rewrap``, ``destroy`` and ``list`` of many keys."""

from __future__ import annotations

import io
import json
import signal
import sys
from types import SimpleNamespace

import pytest

from encfields import keyrings
from encfields.cli import exits
from encfields.keys.fetching.runner import ThreadRunner
from tests.cli.processes import COMMAND_IN_A_TERMINAL, start
from tests.waiting import until

IDS = ["tenant/1", "tenant/2", "other,1"]


@pytest.fixture
def run(command, sqlite, monkeypatch):
    """The command on a database in a file: what another database could change is the API's."""
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", sqlite.url_text)
    monkeypatch.setattr(ThreadRunner, "pause", lambda self, seconds: None)
    return command


@pytest.fixture
def keys(run, local_key, tmp_path):
    """Three keys, named in a file as an editor on another system leaves it."""
    (tmp_path / "ids.txt").write_bytes("\ufeff".encode() + "\r\n".join([*IDS, ""]).encode())
    made = run("keys", "create", "--file", "ids.txt", "--create-table", "--keyring", local_key)
    assert made.code == exits.OK, made.err
    assert "3 keys were created; 0 were before." in made.out
    return run


def listed(run, *arguments: str) -> list[str]:
    return [one["key_id"] for one in run("keys", "list", "--json", *arguments).json]


def test_keys_are_made_from_a_file_and_listed_by_pattern(keys):
    assert listed(keys) == sorted(IDS)
    assert listed(keys, "--like", "tenant/*") == ["tenant/1", "tenant/2"]
    assert listed(keys, "tenant/2", "nothing") == ["tenant/2"]


def test_a_list_without_a_key_says_so(keys):
    assert keys("keys", "list", "--like", "ward/*").out.startswith("No key is like 'ward/*'; ")
    assert keys("keys", "list", "nothing").out == "None of these keys is in the key store.\n"
    assert listed(keys, "--like", "ward/*") == []


@pytest.mark.parametrize("verb", ["rotate", "rewrap", "destroy"])
def test_a_verb_that_finds_no_key_says_so(keys, local_key, tmp_path, verb):
    options = {
        "rotate": ("--keyring", local_key),
        "rewrap": ("--keyring", local_key, "--to", local_key),
        "destroy": ("--no-count", "--receipt", str(tmp_path / "receipts")),
    }[verb]
    found = keys("keys", verb, "--like", "ward/*", *options)
    assert (found.code, found.out.partition(";")[0]) == (exits.OK, "No key is like 'ward/*'")
    (tmp_path / "none.txt").write_text("\n")
    found = keys("keys", verb, "--file", "none.txt", *options)
    assert (found.code, found.out) == (exits.OK, "none.txt names no key.\n")
    assert keys("keys", verb, "--like", "ward/*", "--json", *options).code == exits.OK
    assert not (tmp_path / "receipts").exists()


def test_none_destroyed_is_not_as_many_as_were_confirmed(keys):
    refused = keys("keys", "destroy", "--like", "ward/*", "--no-count", "--confirm", "2")
    assert refused.code == exits.FAILED
    assert "there are 0 keys to destroy" in refused.err


def test_ids_come_from_standard_input_too(keys, local_key, monkeypatch):
    piped = SimpleNamespace(buffer=io.BytesIO(b"tenant/1\n\nnew\n"), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", piped)
    told = keys("keys", "create", "--file", "-", "--json", "--keyring", local_key)
    assert told.code == exits.OK
    assert (told.json["done"], told.json["already"]) == (["new"], ["tenant/1"])


def test_a_rotation_says_how_it_goes_on_and_goes_on(keys, local_key):
    told = keys("keys", "rotate", "--like", "tenant/*", "--json", "--keyring", local_key)
    assert told.code == exits.OK
    assert told.json["done"] == ["tenant/1", "tenant/2"]
    option = told.err.strip().rpartition("with ")[2].split()
    assert option[0] == "--made-before"

    again = keys("keys", "rotate", "--all", *option, "--keyring", local_key, "--json")
    assert set(again.json["done"]) | set(again.json["already"]) == set(IDS)
    assert set(again.json["already"]) >= {"tenant/1", "tenant/2"}


def test_some_that_fail_leave_work_and_all_that_fail_are_a_failure(keys, local_key):
    some = keys("keys", "rotate", "tenant/1", "missing", "li\nne", "--keyring", local_key)
    assert some.code == exits.WORK_LEFT
    assert "1 keys were rotated; 0 were before; 2 failed." in some.out
    assert "encfields: key 'missing' (no-key): there is no such key" in some.err
    assert "encfields: key 'li\\nne' (key-id): " in some.err

    none = keys("keys", "rotate", "missing", "gone", "--json", "--keyring", local_key)
    assert none.code == exits.FAILED
    assert [one["error"] for one in none.json["failed"]] == 2 * ["KeyNotFoundError"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("rotate",), "no key is named"),
        (("rotate", "a", "--all"), "one of them"),
        (("rotate", "--all", "--like", "a*"), "one of them"),
        (("destroy", "--no-count"), "no key is named"),
        (("create", "--file", "nothing.txt"), "cannot be read"),
        (("destroy", "a", "b", "--no-count", "--confirm", "a"), "by their number"),
    ],
)
def test_keys_are_named_in_one_way(keys, local_key, arguments, told):
    verb, *options = arguments
    keyring = () if verb == "destroy" else ("--keyring", local_key)
    result = keys("keys", verb, *options, *keyring)
    assert result.code == exits.FAILED
    assert told in result.err


def test_a_time_that_is_none_is_a_wrong_command_line(keys):
    assert keys("keys", "rotate", "--all", "--made-before", "soon").code == exits.USAGE


def test_some_keys_move_to_another_keyring(keys, local_key, tmp_path):
    keyrings.generate_local_key(tmp_path / "new.key")
    new = f"local:{tmp_path / 'new.key'}"
    told = keys("keys", "rewrap", "--like", "t*", "--keyring", local_key, "--to", new, "--json")
    assert told.json == {"moved": 4, "already": 0, "destroyed": 0, "failed": [], "left": []}
    rest = keys("keys", "rewrap", "--keyring", local_key, "--to", new)
    assert rest.code == exits.OK
    assert "2 wrapped keys were moved; 4 had been moved before" in rest.out


def test_many_are_destroyed_by_their_number_with_a_receipt_each(keys, tmp_path):
    file = tmp_path / "receipts"
    arguments = ("keys", "destroy", "--like", "tenant/*", "--no-count", "--receipt", str(file))
    refused = keys(*arguments)
    assert refused.code == exits.FAILED
    assert "there are 2 keys to destroy" in refused.err
    assert "--confirm 2" in refused.err
    assert not file.exists()

    told = keys(*arguments, "--confirm", "2", "--signed-off-by", "DPO")
    assert told.code == exits.OK
    assert "2 keys were destroyed" in told.out
    receipts = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted(one["key_id"] for one in receipts) == ["tenant/1", "tenant/2"]
    assert keys(*arguments[:-2], "--confirm", "0").code == exits.OK


def test_on_a_terminal_the_number_is_asked_for(keys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for typed, code in (("3\n", exits.FAILED), ("2\n", exits.OK)):
        monkeypatch.setattr(sys, "stdin", Terminal(typed))
        told = keys("keys", "destroy", "--like", "tenant/*", "--no-count")
        assert told.code == code
        assert "there are 2 keys to destroy" in told.err


def test_a_long_list_is_aligned_and_steers_no_terminal(keys, sqlite):
    with sqlite.create_engine().begin() as connection:
        one = connection.exec_driver_sql("SELECT * FROM encfields_keys WHERE active = 1").first()
        marks = ", ".join("?" * len(one))
        for number in range(300):
            copy = (f"\x1b[2J\n{number}", *one[1:])
            connection.exec_driver_sql(f"INSERT INTO encfields_keys VALUES ({marks})", copy)
    told = keys("keys", "list").out
    title, head, _, *lines = told.splitlines()

    assert title == "branch keys"
    assert len(lines) == 300 + len(IDS)
    assert {line[head.index("version") - 2 :][:2] for line in lines} == {"  "}
    assert {line[head.index("state") :].split()[0] for line in lines} == {"active", "malformed:"}
    assert "\x1b" not in told


def test_killed_by_ctrl_c_it_says_how_it_goes_on(keys, sqlite, local_key, kms, kms_proxy):
    """KMS hangs while the keys are made: the interrupt comes in the middle."""
    arn = kms.create_key()
    kms_proxy.fail("hang", times=16)
    ids = [f"k{number}" for number in range(10)]
    process = start(
        sqlite, "keys", "create", *ids, "--keyring", f"kms:{arn}", program=COMMAND_IN_A_TERMINAL
    )
    try:
        until(lambda: len(kms_proxy.calls) >= 8, "a thread of each key's asks KMS")
        process.send_signal(signal.SIGINT)
        kms_proxy.heal()
        _, told = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.status == exits.INTERRUPTED
    assert "Traceback" not in told
    assert "of 10 keys; run the same command again" in told

    rest = keys("keys", "create", *ids, "--keyring", f"kms:{arn}", "--json")
    assert rest.code == exits.OK
    assert sorted(listed(keys, "--like", "k*")) == sorted(ids)
