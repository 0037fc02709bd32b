"""Forged values make a long-lived reader remember a bounded amount, however many are read."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, String, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, Encryption
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey import column_census
from encfields.bulk.survey.census import census, count_under
from encfields.engine import engine_encryption
from encfields.errors import EncFieldsError, MalformedMessageError
from encfields.keys.cache import stats as cache_stats
from encfields.keys.cache.stats import MAX_UNKNOWN_IDS, OTHERS, CacheStats, Fetch
from encfields.message.header import MAX_KEY_ID_BYTES
from encfields.testing import attach_locally
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

KEY = b"\x00\x07default"
"""The branch key's id in a message, its length before it."""


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String))


class Tenant(Base):
    __tablename__ = "tenant"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(3000))
    ssn: Mapped[str] = mapped_column(EncryptedType(String, key="tenant/{name}"))


@pytest.fixture
def engine(backend: Backend) -> Engine:
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    return engine


@pytest.fixture
def encryption(engine: Engine) -> Encryption:
    encryption = attach_locally(engine)
    engine_encryption(encryption).active_key("tenant/a")
    with Session(engine) as session:
        session.add_all([Patient(id=1, ssn="123"), Tenant(id=1, name="a", ssn="456")])
        session.commit()
    return encryption


def _stored(attacker: Engine) -> bytes:
    with attacker.connect() as connection:
        return bytes(connection.scalar(text("SELECT ssn FROM patient")))


def _forgeries(attacker: Engine, message: bytes, lengths: list[int]) -> Iterator[None]:
    """Put messages that name ever new keys into the row, one after the other."""
    start = message.index(KEY)
    for number, length in enumerate(lengths):
        name = (b"%08d" % number).ljust(length, b"x")
        named = len(name).to_bytes(2, "big") + name
        forged = message[:start] + named + message[start + len(KEY) :]
        with attacker.begin() as connection:
            connection.execute(text("UPDATE patient SET ssn = :m"), {"m": forged})
        yield


def _error(engine: Engine) -> EncFieldsError:
    with Session(engine) as session, pytest.raises(EncFieldsError) as caught:
        session.get(Patient, 1)
    return caught.value


def test_a_key_id_that_no_store_holds_is_refused_and_not_remembered(
    engine: Engine, encryption: Encryption, attacker: Engine
) -> None:
    message = _stored(attacker)
    known = set(encryption.stats.keys.by_key)
    for _ in _forgeries(attacker, message, [MAX_KEY_ID_BYTES + 1, 20_000, 60_000]):
        error = _error(engine)
        assert isinstance(error, MalformedMessageError)
        assert error.reason == "key-id"
        assert len(str(error)) < 2_000
    assert set(encryption.stats.keys.by_key) == known


def test_memory_does_not_grow_with_the_values_that_were_read(
    engine: Engine, encryption: Encryption, attacker: Engine
) -> None:
    message = _stored(attacker)
    for _ in _forgeries(attacker, message, [60_000] * 20):
        _error(engine)
    tracemalloc.start()
    try:
        for _ in _forgeries(attacker, message, [60_000] * 100):
            _error(engine)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3_000_000  # they have 6,000,000 bytes of names


def test_error_texts_are_short_however_long_a_key_or_a_row_is_named(
    engine: Engine, encryption: Encryption, attacker: Engine
) -> None:
    message = _stored(attacker)
    for _ in _forgeries(attacker, message, [MAX_KEY_ID_BYTES]):
        assert len(str(_error(engine))) < 2_000


def test_a_tenant_s_name_is_no_way_around_it(
    engine: Engine, encryption: Encryption, attacker: Engine
) -> None:
    """The key's id is made of a column that the attacker writes."""
    known = set(encryption.stats.keys.by_key)
    with attacker.begin() as connection:
        connection.execute(text("UPDATE tenant SET name = :n"), {"n": "t" * 3000})
    with engine.connect() as connection, pytest.raises(EncFieldsError) as caught:
        connection.execute(select(Tenant.ssn)).all()
    assert len(str(caught.value)) < 6_000
    with Session(engine) as session:
        session.add(Tenant(id=2, name="u" * 3000, ssn="x"))
        with pytest.raises(EncFieldsError) as refused:
            session.flush()
    assert len(str(refused.value)) < 2_000
    assert set(encryption.stats.keys.by_key) == known


