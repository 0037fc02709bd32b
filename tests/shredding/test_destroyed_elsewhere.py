"""A key that another process destroys or rotates: this one stops writing under it in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, Table

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.bulk.rows.spec import TableSpec
from encfields.context import serialize
from encfields.errors import ConfigurationError, EncFieldsError, KeyDestroyedError
from encfields.keys.fetching.runner import ThreadRunner
from encfields.message import seal
from encfields.message.header import read_header
from tests.census.clinic import fill, patient_table, spec_of
from tests.keys.passing_time import let_pass
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


CHECK = 0.5
WRAPPING_KEY = b"w" * 31 + b"\x00"
CONTEXT = {"file": "1"}


def a_process(backend: Backend, **options: Any) -> tuple[Engine, Encryption]:
    """An engine of its own, with caches of its own."""
    engine = backend.create_engine()
    store = SqlKeyStore(keyrings.local(WRAPPING_KEY))
    return engine, attach(engine, store, create=True, **{"cache_check": CHECK, **options})


@pytest.fixture
def other(backend: Backend) -> Encryption:
    """The process that has the key in memory."""
    _, encryption = a_process(backend)
    encryption.seal(b"warm", CONTEXT)
    return encryption


@pytest.fixture
def encryption(other: Encryption, backend: Backend) -> Encryption:
    """The process that destroys it."""
    return a_process(backend)[1]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(EncFieldsError) as caught:
        call()
    return type(caught.value).__name__


@on_each_database
def test_once_destroy_is_over_no_process_seals_under_the_key(other, encryption):
    encryption.keys.destroy("default", confirm="default", specs=None)

    assert refusal(lambda: other.seal(b"x", CONTEXT)) == "KeyDestroyedError"


def test_at_once_it_is_the_time_between_two_looks_that_passes(other, encryption):
    other.seal(b"a moment ago", CONTEXT)
    encryption.keys.destroy("default", confirm="default", specs=None, at_once=True)
    time.sleep(CHECK)

    assert refusal(lambda: other.seal(b"x", CONTEXT)) == "KeyDestroyedError"


def in_the_pause(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Do something while whoever destroys a key waits for the other processes."""
    pause = ThreadRunner.pause

    def work_and_pause(self: ThreadRunner, seconds: float) -> None:
        work()
        pause(self, seconds)

    monkeypatch.setattr(ThreadRunner, "pause", work_and_pause)


def test_what_others_wrote_meanwhile_is_counted(backend, other, encryption, monkeypatch):
    engine, _ = a_process(backend, cache_check=600.0)
    patients = patient_table()
    patients.create(engine)
    fill(engine, patients, range(1, 4))
    in_the_pause(monkeypatch, lambda: fill(engine, patients, range(4, 5)))

    specs = [spec_of(patients)]
    receipt = encryption.keys.destroy("default", confirm="default", specs=specs)

    assert {one.column: one.values for one in receipt.unreadable}["ssn"] == 4


def test_a_destruction_that_fails_gives_the_key_back(other, encryption):
    with pytest.raises(EncFieldsError):
        encryption.keys.destroy(
            "default", confirm="default", specs=[TableSpec.of("no_such_table", ["ssn"])]
        )

    assert other.open(encryption.seal(b"x", CONTEXT), CONTEXT) == b"x"


@on_each_database
def test_a_destruction_that_was_killed_is_finished_by_the_next(encryption):
    store = encryption._store
    store.refuse("default")
    assert refusal(lambda: store.active("default")) == "KeyDestroyedError"

    encryption.keys.destroy("default", confirm="default", specs=None)
    assert all(row.wrapped is None for row in store._table.all_rows() if row.key_id == "default")


def test_a_rotation_is_taken_up_within_the_time_between_two_looks(other, encryption):
    made = encryption.keys.rotate("default")
    time.sleep(CHECK)

    assert read_header(other.seal(b"x", CONTEXT)).version == made.version


