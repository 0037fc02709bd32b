"""Rewrap: all branch keys move to other wrapping keys, and no value is touched."""

from __future__ import annotations

import secrets
import threading
import time

import pytest
from sqlalchemy import Engine, insert, select, text

from encfields import SqlKeyStore, attach, keyrings
from encfields.errors import ConfigurationError, KeyAccessError, KeyUnavailableError
from encfields.keys.keyrings.aws_kms import AwsKmsKeyring
from encfields.keys.versions import RewrapReport
from tests.census.clinic import patient_table
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


def local():
    return keyrings.local(secrets.token_bytes(32))


def wrapped_keys(store: SqlKeyStore) -> dict[str, bytes | None]:
    return {row.version: row.wrapped and bytes(row.wrapped) for row in store._table.all_rows()}


def store_of(engine: Engine, keyring, **options) -> SqlKeyStore:
    return SqlKeyStore(keyring, engine=engine, **options)


@pytest.fixture
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture
def old():
    return local()


@pytest.fixture
def store(engine: Engine, old) -> SqlKeyStore:
    """Two keys, one of them rotated: five wrapped keys, beacon keys included."""
    made = store_of(engine, old)
    made.create_table()
    made.create("default")
    made.rotate("default")
    made.create("tenant/a")
    return made


@on_each_database
def test_every_key_moves_and_is_the_same_key(engine, store, old):
    before = {one.version: store.version(one.id, one.version).material for one in store.list()}
    beacon = store.beacon("default")
    new = local()
    assert store.rewrap(new) == RewrapReport(moved=5)

    moved = store_of(engine, new)
    after = {one.version: moved.version(one.id, one.version).material for one in moved.list()}
    assert after == before
    assert moved.beacon("default") == beacon
    with pytest.raises(KeyAccessError):
        store_of(engine, old).active("default")


def test_no_value_is_touched_and_all_are_readable_after(engine, old):
    encryption = attach(engine, SqlKeyStore(old), create=True)
    table = patient_table()
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "name": "n", "ssn": "s", "notes": "x"}])
        before = connection.execute(text("SELECT ssn, notes FROM patient")).all()
    new = local()
    encryption.keys.rewrap(new)

    with engine.connect() as connection:
        assert connection.execute(text("SELECT ssn, notes FROM patient")).all() == before
    encryption.detach()
    attach(engine, SqlKeyStore(new))
    with engine.connect() as connection:
        assert connection.execute(select(table.c.ssn)).scalar_one() == "s"


def test_during_the_move_a_store_with_both_keyrings_reads_all(engine, store, old):
    new = local()
    both = store_of(engine, new, former=[old])

    def check(report: RewrapReport) -> None:
        for one in both.list():
            both.version(one.id, one.version)
        both.beacon("tenant/a")

    assert store.rewrap(new, progress=check).moved == 5
    assert store.rotate("default").active
    assert store_of(engine, new).active("default").id == "default"


@on_each_database
def test_a_key_that_an_older_process_makes_meanwhile_is_moved_too(engine, store, old):
    new, late = local(), store_of(engine, old)
    made: list[str] = []

    def rotate_once(report: RewrapReport) -> None:
        if not made:
            made.append(late.rotate("default").version)

    assert store.rewrap(new, progress=rotate_once).moved == 6
    assert store_of(engine, new).version("default", made[0]).version == made[0]


class Killed(BaseException):
    """The process ends here."""


def test_it_goes_on_where_it_was_stopped(engine, store, old):
    new = local()

    def stop(report: RewrapReport) -> None:
        if report.moved == 2:
            raise Killed

    with pytest.raises(Killed):
        store.rewrap(new, progress=stop)
    moved = wrapped_keys(store)

    # Another process, which still knows the old keyring as its own.
    assert store_of(engine, old).rewrap(new) == RewrapReport(moved=3, already=2)
    assert sum(moved[version] == now for version, now in wrapped_keys(store).items()) == 2
    assert store_of(engine, new).rewrap(new) == RewrapReport(already=5)


