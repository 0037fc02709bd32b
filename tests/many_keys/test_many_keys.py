"""One verb on many keys: each by itself, none stopped by another, and gone on with later."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import signal
import threading

import pytest
from sqlalchemy import Engine, event, select, update

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.bulk.rows.spec import TableSpec
from encfields.errors import ConfigurationError, KeyDestroyedError
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.fetching.threads import MAX_PARALLEL_UNWRAPS
from encfields.keys.many.report import KeysProgress, KeysReport
from encfields.keys.many.worker_threads import GIVE_UP_AFTER
from encfields.keys.removal import DestructionReceipt
from encfields.keys.sql.schema import key_table
from encfields.keys.versions import RewrapReport
from tests.census.clinic import fill, patient_table
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


TENANTS = [f"tenant/{number}" for number in range(6)]


def local() -> keyrings.Keyring:
    return keyrings.local(secrets.token_bytes(32))


@pytest.fixture
def wrapping_key() -> keyrings.Keyring:
    return local()


ON_ONE_DATABASE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
"""For what no other database could change."""


@pytest.fixture
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture
def encryption(engine: Engine, wrapping_key) -> Encryption:
    made = attach(engine, SqlKeyStore(wrapping_key, name="clinic"), cache_check=0.01)
    made.keys.create_table()
    return made


def versions(encryption: Encryption, key_id: str) -> int:
    return sum(one.id == key_id for one in encryption.keys.list())


# -- making and rotating ---------------------------------------------------------------------------


@on_each_database
@ON_ONE_DATABASE
def test_keys_are_made_and_those_that_are_there_are_left_alone(encryption: Encryption):
    encryption.keys.create(TENANTS[2])
    kept = encryption.keys.list()

    report = encryption.keys.each(TENANTS).create()

    assert report.done == (*TENANTS[:2], *TENANTS[3:])
    assert report.already == (TENANTS[2],)
    assert report.is_complete
    assert kept[0] in encryption.keys.list()
    assert encryption.keys.each(TENANTS).create().already == tuple(TENANTS)


@on_each_database
def test_a_pattern_is_not_the_databases_like(encryption: Encryption):
    ids = ["tenant_1", "tenantX1", "tenant%", "TENANT_1", "tenant[1]", "a*b", "größe/ä"]
    assert encryption.keys.each(ids).create().is_complete

    def like(pattern: str) -> list[str]:
        return [one.id for one in encryption.keys.each(like=pattern).list()]

    assert like("tenant_1") == ["tenant_1"]
    assert like("tenant%") == ["tenant%"]
    assert like("tenant?1") == ["tenantX1", "tenant_1"]
    assert like("tenant[1]") == ["tenant[1]"]
    assert like("größe/?") == ["größe/ä"]
    assert sorted(like("*")) == sorted(ids)
    assert set(encryption.keys.each(like="tenant*").rotate().done) == {
        "tenantX1",
        "tenant[1]",
        "tenant%",
        "tenant_1",
    }


def test_what_is_no_key_id_spoils_no_other(encryption: Encryption):
    longest = "ä" * 255
    report = encryption.keys.each(
        ["a\0b", "line\nline", "", longest + "x", "\ud800", longest]
    ).create()

    assert report.done == (longest,)
    assert {one.reason for one in report.failed} == {"key-id"}
    assert len(report.failed) == 5
    assert encryption.keys.each(["a\0b", "\ud800", longest]).rotate().done == (longest,)


@ON_ONE_DATABASE
def test_a_rotation_that_was_broken_off_goes_on_by_its_time(encryption: Encryption):
    encryption.keys.each(TENANTS).create()
    began = dt.datetime.now(dt.UTC)

    def stop(progress: KeysProgress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encryption.keys.each().rotate(progress=stop)
    report = encryption.keys.each().rotate(made_before=began)

    assert len(report.already) >= 2
    assert {*report.done, *report.already} == set(TENANTS)
    assert [versions(encryption, one) for one in TENANTS] == [2] * len(TENANTS)


@ON_ONE_DATABASE
def test_a_version_that_is_dated_in_the_future_does_not_count_as_rotated(
    encryption: Encryption, engine: Engine
):
    encryption.keys.each(TENANTS[:1]).create()
    table = key_table()
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    with engine.begin() as connection:
        connection.execute(
            update(table).where(table.c.key_id == TENANTS[0]).values(created_at=tomorrow)
        )

    report = encryption.keys.each().rotate(made_before=dt.datetime.now(dt.UTC))

    assert report.done == (TENANTS[0],)


@on_each_database
def test_two_operators_rotate_each_key_once(backend: Backend, encryption: Encryption, wrapping_key):
    """Both have looked which versions are the newest before either of them rotates."""
    encryption.keys.each(TENANTS).create()
    both_have_looked = threading.Barrier(2, timeout=60)
    reports: list[KeysReport] = []

    class Slow(SqlKeyStore):
        def versions_of(self, key_ids):
            found = super().versions_of(key_ids)
            both_have_looked.wait()
            return found

    def rotate() -> None:
        store = Slow(wrapping_key, name="clinic", engine=backend.create_engine())
        reports.append(KeyAdmin(store, KeyCache(store)).each().rotate())

    operators = [threading.Thread(target=rotate) for _ in range(2)]
    for one in operators:
        one.start()
    for one in operators:
        one.join()

    assert [one.is_complete for one in reports] == [True, True]
    assert sorted([*reports[0].done, *reports[1].done]) == TENANTS
    assert [versions(encryption, one) for one in TENANTS] == [2] * len(TENANTS)


def test_a_key_that_fails_stops_no_other_and_is_listed(encryption: Encryption, engine: Engine):
    encryption.keys.each(TENANTS).create()
    encryption.keys.destroy(TENANTS[0], confirm=TENANTS[0], specs=None, at_once=True)
    table = key_table()
    with engine.begin() as connection:
        rows = select(table.c.wrapped).where(table.c.key_id == TENANTS[1])
        other = connection.execute(rows).scalars().first()
        connection.execute(update(table).where(table.c.key_id == TENANTS[2]).values(wrapped=other))

    report = encryption.keys.each([*TENANTS, "missing"]).rotate()

    assert report.done == (TENANTS[1], *TENANTS[3:])
    assert [(one.key_id, one.error) for one in report.failed] == [
        ("missing", "KeyNotFoundError"),
        (TENANTS[0], "KeyDestroyedError"),
        (TENANTS[2], "KeyAccessError"),
    ]


async def test_from_a_coroutine(async_backend):
    engine = async_backend.create_engine()
    encryption = attach(engine, SqlKeyStore(local()))
    await encryption.keys.acreate_table()

    assert (await encryption.keys.each(TENANTS[:2]).acreate()).is_complete
    assert (await encryption.keys.each(like="*1").arotate()).done == ("tenant/1",)
    assert len(await encryption.keys.each().alist()) == 3


async def test_cancelled_it_begins_with_no_further_key(sqlite: Backend, wrapping_key):
    """As Ctrl-C does under ``asyncio.run()``, which then waits for the threads to end."""
    store = SqlKeyStore(wrapping_key, engine=sqlite.create_engine())
    store.create_table()
    begun = threading.Event()
    many = KeyAdmin(store, KeyCache(store)).each(f"t{number}" for number in range(300))
    task = asyncio.create_task(many.acreate(progress=lambda told: begun.set()))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.get_running_loop().shutdown_default_executor()

    assert len(store.list()) < 300


# -- moving to another keyring -----------------------------------------------------------------


def test_a_rewrap_moves_every_key_but_those_that_do_not_open(
    encryption: Encryption, engine: Engine, wrapping_key
):
    encryption.keys.each(TENANTS).create()
    table = key_table()
    with engine.begin() as connection:
        found = connection.execute(select(table).where(table.c.key_id == TENANTS[3])).all()
        broken = bytearray(found[0].wrapped)
        broken[-1] ^= 1
        connection.execute(
            update(table).where(table.c.version == found[0].version).values(wrapped=bytes(broken))
        )
    new = local()

    report = encryption.keys.each().rewrap(new)

    assert [one.key_id for one in report.failed] == [TENANTS[3]]
    assert report.done == (*TENANTS[:3], *TENANTS[4:])
    moved = SqlKeyStore(new, name="clinic", engine=engine)
    assert moved.active(TENANTS[4]).id == TENANTS[4]
    again = KeyAdmin(moved, KeyCache(moved)).each([TENANTS[0], "missing"]).rewrap(new)
    assert again.rewrapped == RewrapReport(already=2)
    assert [one.error for one in again.failed] == ["KeyNotFoundError"]


@ON_ONE_DATABASE
def test_a_version_that_an_older_process_makes_meanwhile_is_moved_too(
    encryption: Encryption, backend: Backend, wrapping_key
):
    encryption.keys.each(TENANTS[:2]).create()
    new, made = local(), list[str]()
    late = SqlKeyStore(wrapping_key, name="clinic", engine=backend.create_engine(), former=[new])

    def rotate_once(progress: KeysProgress) -> None:
        if not made and progress.tried == progress.total:
            made.append(late.rotate(TENANTS[0]).version)

    report = encryption.keys.each().rewrap(new, progress=rotate_once)

    assert report.rewrapped == RewrapReport(moved=5)
    moved = SqlKeyStore(new, name="clinic", engine=backend.create_engine())
    assert moved.version(TENANTS[0], made[0]).version == made[0]


# -- destroying --------------------------------------------------------------------------------


def test_keys_are_destroyed_only_if_their_number_is_confirmed(
    encryption: Encryption, engine: Engine
):
    encryption.keys.each([*TENANTS, "default"]).create()
    patients = patient_table()
    patients.create(engine)
    fill(engine, patients, range(1, 8))
    specs = [TableSpec.from_table(patients)]

    for wrong in (None, 6, True):
        with pytest.raises(ConfigurationError) as caught:
            encryption.keys.each().destroy(confirm=wrong, specs=specs)
        assert caught.value.reason == "not-confirmed"
        assert "7 keys to destroy" in str(caught.value)
        assert "patient.notes (7 values), patient.ssn (7 values)" in str(caught.value)
    assert encryption._store.active("default").id == "default"

    report = encryption.keys.each().destroy(confirm=7, specs=specs, signed_off_by="DPO")

    assert report.is_complete
    assert {one.key_id: one.values for one in report.receipts} == {
        "default": 14,
        **dict.fromkeys(TENANTS, 0),
    }
    assert {one.signed_off_by for one in report.receipts} == {"DPO"}
    with pytest.raises(KeyDestroyedError):
        encryption._store.active("default")


@on_each_database
@ON_ONE_DATABASE
def test_every_table_is_looked_at_once_for_all_keys(encryption: Encryption, engine: Engine):
    encryption.keys.each(TENANTS).create()
    patients = patient_table()
    patients.create(engine)
    statements: list[str] = []

    def note(connection, cursor, statement, *rest) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        encryption.keys.each().destroy(confirm=6, specs=[TableSpec.from_table(patients)])
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert sum("FROM patient" in one and "ssn" in one for one in statements) == 1


@ON_ONE_DATABASE
def test_destroying_goes_on_after_a_kill_between_refusing_and_wiping(encryption: Encryption):
    encryption.keys.each(TENANTS).create()
    encryption._store.destroy(TENANTS[0])
    encryption._store.refuse(TENANTS[1])  # as a process leaves it that is killed

    report = encryption.keys.each(like="tenant/*").destroy(confirm=5, specs=None)

    assert report.done == tuple(TENANTS[1:])
    assert report.already == (TENANTS[0],)
    assert all(one.wiped for one in encryption.keys.list())


@ON_ONE_DATABASE
def test_ctrl_c_while_keys_are_wiped_leaves_the_others_in_force(encryption: Encryption):
    encryption.keys.each(TENANTS).create()
    kept: list[DestructionReceipt] = []

    def stop(progress: KeysProgress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encryption.keys.each().destroy(confirm=6, specs=None, keep=kept.append, progress=stop)

    destroyed = {one.key_id for one in kept}
    assert destroyed
    for one in encryption.keys.list():
        assert one.active != (one.id in destroyed)


@ON_ONE_DATABASE
def test_ctrl_c_while_the_caller_waits_for_its_threads_begins_no_further_key(
    encryption: Encryption, monkeypatch
):
    ids, interrupted = [f"tenant/{number}" for number in range(60)], threading.Event()
    begun = threading.Barrier(MAX_PARALLEL_UNWRAPS, interrupt_the_main_thread, timeout=60)
    create, seen = encryption._store.create, []

    def create_when_interrupted(key_id):
        if not interrupted.is_set():
            begun.wait()
            interrupted.wait(60)
        seen.append(key_id)
        return create(key_id)

    def interrupt(number, frame):
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(encryption._store, "create", create_when_interrupted)
    told: list[KeysProgress] = []
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            encryption.keys.each(ids).create(progress=told.append)
    finally:
        signal.signal(signal.SIGINT, before)

    assert len(seen) < len(ids)
    assert told[-1].done == len(seen) == len(encryption.keys.list())


def interrupt_the_main_thread() -> None:
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


@on_each_database
def test_of_operators_that_destroy_at_once_one_has_the_receipt_of_a_key(
    backend: Backend, encryption: Encryption, wrapping_key
):
    encryption.keys.each(TENANTS).create()
    both_have_looked = threading.Barrier(2, timeout=60)
    reports: list[KeysReport] = []

    class Slow(SqlKeyStore):
        def destroy(self, key_id):
            if key_id == TENANTS[0]:
                both_have_looked.wait()
            return super().destroy(key_id)

    def destroy() -> None:
        store = Slow(wrapping_key, name="clinic", engine=backend.create_engine())
        keys = KeyAdmin(store, KeyCache(store, check=0.01))
        reports.append(keys.each().destroy(confirm=6, specs=None))

    operators = [threading.Thread(target=destroy) for _ in range(2)]
    for one in operators:
        one.start()
    for one in operators:
        one.join()

    assert [one.is_complete for one in reports] == [True, True]
    receipts = [receipt.key_id for one in reports for receipt in one.receipts]
    assert sorted(receipts) == TENANTS


# -- with KMS --------------------------------------------------------------------------------------


@pytest.fixture
def kms_keys(kms, kms_proxy, sqlite: Backend) -> KeyAdmin:
    store = SqlKeyStore(
        keyrings.aws_kms(kms.create_key(), max_attempts=1), engine=sqlite.create_engine()
    )
    store.create_table()
    return KeyAdmin(store, KeyCache(store))


def test_kms_is_called_for_several_keys_at_once_but_not_for_too_many(kms_keys: KeyAdmin, kms_proxy):
    kms_proxy.delay = 0.05
    assert kms_keys.each(f"t{number}" for number in range(12)).create().is_complete

    assert 1 < kms_proxy.most_at_once <= 8
    assert kms_proxy.counts == {"GenerateDataKey": 24}


def test_when_kms_is_gone_the_rest_is_left_and_made_later(kms_keys: KeyAdmin, kms_proxy):
    ids = [f"t{number:02}" for number in range(40)]
    kms_proxy.fail("refuse")
    report = kms_keys.each(ids).create()

    assert {one.reason for one in report.failed} == {"unreachable"}
    assert GIVE_UP_AFTER <= len(report.failed) < len(ids)
    assert len(report.failed) + len(report.left) == len(ids)

    kms_proxy.heal()
    assert kms_keys.each([*report.left, *(one.key_id for one in report.failed)]).create().done == (
        tuple(ids)
    )


def test_keys_that_kms_denies_leave_none_untried(kms_keys: KeyAdmin, kms_proxy):
    """A policy may name keys: what is denied for many may be granted for the next one."""
    ids = [f"t{number:02}" for number in range(GIVE_UP_AFTER + 10)]
    kms_proxy.fail("deny")

    report = kms_keys.each(ids).create()

    assert [one.key_id for one in report.failed] == ids
    assert {one.reason for one in report.failed} == {"denied"}
    assert "arn:aws:kms" in report.failed[0].message
