"""A row is given another one's blind index, so that a look-up for that one's value finds it."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest
from sqlalchemy import (
    Engine,
    ForeignKey,
    String,
    Table,
    and_,
    bindparam,
    func,
    or_,
    select,
    text,
    true,
    union,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    contains_eager,
    defer,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType, Encryption, attach, blind
from encfields.index.transforms import casefold
from encfields.orm.declare.table_indexes import indexes_of
from encfields.testing import assert_absent, local_store
from tests.attached import attach_with_kept_keys, create_kept_key
from tests.servers.backends import AsyncBackend, Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

ADMIN, MALLORY = "token-of-the-admin", "token-of-mallory"


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "usr"
    __table_args__ = (CompoundBlindIndex("both", "token", "mail"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[str] = mapped_column(String(9))
    tenant: Mapped[int]
    token: Mapped[str | None] = mapped_column(EncryptedType(String, index=BlindIndex()))
    mail: Mapped[str | None] = mapped_column(EncryptedType(String, index=BlindIndex(casefold)))
    code: Mapped[str | None] = mapped_column(
        EncryptedType(String, key="tenant/{tenant}", index=BlindIndex())
    )
    notes: Mapped[list[Note]] = relationship(back_populates="user", order_by="Note.id")


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(ForeignKey("usr.id"))
    label: Mapped[str | None] = mapped_column(EncryptedType(String, index=BlindIndex()))
    user: Mapped[User] = relationship(back_populates="notes")


def _user(n: int, role: str, token: str | None) -> User:
    notes = [Note(id=10 * n + m, label=f"note {m}") for m in (0, 1)]
    return User(id=n, role=role, tenant=7, token=token, mail=token, code=token, notes=notes)


def _fill(session: Session) -> None:
    session.add_all([_user(1, "admin", ADMIN), _user(2, "user", MALLORY), _user(3, "user", "x")])
    session.commit()


def _filled(engine: Engine) -> Encryption:
    """Attach to an empty database, and have the admin and two others in it."""
    encryption = attach_with_kept_keys(engine)
    create_kept_key(engine, encryption, "tenant/7")
    Base.metadata.create_all(engine, checkfirst=False)
    with Session(engine) as session:
        _fill(session)
    return encryption


HASHES = [index.index_column.name for index in indexes_of(cast("Table", User.__table__))]


def _copy_hashes(attacker: Engine, source: int, target: int) -> None:
    copied = [f"{n} = (SELECT {n} FROM (SELECT * FROM usr) u WHERE id = {source})" for n in HASHES]
    with attacker.begin() as connection:
        connection.execute(text(f"UPDATE usr SET {', '.join(copied)} WHERE id = {target}"))


def _forge(attacker: Engine) -> None:
    """Give the admin's row the hashes of Mallory's, which lose them."""
    _copy_hashes(attacker, 2, 1)
    with attacker.begin() as connection:
        lost = ", ".join(f"{name} = NULL" for name in HASHES)
        connection.execute(text(f"UPDATE usr SET {lost} WHERE id = 2"))


class Forged:
    """The application's engine, on which the attack has happened."""

    def __init__(self, backend: Backend, attacker: Engine) -> None:
        self.engine = backend.create_engine()
        self.encryption = _filled(self.engine)
        self.attacker = attacker
        _forge(attacker)

    def rows(self, statement: Any, *parameters: Any) -> list[Any]:
        """What the application gets of a statement, and how many rows were reported."""
        before = self.encryption.stats.index_mismatches
        with Session(self.engine) as session:
            rows = list(session.execute(statement, *parameters).unique())
        self.reported = self.encryption.stats.index_mismatches - before
        return rows


@pytest.fixture
def forged(backend: Backend, attacker: Engine) -> Forged:
    return Forged(backend, attacker)


_has_token = User.token == MALLORY
_chosen = select(User).where(_has_token).subquery()
_deeper = select(select(User.id, User.token).where(_has_token).subquery()).subquery()
_cte = select(User.id, User.token).where(_has_token).cte()
_Alias = aliased(User)