def _fetch(key_id: str, failure: str | None) -> Fetch:
    return Fetch(key_id, "version", False, 0, 0.0, 1, failure)


def test_ids_under_which_nothing_was_found_are_counted_apart_up_to_a_limit() -> None:
    stats = CacheStats()
    stats.add(_fetch("default", None))
    for number in range(3 * MAX_UNKNOWN_IDS):
        stats.add(_fetch(f"forged/{number}", "missing"))
    assert len(stats.by_key) == MAX_UNKNOWN_IDS + 2  # "default" and OTHERS
    assert stats.by_key["default"].store_calls == 1
    assert stats.by_key[OTHERS].failures == 2 * MAX_UNKNOWN_IDS
    assert stats.failures == 3 * MAX_UNKNOWN_IDS


def test_they_take_no_room_from_keys_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_stats, "MAX_UNKNOWN_IDS", 5)
    monkeypatch.setattr(cache_stats, "MAX_KEY_IDS", 10)
    stats = CacheStats()
    for number in range(50):
        stats.add(_fetch(f"forged/{number}", "missing"))
    for tenant in ("a", "b", "c"):
        stats.add(_fetch(tenant, None))
    assert {"a", "b", "c"} <= set(stats.by_key)


def _plant(attacker: Engine, message: bytes, rows: int) -> None:
    """Rows whose values each name a version that was never made, and a column of their own."""
    column = b"\x00\x0bpatient.ssn"
    at = message.index(KEY) + len(KEY) + 2 + 28  # after the id: length, salt and IV
    with attacker.begin() as connection:
        for number in range(2, rows + 2):
            version = number.to_bytes(16, "big")
            named = message[:at] + version + message[at + 16 :]
            other = column[:2] + b"forged.%04d" % number
            forged = named.replace(column, other)
            put = text("INSERT INTO patient (id, ssn) VALUES (:id, :ssn)")
            connection.execute(put, {"id": number, "ssn": forged})


def test_a_census_counts_names_that_values_make_up_together_past_a_limit(
    engine: Engine, encryption: Encryption, attacker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(column_census, "MAX_VERSIONS", 5)
    monkeypatch.setattr(column_census, "MAX_NAMES", 5)
    version = engine_encryption(encryption).active_key("default").version
    _plant(attacker, _stored(attacker), 12)
    spec = TableSpec.from_table(Patient.__table__)  # type: ignore[arg-type]
    (column,) = census(engine, spec).columns
    assert (column.misplaced.total(), column.values) == (12, 13)
    assert len(column.misplaced) == 6
    assert sorted(column.bound_to.values()) == [1, 1, 1, 1, 1, 7]
    # What was not counted apart may be under any key.
    assert column.under("default", version) == 1 + 7
    assert column.under("another") == 7


def test_the_version_that_is_to_be_retired_is_counted_exactly_all_the_same(
    engine: Engine, encryption: Encryption, attacker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(column_census, "MAX_VERSIONS", 5)
    version = engine_encryption(encryption).active_key("default").version
    message = _stored(attacker)
    _plant(attacker, message, 12)
    spec = TableSpec.from_table(Patient.__table__)  # type: ignore[arg-type]

    def values_under(key_id: str, version: str | None) -> list[int]:
        return [one.values for one in count_under(engine, spec, key_id, version)[1]]

    with attacker.begin() as connection:  # past the limit by the time it is seen
        connection.execute(text("UPDATE patient SET id = 1000 WHERE id = 1"))
    assert values_under("default", version) == [1]
    assert values_under("tenant/a", version) == []
    assert values_under("default", None) == [13]
    with attacker.begin() as connection:
        connection.execute(text("DELETE FROM patient WHERE id = 1000"))
    assert values_under("default", version) == []
