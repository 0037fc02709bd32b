"""Horizontal sharding: one model on two engines, each with an encryption and keys of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, String, create_engine, delete, select, update
from sqlalchemy.ext.horizontal_shard import ShardedSession, set_shard_id
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType, encryption_of
from encfields.testing import attach_locally
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import Backend


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    region: Mapped[str] = mapped_column(String(10))
    ssn: Mapped[str] = mapped_column(EncryptedType(String(11), index=BlindIndex()))
    note: Mapped[str | None] = mapped_column(EncryptedType())


@pytest.fixture
def shards(backend: Backend, tmp_path: Path) -> Iterator[dict[str, Engine]]:
    south = create_engine(f"sqlite:///{tmp_path}/south.db")
    shards = {"north": backend.create_engine(), "south": south}
    for engine in shards.values():
        Base.metadata.create_all(engine)
        attach_locally(engine)
    yield shards
    south.dispose()


def _shard_of(mapper: Any, instance: Any, clause: Any = None) -> str:
    return str(instance.region)


def _all_shards(*arguments: Any, **named: Any) -> Iterable[str]:
    return ["north", "south"]


@pytest.fixture
def session(shards: dict[str, Engine]) -> Iterator[ShardedSession]:
    with ShardedSession(
        shards=shards,  # type: ignore[arg-type]
        shard_chooser=_shard_of,
        identity_chooser=_all_shards,
        execute_chooser=_all_shards,
    ) as session:
        session.add_all(
            [
                Patient(region="north", ssn="1", note="n"),
                Patient(region="south", ssn="1", note="s"),
                Patient(region="south", ssn="2"),
            ]
        )
        session.commit()
        session.expunge_all()
        yield session


def test_each_shard_seals_under_its_own_keys(
    session: ShardedSession, shards: dict[str, Engine]
) -> None:
    assert_sealed(shards["north"], "patient", "ssn", "1-north")
    assert_sealed(shards["south"], "patient", "ssn", "1-south", "2-south")
    north, south = (encryption_of(shards[one]) for one in ("north", "south"))
    assert north is not south
    assert (north.stats.sealed, south.stats.sealed) == (2, 3)


def test_a_look_up_asks_each_shard_with_its_own_hash(session: ShardedSession) -> None:
    found = session.scalars(select(Patient).where(Patient.ssn == "1")).all()
    assert sorted((one.region, one.note) for one in found) == [("north", "n"), ("south", "s")]
    only = select(Patient).where(Patient.ssn == "1").options(set_shard_id("south"))
    assert [one.note for one in session.scalars(only)] == ["s"]


def test_rows_of_either_shard_are_changed_and_refreshed(session: ShardedSession) -> None:
    for one in session.scalars(select(Patient).where(Patient.ssn == "1")):
        one.note = f"{one.region} changed"
    session.commit()
    found = session.scalars(select(Patient).where(Patient.ssn == "1")).all()
    assert sorted(str(one.note) for one in found) == ["north changed", "south changed"]
    session.expire_all()
    assert {one.ssn for one in found} == {"1"}


def test_rows_are_got_changed_and_deleted_by_statements(
    session: ShardedSession, shards: dict[str, Engine]
) -> None:
    south = session.get_one(Patient, 2, identity_token="south")
    assert (south.region, south.ssn) == ("south", "2")
    session.execute(update(Patient).where(Patient.id == 2).values(note="by statement"))
    session.execute(delete(Patient).where(Patient.ssn == "1"))
    session.commit()
    with Session(shards["south"]) as plain:
        assert plain.scalars(select(Patient.note)).all() == ["by statement"]
