"""No frame that an error passed through holds a key or a value: error trackers record them."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from types import FrameType, FunctionType, ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine, String, delete, insert, select, text, update
from sqlalchemy.ext import serializer
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType, Encryption, attach
from encfields.engine import engine_encryption
from encfields.errors import EncFieldsError, TamperedError
from encfields.message import open_with_data_key, read_header
from encfields.testing import assert_absent, assert_absent_from_frames, attach_locally, local_store
from encfields.testing.search import SQLALCHEMY, chain_of
from encfields.traces import leaves_no_trace
from tests.attached import attach_with_kept_keys
from tests.leaks.model import (
    APPLICATION,
    SSN,
    Base,
    Patient,
    assert_nothing_shows,
    secrets_of_a_patient,
)
from tests.servers.backends import AsyncBackend, Backend

OTHER = "canary-4712-ssn"


def _fill(session: Session) -> None:
    session.add_all(
        [
            Patient(id=1, name="a", **secrets_of_a_patient()),
            Patient(id=2, name="b", **{**secrets_of_a_patient(), "ssn": OTHER}),
        ]
    )
    session.commit()


def _flip(engine: Engine, place: int = -1) -> bytes:
    """Alter one byte of the first patient's number; what was stored before."""
    with engine.begin() as connection:
        sealed = bytes(connection.scalar(text("SELECT ssn FROM patient WHERE id = 1")))
        altered = bytearray(sealed)
        altered[place] ^= 1
        connection.execute(text("UPDATE patient SET ssn = :v WHERE id = 1"), {"v": bytes(altered)})
    return sealed


class Clinic:
    """Two patients in a database, and the encryption that they went through."""

    def __init__(self, backend: Backend) -> None:
        self.engine = backend.create_engine()
        self.encryption: Encryption = attach_with_kept_keys(self.engine)
        Base.metadata.create_all(self.engine)
        with Session(self.engine) as session:
            _fill(session)
        self.branch_key = engine_encryption(self.encryption).active_key("default").material

    def error(self, action: Callable[[Session], object]) -> EncFieldsError:
        with Session(self.engine) as session, pytest.raises(EncFieldsError) as caught:
            action(session)
        return caught.value


@pytest.fixture
def clinic(backend: Backend) -> Clinic:
    return Clinic(backend)


def _opens(message: bytes, value: object) -> bool:
    if not isinstance(value, bytes) or len(value) != 32:
        return False
    try:
        open_with_data_key(message, read_header(message), value)
    except EncFieldsError:
        return False
    return True


def _assert_no_key(error: BaseException, message: bytes, branch_key: bytes) -> None:
    """Nothing in any frame opens the message."""
    assert_absent_from_frames(branch_key, error, may_hold=APPLICATION)
    for one in chain_of(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            found = [name for name, value in frame.f_locals.items() if _opens(message, value)]
            assert not found, f"{found} of {frame.f_code.co_qualname}"


READS: dict[str, Callable[[Session], object]] = {
    "get": lambda session: session.get(Patient, 1),
    "entities": lambda session: session.scalars(select(Patient)).all(),
    "good rows first": lambda session: session.scalars(
        select(Patient).order_by(Patient.id.desc())
    ).all(),
    "columns": lambda session: session.execute(
        select(Patient.notes, Patient.ssn).order_by(Patient.id.desc())
    ).all(),
}


@pytest.mark.parametrize("place", [-1, 10, 300], ids=["body", "message id", "middle"])
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_value_that_was_altered_leaves_no_key_and_no_other_value(
    clinic: Clinic, read: Callable[[Session], object], place: int
) -> None:
    message = _flip(clinic.engine, place)
    error = clinic.error(read)
    _assert_no_key(error, message, clinic.branch_key)
    assert_nothing_shows(error, but_of=())
    assert_absent_from_frames(OTHER, error, may_hold=APPLICATION)


def test_in_a_stream_only_sqlalchemy_holds_the_rows_that_it_handed_out(clinic: Clinic) -> None:
    """A limit: the rows before the altered one are in the frame of SQLAlchemy's that chunks."""
    message = _flip(clinic.engine)
    backwards = select(Patient).order_by(Patient.id.desc()).execution_options(yield_per=1)

    def read(session: Session) -> None:
        with session.execute(backwards) as result:
            list(result)

    error = clinic.error(read)
    _assert_no_key(error, message, clinic.branch_key)
    assert_nothing_shows(error, but_of=(SQLALCHEMY,))


def test_a_value_that_was_altered_and_is_opened_without_a_column(clinic: Clinic) -> None:
    sealed = clinic.encryption.seal(SSN.encode(), {"file": "a"})
    altered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    with pytest.raises(TamperedError) as caught:
        clinic.encryption.open(altered, {"file": "a"})
    _assert_no_key(caught.value, sealed, clinic.branch_key)


def test_a_context_that_cannot_be_sealed_for_leaves_no_plaintext(clinic: Clinic) -> None:
    with pytest.raises(EncFieldsError) as caught:
        clinic.encryption.seal(SSN.encode(), {"file": "x" * 70_000})
    assert_absent_from_frames(SSN, caught.value, may_hold=APPLICATION)


async def test_an_altered_value_beside_an_event_loop(async_backend: AsyncBackend) -> None:
    engine = async_backend.create_engine()
    encryption = attach(engine, local_store(), create=True)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        await session.run_sync(_fill)
    message = _flip(async_backend.sync.create_engine())
    branch_key = engine_encryption(encryption).active_key("default").material
    async with AsyncSession(engine) as session:
        with pytest.raises(TamperedError) as caught:
            await session.scalars(select(Patient).order_by(Patient.id.desc()))
    _assert_no_key(caught.value, message, branch_key)
    assert_nothing_shows(caught.value, but_of=())
    async with engine.connect() as connection:
        with pytest.raises(TamperedError) as raised:
            (await connection.execute(select(Patient.notes, Patient.ssn))).all()
    _assert_no_key(raised.value, message, branch_key)
    assert_nothing_shows(raised.value, but_of=())


# -- the door itself ---------------------------------------------------------------------------


@leaves_no_trace
def _fails(secret: str, error: Exception) -> None:
    try:
        raise KeyError("inner")
    except KeyError:
        local = secret
        raise error from ValueError(str(len(local)))


def _raised(error: Exception) -> BaseException:
    with pytest.raises(type(error)) as caught:
        _fails(SSN, error)
    return caught.value


def test_no_frame_of_an_error_or_of_what_it_is_chained_to_is_left() -> None:
    error = _raised(EncFieldsError("refused"))
    assert error.__cause__ is not None
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert names == ["_raised", "door"]
    assert isinstance(error.__cause__, ValueError)
    assert_absent_from_frames(SSN, error, may_hold=APPLICATION)


def test_an_error_of_the_application_s_own_says_where_it_was_raised() -> None:
    error = _raised(ZeroDivisionError("oops"))
    (note,) = error.__notes__
    assert "in _fails" in note
    assert_absent_from_frames(SSN, error, may_hold=APPLICATION)


def test_what_the_application_was_handling_keeps_its_traceback() -> None:
    seen: list[Any] = []
    try:
        raise LookupError("the application's")
    except LookupError as handled:
        seen += [handled, _raised(EncFieldsError("refused")).__context__]
    assert seen[0] is seen[1] is not None
    assert seen[0].__traceback__ is not None


# -- what outlives a statement -----------------------------------------------------------------


class Base2(DeclarativeBase):
    pass


class Member(Base2):
    __tablename__ = "member"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String, index=BlindIndex()))
    note: Mapped[str | None] = mapped_column(EncryptedType(String))


