"""The data key cache of an engine: what is read again is read faster, while its key is held."""

from __future__ import annotations

import datetime as dt
import gc
import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    Engine,
    MetaData,
    StaticPool,
    String,
    Table,
    create_engine,
    insert,
    select,
    text,
)
from sqlalchemy.orm import Session

from encfields import EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.branch_key import BranchKey
from encfields.engine import engine_encryption
from encfields.errors import ContextMismatchError, KeyDestroyedError, TamperedError
from encfields.native_core import status
from tests.attach.model import ID, OTHER, ROW, Base, Patient
from tests.native.conftest import compiled_core
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("older_objects_stay")
Attach = Callable[..., Encryption]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def attached(engine: Engine) -> Iterator[Attach]:
    """Attaches with options; two rows are there."""
    made: list[Encryption] = []
    if status().is_native:
        compiled_core()

    def attached(**options: Any) -> Encryption:
        store = SqlKeyStore(keyrings.local(os.urandom(32)))
        made.append(attach(engine, store, create=True, **options))
        with Session(engine) as session:
            session.add_all([Patient(**ROW), Patient(id=OTHER, ssn="another")])
            session.commit()
        return made[0]

    yield attached
    for one in made:
        one.detach()


def read(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return sorted(session.scalars(select(Patient.ssn)))


def branch_key(encryption: Encryption) -> BranchKey:
    """The only version there is, as it is held for reading."""
    (version,) = encryption.keys.list()
    return engine_encryption(encryption).find_key(version.id, version.version)


def derived(encryption: Encryption) -> Any:
    """What holds the data keys of the branch key that reads, in either core."""
    key: Any = branch_key(encryption)
    return key.compiled or key.wrapping.data_keys


def reopened(encryption: Encryption) -> int:
    count: int = derived(encryption).reopened
    return count


def is_gone(ref: weakref.ref[Any]) -> bool:
    gc.collect()
    return ref() is None


BOTH = [ROW["ssn"], "another"]


def test_what_is_read_again_is_opened_with_what_is_kept(engine, attached):
    encryption = attached()
    assert read(engine) == BOTH
    assert reopened(encryption) == 0
    for count in (2, 4, 6):
        assert read(engine) == BOTH
        assert reopened(encryption) == count
    assert encryption.stats.opened == 8


def test_a_value_whose_row_s_key_is_read_the_long_way_is_opened_with_what_is_kept(engine, attached):
    encryption = attached()
    day = Column("day", Date, primary_key=True)
    visit = Table("visit", MetaData(), day, Column("note", EncryptedType(String(20))))
    visit.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(visit).values(day=dt.date(2026, 1, 1), note="first"))
        found = [connection.scalars(select(visit.c.note)).all() for _ in range(3)]
    assert found == [["first"]] * 3
    assert reopened(encryption) == 2


def test_a_value_outside_the_database_is_opened_with_what_is_kept_in_its_context_alone(attached):
    encryption, context = attached(), {"file": "1"}
    message = encryption.seal(b"content", context)
    assert [encryption.open(message, context) for _ in range(3)] == [b"content"] * 3
    assert reopened(encryption) == 2
    with pytest.raises(ContextMismatchError):
        encryption.open(message, {"file": "2"})
    with pytest.raises(TamperedError):
        encryption.open(message[:-1] + bytes([message[-1] ^ 1]), context)


def test_a_changed_value_is_read_as_it_is_now(engine, attached):
    attached()
    assert read(engine) == BOTH
    with Session(engine) as session:
        session.get_one(Patient, OTHER).ssn = "changed"
        session.commit()
    assert [read(engine) for _ in range(2)] == [[ROW["ssn"], "changed"]] * 2


def test_a_copy_of_what_was_read_is_refused_in_another_row(engine, attached):
    attached()
    assert read(engine) == BOTH
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE patient SET ssn = (SELECT ssn FROM patient AS one WHERE one.id = :one) "
                "WHERE id = :other"
            ),
            {"one": ID.hex, "other": OTHER.hex},
        )
    with pytest.raises(ContextMismatchError):
        read(engine)


def test_switched_off_it_keeps_nothing(engine, attached):
    encryption = attached(data_key_cache=False)
    for _ in range(3):
        assert read(engine) == BOTH
    key: Any = branch_key(encryption)
    assert key.wrapping is None or key.wrapping.data_keys is None
    assert key.compiled is None or (key.compiled.kept, key.compiled.reopened) == (0, 0)


def test_it_is_gone_when_the_key_is_forgotten_destroyed_or_detached(engine, attached):
    encryption = attached()
    ways: list[Callable[[], object]] = [
        lambda: encryption._cache.forget("default"),
        lambda: encryption.keys.destroy("default", confirm="default", specs=None, at_once=True),
    ]
    for forget in ways:
        assert [read(engine) for _ in range(2)] == [BOTH] * 2
        ref = weakref.ref(derived(encryption))
        forget()
        assert is_gone(ref)
    with pytest.raises(KeyDestroyedError):
        read(engine)


def test_it_is_gone_when_the_engine_is_detached(engine, attached):
    encryption = attached()
    assert read(engine) == BOTH
    ref = weakref.ref(derived(encryption))
    encryption.detach()
    assert is_gone(ref)


def test_it_lives_no_longer_than_the_branch_key(engine, attached):
    encryption = attached(cache_ttl=0.2, cache_grace=0, cache_renewal=0)
    refs: list[weakref.ref[Any]] = []

    def is_held() -> bool:
        # A busy machine may take longer than the key lives: one fetched anew has opened nothing.
        assert read(engine) == BOTH
        key: Any = branch_key(encryption)
        if key.compiled or key.wrapping:
            refs.append(weakref.ref(key.compiled or key.wrapping.data_keys))
        return bool(refs)

    until(is_held)
    (ref,) = refs

    def is_fetched_anew() -> bool:
        assert read(engine) == BOTH
        encryption.active_key("default")  # holds the same object
        return is_gone(ref)

    until(is_fetched_anew)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_without_it_and_fills_its_own(engine, attached):
    encryption = attached()
    assert [read(engine) for _ in range(2)] == [BOTH] * 2
    ref = weakref.ref(derived(encryption))
    child = os.fork()
    if not child:
        is_right = is_gone(ref) and read(engine) == BOTH and reopened(encryption) == 0
        is_right = is_right and read(engine) == BOTH and reopened(encryption) == 2
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert read(engine) == BOTH
    assert reopened(encryption) == 4
