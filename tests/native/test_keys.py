"""What the compiled core derives from a branch key: it is gone when the key is."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import weakref

import pytest
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import KeyDestroyedError
from encfields.message import core
from encfields.native_core import status
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("older_objects_stay")
in_use = pytest.mark.skipif(not status().is_native, reason="the compiled core is not in use here")


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String(20)))


@pytest.fixture
def attached(engine):
    """Attach with options, and one row is there."""
    made = []

    def attached(**options):
        store = SqlKeyStore(keyrings.local(os.urandom(32)))
        made.append(attach(engine, store, create=True, **options))
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add(Patient(id=1, ssn="123-45-6789"))
            session.commit()
        return made[0]

    yield attached
    for one in made:
        one.detach()


def read(engine) -> str:
    with Session(engine) as session:
        return session.scalars(select(Patient.ssn)).one()


def handle(encryption) -> weakref.ref:
    """What was derived from the key in use."""
    key = encryption.active_key("default")
    assert core.seal(b"value", b"", key)
    assert type(key.compiled).__name__ == "CompiledKey"
    return weakref.ref(key.compiled)


def is_gone(derived: weakref.ref) -> bool:
    gc.collect()
    return derived() is None


@pytest.fixture
def derived(native, key):
    native.seal(b"value", b"", key)
    return key.compiled


def test_it_is_derived_once_and_dies_with_the_branch_key(native, key):
    native.seal(b"value", b"", key)
    first = key.compiled
    native.seal(b"value", b"", key)
    assert key.compiled is first

    gone = weakref.ref(first)
    del first
    key.compiled = None
    assert is_gone(gone)


def test_it_shows_nothing_and_is_never_pickled_or_copied(derived, key):
    shown = repr(derived) + str(derived) + "".join(map(repr, dir(derived)))
    assert shown.startswith("<CompiledKey>")
    assert key.material.hex() not in shown
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            copied(derived)


def test_none_is_made_by_hand(derived):
    with pytest.raises(TypeError):
        type(derived)()


@in_use
def test_values_are_sealed_opened_and_counted(engine, attached):
    encryption = attached()
    sealed, opened = encryption.stats.sealed, encryption.stats.opened
    hits = encryption.stats.keys.hits

    assert read(engine) == "123-45-6789"
    assert (encryption.stats.sealed, encryption.stats.opened) == (sealed, opened + 1)
    assert encryption.stats.keys.hits == hits + 1
    assert handle(encryption)() is not None


@in_use
def test_a_key_that_is_forgotten_is_gone_and_fetched_anew(engine, attached):
    encryption = attached()
    derived, fetched = handle(encryption), encryption.stats.keys.store_calls

    encryption._cache.forget("default")
    assert is_gone(derived)
    assert read(engine) == "123-45-6789"
    assert encryption.stats.keys.store_calls > fetched


@in_use
def test_a_key_that_is_destroyed_is_gone_and_opens_nothing(engine, attached):
    encryption = attached()
    derived = handle(encryption)

    encryption.keys.destroy("default", confirm="default", specs=None, at_once=True)
    assert is_gone(derived)
    with pytest.raises(KeyDestroyedError):
        read(engine)


@in_use
def test_a_key_is_gone_when_its_engine_is_detached(attached):
    encryption = attached()
    derived = handle(encryption)

    encryption.detach()
    assert is_gone(derived)


@in_use
def test_a_key_is_used_for_its_time_to_live_alone(engine, attached):
    encryption = attached(cache_ttl=0.2, cache_grace=0)
    assert read(engine) == "123-45-6789"
    derived = handle(encryption)

    def is_fetched_anew() -> bool:
        assert read(engine) == "123-45-6789"
        encryption.active_key("default")
        return is_gone(derived)

    until(is_fetched_anew)


@in_use
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_starts_without_keys(engine, attached):
    encryption = attached()
    derived = handle(encryption)
    assert in_child(lambda: b"gone" if is_gone(derived) else b"there") == b"gone"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_no_random_bytes_are_used_by_parent_and_child(native, key):
    native.seal(b"", b"", key)  # the generator of this process has begun

    def drawn() -> bytes:
        return b"".join(native.seal(b"", b"", key)[3:35] for _ in range(20))

    children = [in_child(drawn) for _ in range(3)]
    ids = [data[i : i + 32] for data in [*children, drawn()] for i in range(0, 640, 32)]
    assert len(ids) == 80
    assert len(set(ids)) == 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_batches_of_parent_and_child_share_no_random_bytes(native, key):
    count = 20

    def drawn() -> bytes:
        sealed = native.seal_many([b""] * count, [b""] * count, key)
        return b"".join(message[3:35] for message in sealed)

    drawn()
    both = in_child(drawn) + drawn()
    assert len({both[i : i + 32] for i in range(0, len(both), 32)}) == 2 * count


def in_child(work) -> bytes:
    """What `work` answers in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, work())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found