_others = (
    select(_Alias, User).join(_Alias, true()).where(_has_token, _Alias.token == "x").subquery()
)
_beside = aliased(_Alias, _others), aliased(User, _others)

_with_notes = select(User).options(joinedload(User.notes)).where(_has_token)
_eager = select(Note).join(Note.user).options(contains_eager(Note.user))

LOOK_UPS: dict[str, Any] = {
    "entity": select(User).where(_has_token),
    "filter_by": select(User).filter_by(token=MALLORY),
    "columns": select(User.role, User.token).where(_has_token),
    "label": select(User.token.label("secret")).where(_has_token),
    "core": select(User.__table__).where(User.__table__.c.token == MALLORY),
    "in": select(User).where(User.token.in_([MALLORY, "another"])),
    "transformed": select(User).where(User.mail.blind("casefold") == MALLORY.upper()),
    "compound": select(User).where(blind(User, "both").matches(token=MALLORY, mail=MALLORY)),
    "of a tenant": select(User).where(User.tenant == 7, User.code == MALLORY),
    "alias": select(_Alias).where(_Alias.token == MALLORY),
    "subquery": select(_chosen.c.role, _chosen.c.id, _chosen.c.token),
    "subquery of a subquery": select(_deeper),
    "cte": select(_cte),
    "entity of a subquery": select(aliased(User, _chosen)),
    "alias of a subquery": select(_chosen.alias()),
    "alias of a cte": select(_cte.alias()),
    "beside another row in a subquery": select(*_beside),
    "any of two": select(User).where(or_(_has_token, User.token == "another")),
    "all within any": select(User).where(or_(and_(_has_token, User.id > 0), User.token == "y")),
    "joined": select(Note.id, User).join(Note.user).where(_has_token),
    "condition of the join": select(Note.id, User).join(User, and_(_has_token, true())),
    "left of an outer join": select(User, Note).outerjoin(User.notes).where(_has_token),
    "joinedload": _with_notes,
    "joinedload with a limit": _with_notes.limit(5),
    "contains_eager": _eager.where(_has_token),
    "selectinload": select(User).options(selectinload(User.notes)).where(_has_token),
    "limit": select(User).where(_has_token).limit(1),
    "grouped": select(User.token, func.count()).where(_has_token).group_by(User.id, User.token),
}