def _look_up_and_write(engine: Engine, canary: str) -> None:
    with Session(engine) as session:
        session.add(Member(id=1, ssn=f"{canary}-a", note=f"{canary}-b"))
        session.commit()
        sought = Member.ssn == f"{canary}-a"
        assert session.scalars(select(Member).where(sought)).one().id == 1
        assert session.scalars(select(Member).where(Member.ssn.in_([f"{canary}-a"]))).all()
        assert not session.scalars(select(Member).where(Member.ssn != f"{canary}-a")).all()
        session.execute(update(Member).where(Member.id == 1).values(note=f"{canary}-c"))
        session.execute(insert(Member).values(id=2, ssn=f"{canary}-d"))
        session.execute(delete(Member).where(Member.ssn == f"{canary}-d"))
        session.commit()
    with Session(engine) as session:
        assert [(m.ssn, m.note) for m in session.scalars(select(Member))] == [
            (f"{canary}-a", f"{canary}-c")
        ]


def _kept_in_cache(engine: Engine, canary: str) -> list[str]:
    """What SQLAlchemy's compiled statements lead to that starts with the canary."""
    cache: Any = engine._compiled_cache
    waiting: list[Any] = [cache]
    seen: dict[int, Any] = {}
    found: list[str] = []
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and one.startswith(canary):
            found.append(one)
        # Modules and classes lead to everything, and frames to this test.
        if id(one) in seen or isinstance(one, type | ModuleType | FrameType | FunctionType):
            continue
        seen[id(one)] = one
        waiting += gc.get_referents(one)
    assert len(seen) > 100
    return found


def test_compiled_statements_keep_no_value(backend: Backend) -> None:
    engine = backend.create_engine()
    attach_locally(engine)
    Base2.metadata.create_all(engine)
    canary = "-".join(["canary", "cached"])
    _look_up_and_write(engine, canary)
    assert _kept_in_cache(engine, canary) == []


def test_a_statement_that_is_made_once_asks_for_its_value_each_time(backend: Backend) -> None:
    engine = backend.create_engine()
    attach_locally(engine)
    Base2.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Member(id=n, ssn=f"ssn-{n}") for n in (1, 2)])
        session.commit()
        one = [select(Member.id).where(Member.ssn == f"ssn-{n}") for n in (1, 2)]
        for _ in range(2):
            assert [session.scalars(statement).all() for statement in one] == [[1], [2]]
        # A pickled statement comes back with its value in the bind, and shares the cache.
        again = serializer.loads(serializer.dumps(one[1]), Base2.metadata)
        assert session.scalars(again).all() == [2]
        assert session.scalars(one[0]).all() == [1]


def test_a_bind_shows_nothing_of_its_value() -> None:
    compared: Any = Member.ssn == SSN
    assert_absent(SSN, repr(compared.right), repr(vars(compared.right)))