def test_many_keys_in_use_are_looked_after_in_one_query(backend, monkeypatch):
    _, encryption = a_process(backend, cache_check=300.0)
    asked: list[int] = []
    ask = SqlKeyStore.newest_versions

    def counted(store: SqlKeyStore, key_ids: list[str]) -> object:
        asked.append(len(key_ids))
        return ask(store, key_ids)

    monkeypatch.setattr(SqlKeyStore, "newest_versions", counted)
    tenants = [f"tenant/{number}" for number in range(20)]
    for tenant in tenants:
        encryption.seal(b"x", CONTEXT, tenant)
        encryption.seal(b"x", CONTEXT, tenant)
    asked.clear()
    let_pass(encryption._cache, 300.0)
    for tenant in tenants:
        encryption.seal(b"x", CONTEXT, tenant)

    assert sum(asked) >= 20
    assert len(asked) <= 2


@pytest.fixture
def rotated(backend: Backend, encryption: Encryption) -> tuple[Engine, Table, str]:
    """A table whose values are under the newer of two versions; and the older one."""
    engine, writing = a_process(backend)
    patients = patient_table()
    patients.create(engine)
    encryption.keys.rotate("default")
    old = encryption.keys.list()[0]
    writing.keys._cache.clear()
    fill(engine, patients, range(1, 4))
    return engine, patients, old.version


def test_a_version_without_values_is_retired_and_opens_nothing_any_more(
    other, encryption, rotated, backend
):
    _, patients, old = rotated
    key = encryption._store.version("default", old)
    message = seal(b"under the older one", serialize(CONTEXT), key)
    encryption.keys.retire("default", old, specs=[spec_of(patients)], at_once=True)

    fresh = a_process(backend)[1]
    with pytest.raises(KeyDestroyedError, match="retired") as caught:
        fresh.open(message, CONTEXT)
    assert caught.value.reason == "retired"
    assert read_header(fresh.seal(b"x", CONTEXT)).version != old
    with pytest.raises(KeyDestroyedError):
        encryption.keys.retire("default", old, specs=[spec_of(patients)], at_once=True)
    assert encryption.keys.rotate("default").number == 3


def test_a_version_with_values_is_not_retired(encryption, rotated):
    _, patients, old = rotated
    newest = encryption.keys.rotate("default").version
    in_use = [one.version for one in encryption.keys.list() if one.version not in (old, newest)]

    with pytest.raises(ConfigurationError, match=r"patient\.ssn \(3 values\)") as caught:
        encryption.keys.retire("default", in_use[0], specs=[spec_of(patients)], at_once=True)
    assert caught.value.reason == "values-left"


@pytest.mark.parametrize("reason", ["newest-version", "too-early", "no-table-named"])
def test_what_is_too_early_or_unlooked_at_is_not_retired(encryption, rotated, reason):
    _, patients, old = rotated
    newest = next(one.version for one in encryption.keys.list() if one.active)
    version = newest if reason == "newest-version" else old
    specs = [] if reason == "no-table-named" else [spec_of(patients)]

    with pytest.raises(ConfigurationError) as caught:
        encryption.keys.retire("default", version, specs=specs)
    assert caught.value.reason == reason


@on_each_database
def test_a_value_written_under_a_version_meanwhile_keeps_it(backend, rotated, monkeypatch):
    """By a process that still believes it is the newest, while the store refuses it already."""
    _, patients, old = rotated
    _, retiring = a_process(backend, cache_ttl=CHECK)
    slow_engine, slow = a_process(backend, cache_check=600.0)
    key = slow._store.version("default", old)
    slow._cache._entries.keep("default", key, time.monotonic())
    time.sleep(CHECK)
    in_the_pause(monkeypatch, lambda: fill(slow_engine, patients, range(9, 10)))

    with pytest.raises(ConfigurationError, match=r"patient\.ssn \(1 values\)"):
        retiring.keys.retire("default", old, specs=[spec_of(patients)])
    assert a_process(backend)[1]._store.version("default", old).version == old