@pytest.mark.parametrize("statement", LOOK_UPS.values(), ids=LOOK_UPS)
def test_a_row_whose_value_is_another_one_is_not_returned(forged: Forged, statement: Any) -> None:
    assert forged.rows(statement) == []
    assert forged.reported > 0


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("statement", LOOK_UPS.values(), ids=LOOK_UPS)
def test_a_row_that_was_asked_for_still_is(
    backend: Backend, statement: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = backend.create_engine()
    encryption = _filled(engine)
    with Session(engine) as session:
        assert list(session.execute(statement).unique())
    assert encryption.stats.index_mismatches == 0
    assert not [record for record in caplog.records if record.name.startswith("encfields")]


def test_the_right_row_is_found_beside_the_forged_one(forged: Forged) -> None:
    with Session(forged.engine) as session:
        session.add(_user(4, "user", MALLORY))
        session.commit()
    with Session(forged.engine) as session:
        assert session.scalars(LOOK_UPS["entity"]).one().id == 4
        assert session.query(User).filter_by(token=MALLORY).one_or_none().id == 4  # type: ignore[union-attr]
        assert [row.id for row in session.scalars(LOOK_UPS["in"])] == [4]


def test_a_row_that_is_hidden_from_what_differs_is_not_returned_either(
    forged: Forged,
) -> None:
    """Mallory's row with the admin's hash: ``!= MALLORY`` would find it."""
    _copy_hashes(forged.attacker, 3, 2)
    for differs in (User.token != MALLORY, User.token.not_in([MALLORY]), ~(User.token == MALLORY)):
        found = forged.rows(select(User.id, User.token).where(differs).order_by(User.id))
        assert [row.id for row in found] == [3]  # the admin's has Mallory's hash
        assert forged.reported == 1


def test_a_null_with_a_hash_is_not_returned(forged: Forged) -> None:
    with forged.attacker.begin() as connection:
        connection.execute(text("UPDATE usr SET token = NULL WHERE id = 1"))
    assert forged.rows(LOOK_UPS["entity"]) == []
    assert forged.reported == 1


def test_what_excludes_nothing_still_finds_rows_without_a_value(forged: Forged) -> None:
    with Session(forged.engine) as session:
        session.add(_user(5, "user", None))
        session.commit()
    found = forged.rows(select(User.id, User.token).where(User.token.not_in([])))
    assert sorted(row.id for row in found) == [1, 2, 3, 5]


def test_a_row_that_also_meets_another_condition_is_returned(forged: Forged) -> None:
    either = select(User).where(or_(User.token == MALLORY, User.role == "admin"))
    assert [row.User.id for row in forged.rows(either)] == [1]
    assert forged.reported == 0


def test_a_stream_and_its_partitions_leave_it_out(forged: Forged) -> None:
    with Session(forged.engine) as session:
        session.add_all([_user(n, "user", MALLORY) for n in range(10, 20)])
        session.commit()
    with Session(forged.engine) as session:
        streamed = session.scalars(LOOK_UPS["entity"].execution_options(yield_per=3))
        assert sorted(user.id for part in streamed.partitions() for user in part) == [
            *range(10, 20)
        ]
    with forged.engine.connect() as connection:
        result = connection.execution_options(stream_results=True).execute(LOOK_UPS["core"])
        assert sorted(row.id for row in result) == [*range(10, 20)]


def test_it_is_found_by_its_key_as_ever(forged: Forged) -> None:
    with Session(forged.engine) as session:
        admin = session.get_one(User, 1)
        assert (admin.token, admin.role) == (ADMIN, "admin")


def test_the_report_names_the_row_once_a_statement_and_no_value(
    forged: Forged, caplog: pytest.LogCaptureFixture
) -> None:
    _copy_hashes(forged.attacker, 1, 3)
    statement = select(User).where(User.token == bindparam("t"))
    with caplog.at_level(logging.WARNING, logger="encfields"):
        assert forged.rows(statement, {"t": MALLORY}) == []
    assert forged.reported == 2
    (record,) = caplog.records
    assert record.getMessage().startswith("usr.token: the blind index 'exact' of the row id='")
    for secret in (ADMIN, MALLORY):
        assert_absent(secret, record)


async def test_an_asyncio_application_does_not_get_it(
    async_backend: AsyncBackend,
) -> None:
    engine = async_backend.create_engine()
    encryption = attach(engine, local_store(), create=True)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        await session.run_sync(_fill)
    _forge(async_backend.sync.create_engine())
    async with AsyncSession(engine) as session:
        assert list(await session.scalars(LOOK_UPS["entity"])) == []
        streamed = await session.stream_scalars(LOOK_UPS["entity"])
        assert [user async for user in streamed] == []
    async with engine.connect() as connection:
        assert (await connection.execute(LOOK_UPS["core"])).all() == []
    assert encryption.stats.index_mismatches == 3


_pairs = select(User.id, User.token)

UNDELIVERED = {
    "another column": select(User.id).where(_has_token),
    "deferred": select(User).options(defer(User.token)).where(_has_token),
    "union": union(
        select(User.id, User.token).where(_has_token),
        select(User.id, User.token).where(User.id < 0),
    ),
    "null side of an outer join": select(Note.id, User.token)
    .outerjoin(User, and_(_has_token, Note.user_id == User.id))
    .where(Note.id == 11, User.id > 0),
    "count": select(func.count()).select_from(User).where(_has_token).having(func.count() > 0),
    "exists": select(true()).where(select(User.id).where(_has_token).exists()),
}


@pytest.mark.parametrize("statement", UNDELIVERED.values(), ids=UNDELIVERED)
def test_the_hash_is_believed_where_the_value_is_not_delivered(
    forged: Forged, statement: Any
) -> None:
    """A limit, which the documentation states."""
    assert len(forged.rows(statement)) == 1
    assert forged.reported == 0
