"""Worker processes get the engine and the keys that the caller has, or the run is refused."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine

from encfields import EncFieldsError, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.bulk import Options, Reencryption, TableSpec
from encfields.bulk.runs.coordinator import setup_for
from encfields.errors import ConfigurationError
from encfields.keys.fetching.switch_interval import short_switch_interval

ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OLD = "arn:aws:kms:eu-west-1:111122223333:key/00000000-12ab-34cd-56ef-1234567890ab"


def store() -> SqlKeyStore:
    return SqlKeyStore(keyrings.aws_kms(ARN), former=[keyrings.aws_kms(OLD)])


def test_connection_arguments_former_keyrings_cache_and_schemas_go_along(postgresql):
    engine = create_engine(
        postgresql.url,
        connect_args={"application_name": "clinic", "options": "-c statement_timeout=4242"},
        execution_options={"schema_translate_map": {None: "public"}},
    )
    encryption = attach(engine, store(), cache_ttl=60, cache_grace=0)
    there, theirs = pickle.loads(pickle.dumps(setup_for(engine, encryption)))()
    names = text("SELECT current_setting('application_name'), current_setting('statement_timeout')")
    with there.connect() as connection:
        assert tuple(connection.execute(names).one()) == ("clinic", "4242ms")
    assert there.get_execution_options()["schema_translate_map"][None] == "public"
    assert len(theirs.keys._store._wrapper.former) == 1
    assert (theirs._cache.ttl, theirs._cache.grace) == (60, 0)
    there.dispose()
    engine.dispose()


def test_what_cannot_go_along_is_refused_with_the_way_out(tmp_path):
    url = f"sqlite:///{tmp_path}/db"
    by_hand = create_engine(url, creator=lambda: sqlite3.connect(tmp_path / "db"))
    listened = create_engine(url)
    event.listen(listened, "connect", lambda connection, record: None)
    told = create_engine(url)
    event.listen(told, "begin", lambda connection: None)
    unsendable = create_engine(url, connect_args={"factory": lambda *a, **k: None})
    for engine, what in (
        (by_hand, "creator="),
        (listened, "event listeners"),
        (told, "event listeners"),
        (unsendable, "connect_args"),
    ):
        with pytest.raises(ConfigurationError, match=what) as caught:
            setup_for(engine, attach(engine, store()))
        assert "Options(setup=...)" in str(caught.value)


def run_with(setup: Any, folder: Path) -> None:
    """Have two workers with a setup re-encrypt a table."""
    engine = create_engine(f"sqlite:///{folder}/db")
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True))
    table.append_column(Column("v", EncryptedType()))
    table.create(engine)
    encryption = attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    spec = TableSpec.from_table(table)
    options = Options(workers=2, setup=setup)
    try:
        Reencryption(engine, encryption, spec, options=options).run()
    finally:
        engine.dispose()


def raising() -> None:
    raise RuntimeError("p4ssw0rd")


def exiting() -> None:
    sys.exit("p4ssw0rd")


def without_its_file() -> None:
    Path("/p4ssw0rd/key").read_bytes()


def with_a_wrong_url() -> None:
    create_engine("p4ssw0rd")


def returning_an_async_engine() -> tuple[object, object]:
    engine = create_async_engine("sqlite+aiosqlite://")
    return engine, attach(engine, SqlKeyStore(keyrings.local(bytes(32))))


def returning_nothing() -> None:
    """As one that forgets its return."""


@pytest.mark.parametrize(
    "setup, told",
    [
        (lambda: None, "no lambda and none within another function"),
        (raising, r"Options\(setup=...\) raised builtins.RuntimeError"),
        (exiting, "raised builtins.SystemExit"),
        (without_its_file, "raised builtins.FileNotFoundError"),
        (with_a_wrong_url, "raised sqlalchemy.exc.ArgumentError"),
        (returning_an_async_engine, "must return .* an Engine, and"),
        (returning_nothing, r"returned NoneType .* must return \(engine, encryption\)"),
    ],
)
def test_a_setup_that_is_of_no_use_is_told_with_what_it_must_be(tmp_path, setup, told):
    with pytest.raises(EncFieldsError, match=told) as caught:
        run_with(setup, tmp_path)
    assert "p4ssw0rd" not in str(caught.value)


STARTED = "ENCFIELDS_TEST_STARTED"


def ending_its_process() -> None:
    _note_start()
    os._exit(7)


def killed() -> None:
    _note_start()
    os.kill(os.getpid(), signal.SIGKILL)


def _note_start() -> None:
    with open(os.environ[STARTED], "a", encoding="ascii") as started:
        started.write("x")


@pytest.mark.parametrize("setup, code", [(ending_its_process, "7"), (killed, "-9")])
def test_a_setup_that_ends_its_process_ends_the_run_after_a_few_deaths(
    tmp_path, monkeypatch, setup, code
):
    monkeypatch.setenv(STARTED, str(tmp_path / "started"))
    told = rf"exit code {code} .* before they had an engine and keys: Options\(setup=...\)"
    with pytest.raises(EncFieldsError, match=told):
        run_with(setup, tmp_path)
    assert 3 <= len((tmp_path / "started").read_text()) <= 5


@pytest.mark.parametrize(
    "options, told",
    [
        ({"workers": "2"}, "workers must be an int, not str"),
        ({"workers": 2.5}, "workers must be an int, not float"),
        ({"workers": True}, "workers must be an int, not bool"),
        ({"run_key": 5}, "run_key must be a str, not int"),
        ({"max_age_days": "5"}, "max_age_days must be a float, not str"),
        ({"max_age_days": 0}, "max_age_days must be above 0"),
        ({"max_age_days": float("nan")}, "max_age_days=nan is too small"),
        ({"rows_per_second": 0}, "rows_per_second must be above 0"),
        ({"pause_query": 1}, "pause_query must be a str, not int"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(options, told):
    with pytest.raises(ConfigurationError, match=told):
        Options(**options)


def test_a_local_wrapping_key_never_leaves_its_process(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/db")
    with pytest.raises(ConfigurationError, match="never leaves its process"):
        setup_for(engine, attach(engine, SqlKeyStore(keyrings.local(bytes(32)))))


def test_two_runs_that_overlap_leave_the_switch_interval_as_it_was():
    before = sys.getswitchinterval()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with short_switch_interval(0.001):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    with short_switch_interval(0.001):
        thread.start()
        entered.wait()
        with short_switch_interval(0.0005):
            assert sys.getswitchinterval() == pytest.approx(0.0005)
        assert sys.getswitchinterval() == pytest.approx(0.001)
    assert sys.getswitchinterval() == pytest.approx(0.001)
    leave.set()
    thread.join()
    assert sys.getswitchinterval() == before