@on_each_database
def test_two_at_once_do_no_harm(backend: Backend, store, old):
    new = local()
    reports: list[RewrapReport] = []
    stores = [store_of(backend.create_engine(), old) for _ in range(2)]
    threads = [threading.Thread(target=lambda s=s: reports.append(s.rewrap(new))) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(one.moved for one in reports) == 5
    assert sum(one.already for one in reports) == 5
    moved = store_of(backend.create_engine(), new)
    for one in moved.list():
        assert moved.version(one.id, one.version).version == one.version


def test_a_destroyed_key_stays_destroyed(store):
    store.destroy("tenant/a")
    assert store.rewrap(local()) == RewrapReport(moved=3, destroyed=2)
    assert [row.wrapped for row in store._table.all_rows() if row.key_id == "tenant/a"] == [
        None,
        None,
    ]


def test_a_keyring_that_only_opens_is_refused(store):
    with pytest.raises(ConfigurationError, match="discovery"):
        store.rewrap(keyrings.aws_kms_discovery("111122223333", regions="eu-west-1"))


def test_a_key_that_does_not_open_stays_as_it_was(engine, store):
    table = store.table
    with engine.begin() as connection:
        rows = connection.execute(select(table).where(table.c.purpose != "key-store")).all()
        broken = bytearray(rows[0].wrapped)
        broken[-1] ^= 1
        connection.execute(
            table.update().where(table.c.version == rows[0].version).values(wrapped=bytes(broken))
        )
    before = wrapped_keys(store)
    with pytest.raises(KeyAccessError, match="altered"):
        store.rewrap(local())
    assert wrapped_keys(store)[rows[0].version] == before[rows[0].version] == bytes(broken)


# -- with KMS --------------------------------------------------------------------------------------


@pytest.fixture
def kms_store(kms, kms_proxy, sqlite: Backend) -> SqlKeyStore:
    made = SqlKeyStore(keyrings.aws_kms(kms.create_key()), engine=sqlite.create_engine())
    made.create_table()
    made.create("default")
    return made


def arns(store: SqlKeyStore) -> tuple[str, ...]:
    assert isinstance(store.keyring, AwsKmsKeyring)
    return store.keyring.arns


def test_from_a_local_key_to_kms(kms, kms_proxy, sqlite: Backend):
    engine = sqlite.create_engine()
    store = store_of(engine, local())
    store.create_table()
    store.create("default")
    kept = store.active("default").material
    keyring = keyrings.aws_kms(kms.create_key(), kms.create_key("eu-central-1"))
    assert store.rewrap(keyring).moved == 2
    assert store_of(engine, keyring).active("default").material == kept


def test_a_child_is_added_and_the_first_key_taken_away(kms, kms_proxy, kms_store, sqlite: Backend):
    (first,) = arns(kms_store)
    second = kms.create_key("eu-central-1")
    both = keyrings.aws_kms(first, second)
    assert kms_store.rewrap(both).moved == 2
    assert kms_store.rewrap(both) == RewrapReport(already=2)
    alone = keyrings.aws_kms(second)
    assert kms_store.rewrap(alone).moved == 2

    kms_proxy.reset()
    assert store_of(sqlite.create_engine(), alone).active("default").id == "default"
    assert kms_proxy.counts == {"Decrypt": 1}
    with pytest.raises(KeyAccessError):
        store_of(sqlite.create_engine(), keyrings.aws_kms(first)).active("default")


def test_each_new_wrapping_key_opens_before_the_old_wrap_is_given_up(kms, kms_proxy, kms_store):
    """Two new keys: both open, each by itself, though one of them would do."""
    new = keyrings.aws_kms(kms.create_key(), kms.create_key("eu-central-1"))
    kms_proxy.reset()
    kms_store.rewrap(new)

    # For each of two wrapped keys: opened once with the old key, then once with each new one.
    assert kms_proxy.counts == {"GenerateDataKey": 2, "Encrypt": 2, "Decrypt": 6}


def test_what_cannot_be_verified_is_not_replaced(kms, kms_proxy, kms_store):
    before = wrapped_keys(kms_store)
    (first,) = arns(kms_store)
    second = kms.create_key("eu-central-1")
    calls = len(kms_proxy.calls)

    def deny_second_once_it_wrapped() -> None:
        while not any(call.action == "Encrypt" for call in kms_proxy.calls[calls:]):
            time.sleep(0.001)
        kms_proxy.fail("deny", actions={"Decrypt"})

    watcher = threading.Thread(target=deny_second_once_it_wrapped)
    kms_proxy.delay = 0.05
    watcher.start()
    with pytest.raises(KeyUnavailableError):
        kms_store.rewrap(keyrings.aws_kms(first, second))
    watcher.join()

    assert wrapped_keys(kms_store) == before
    kms_proxy.heal()
    assert kms_store.rewrap(keyrings.aws_kms(first, second)).moved == 2


def test_an_outage_in_the_middle_is_gone_on_from(kms, kms_proxy, kms_store):
    new = keyrings.aws_kms(kms.create_key(), max_attempts=1)

    def cut(report: RewrapReport) -> None:
        kms_proxy.fail("error")

    with pytest.raises(KeyUnavailableError):
        kms_store.rewrap(new, progress=cut)
    kms_proxy.heal()
    assert kms_store.rewrap(new) == RewrapReport(moved=1, already=1)
    assert kms_store.active("default").id == "default"
