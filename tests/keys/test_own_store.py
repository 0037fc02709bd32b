"""What a key store of one's own returns is checked before anything is sealed or opened with it."""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import String, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType, attach
from encfields.errors import ConfigurationError
from encfields.keys import BranchKey, KeyStore, KeyVersion

VERSION = "580780e0-505a-4eac-8705-cf4ad8666bd1"


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "own_store_note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(EncryptedType(String(20), index=BlindIndex()))


class OwnStore(KeyStore):
    """One key; each answer can be replaced."""

    def __init__(self, **answers: Any) -> None:
        key = BranchKey("default", VERSION, secrets.token_bytes(32), 1)
        beacon = secrets.token_bytes(32)
        self.answers: dict[str, Any] = {"active": key, "version": key, "beacon": beacon, **answers}

    @property
    def name(self) -> str:
        return "own"

    def active(self, key_id: str) -> BranchKey:
        return self.answers["active"]

    def version(self, key_id: str, version: str) -> BranchKey:
        return self.answers["version"]

    def beacon(self, key_id: str) -> bytes:
        return self.answers["beacon"]

    def create(self, key_id: str) -> KeyVersion:
        raise NotImplementedError

    def rotate(self, key_id: str) -> KeyVersion:
        raise NotImplementedError

    def list(self) -> list[KeyVersion]:
        return [KeyVersion("default", VERSION, True, dt.datetime.now(dt.UTC), number=1)]


def _key(key_id: str = "default", version: str = VERSION) -> BranchKey:
    return BranchKey(key_id, version, secrets.token_bytes(32), 1)


@pytest.mark.parametrize(
    "method, answer",
    [
        pytest.param("active", lambda: None, id="no-key"),
        pytest.param("active", lambda: secrets.token_bytes(32), id="bare-material"),
        pytest.param("active", lambda: _key("another"), id="another-key"),
        pytest.param("beacon", lambda: None, id="no-beacon"),
        pytest.param("beacon", lambda: "text", id="text-for-a-beacon"),
        pytest.param("beacon", lambda: secrets.token_bytes(16), id="short-beacon"),
    ],
)
def test_nothing_is_written_with_what_is_no_key_or_another_one(
    method: str, answer: Callable[[], Any]
) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    attach(engine, OwnStore(**{method: answer()}))
    with Session(engine) as session:
        session.add(Note(text="x"))
        with pytest.raises(ConfigurationError) as raised:
            session.flush()
        session.rollback()
        assert raised.value.key_id == "default"
        assert session.scalar(select(func.count()).select_from(Note)) == 0


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: None, id="no-key"),
        pytest.param(lambda: _key("another"), id="another-key"),
        pytest.param(lambda: _key(version=str(uuid.uuid4())), id="another-version"),
    ],
)
def test_nothing_is_read_with_what_is_no_key_or_another_one(
    answer: Callable[[], Any], tmp_path: Any
) -> None:
    url = f"sqlite:///{tmp_path}/notes.db"
    engine, store = create_engine(url), OwnStore()
    Base.metadata.create_all(engine)
    attach(engine, store)
    with Session(engine) as session:
        session.add(Note(text="x"))
        session.commit()

    reader = create_engine(url)
    attach(reader, OwnStore(**{**store.answers, "version": answer()}))
    with Session(reader) as session, pytest.raises(ConfigurationError, match=r"version\(\)"):
        session.scalars(select(Note)).all()


@pytest.mark.parametrize("form", [bytearray, memoryview])
def test_material_may_be_any_bytes_and_a_version_in_upper_case(
    form: Callable[[bytes], Any], tmp_path: Any
) -> None:
    material, beacon = secrets.token_bytes(32), secrets.token_bytes(32)
    url = f"sqlite:///{tmp_path}/notes.db"
    for found in (0, 1):  # the second process finds what the first one wrote
        key = BranchKey("default", VERSION.upper(), form(material), 1)
        engine = create_engine(url)
        Base.metadata.create_all(engine)
        attach(engine, OwnStore(active=key, version=key, beacon=form(beacon)))
        with Session(engine) as session:
            same = select(Note).where(Note.text == "x")
            assert len(session.scalars(same).all()) == found
            session.add(Note(text="x"))
            session.commit()
