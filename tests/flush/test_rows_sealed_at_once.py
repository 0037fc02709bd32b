"""Many rows in one execution: sealed at once, each for its own place and under its own key."""

from __future__ import annotations

import pytest
from sqlalchemy import String, create_engine, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.branch_key import BranchKey
from encfields.engine import engine_encryption
from encfields.errors import KeyUnavailableError
from encfields.message import read_header
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Member(Base):
    __tablename__ = "member_at_once"
    tenant: Mapped[str] = mapped_column(String(20), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ssn: Mapped[str] = mapped_column(EncryptedType(String(20), key="tenant/{tenant}"))
    note: Mapped[str | None] = mapped_column(EncryptedType(String(20), key="notes"))


class Watched(SqlKeyStore):
    """A key store that can be out of reach, and knows how often it was asked."""

    is_down = False
    asked = 0

    def active(self, key_id: str) -> BranchKey:
        self.asked += 1
        if self.is_down:
            raise KeyUnavailableError("the key store is out of reach", key_id=key_id)
        return super().active(key_id)


ROWS = [
    {
        "tenant": f"t{number % 3}",
        "id": number,
        "ssn": f"ssn {number}",
        "note": f"note {number}" if number % 2 else None,
    }
    for number in range(20)
]


@pytest.fixture
def engine():
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_each_is_for_its_own_row_and_column_under_its_own_key(engine):
    attached = attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    with engine.begin() as connection:
        connection.execute(insert(Member), ROWS)

    assert engine_encryption(attached).stats.sealed == 30
    with engine.connect() as connection:
        assert [dict(row) for row in connection.execute(select(Member)).mappings()] == ROWS
        stored = connection.execute(text("SELECT tenant, ssn, note FROM member_at_once")).all()
    for tenant, ssn, note in stored:
        assert read_header(ssn).key_id == f"tenant/{tenant}"
        assert note is None or read_header(note).key_id == "notes"


def test_an_unreachable_key_store_is_called_once_and_the_error_names_the_first_row(engine):
    store = Watched(keyrings.local(bytes(32)))
    attached = attach(engine, store, create=True)
    attached.keys.create("notes")
    rows = [{**row, "ssn": None, "tenant": "t"} for row in ROWS[1::2]]
    store.is_down, store.asked = True, 0
    with engine.connect() as connection, pytest.raises(KeyUnavailableError) as raised:
        connection.execute(insert(Member), rows)

    assert store.asked == 1
    error = raised.value
    assert (error.table, error.column) == ("member_at_once", "note")
    assert error.row == {"tenant": "t", "id": "1"}
