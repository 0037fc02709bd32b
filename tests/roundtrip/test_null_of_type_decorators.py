"""A TypeDecorator may have a value for NULL, or NULL for a value, as in a plain column."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError
from tests.attached import attach_with_kept_keys


class Words(sa.TypeDecorator[list[str]]):
    """No words are NULL, and NULL is no words."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return ",".join(value) if value else None

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value.split(",") if value else []


class Shouted(sa.TypeDecorator[list[str]]):
    """One that decorates another, and does not know of NULL."""

    impl = Words
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return [word.upper() for word in value]


class NotNull(sa.TypeDecorator[str]):
    """What is not known is stored as a text."""

    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return "unknown" if value is None else value


class NoneIsText(NotNull):
    """One that has ``None`` compared as the text that it stores for it."""

    cache_ok = True
    coerce_to_is_types = ()


class EmptyIsNull(sa.TypeDecorator[str]):
    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value or None


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    words: Mapped[Any | None] = mapped_column(EncryptedType(Words))
    plain_words: Mapped[Any | None] = mapped_column(Words)
    shouted: Mapped[Any | None] = mapped_column(EncryptedType(Shouted))
    plain_shouted: Mapped[Any | None] = mapped_column(Shouted)
    state: Mapped[Any | None] = mapped_column(EncryptedType(NotNull, index=BlindIndex()))
    plain_state: Mapped[Any | None] = mapped_column(NotNull)
    mail: Mapped[Any | None] = mapped_column(EncryptedType(EmptyIsNull, index=BlindIndex()))
    plain_mail: Mapped[Any | None] = mapped_column(EmptyIsNull)
    ward: Mapped[Any | None] = mapped_column(EncryptedType(NoneIsText, index=BlindIndex()))
    plain_ward: Mapped[Any | None] = mapped_column(NoneIsText)


NAMES = ("words", "shouted", "state", "mail")


@pytest.fixture
def session(sqlite):
    engine = sqlite.create_engine()
    attach_with_kept_keys(engine, bytes(32))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def write(session: Session, key: int, **values: Any) -> None:
    twice = {f"plain_{name}": value for name, value in values.items()}
    session.add(Note(id=key, **values, **twice))
    session.commit()
    session.expunge_all()


def read(session: Session, key: int) -> dict[str, Any]:
    """What is read of a row, which is what is read of its plain columns."""
    note = session.get_one(Note, key)
    sealed = {name: getattr(note, name) for name in NAMES}
    assert sealed == {name: getattr(note, f"plain_{name}") for name in NAMES}
    session.expunge_all()
    return sealed


def nulls(session: Session, prefix: str = "") -> list[bool]:
    """Whether each column of the one row is NULL in the database."""
    columns = [getattr(Note, prefix + name).is_(None) for name in NAMES]
    return list(session.execute(sa.select(*columns)).one())


def test_what_it_makes_of_null_is_read(session):
    write(session, 1)
    assert read(session, 1) == {"words": [], "shouted": [], "state": "unknown", "mail": None}
    core = sa.select(Note.words, Note.plain_words, Note.shouted, Note.plain_shouted)
    assert session.execute(core).one() == ([], [], [], [])


def test_what_it_stores_for_none_is_sealed(session):
    write(session, 1, state=None)
    assert nulls(session) == nulls(session, "plain_") == [True, True, False, True]


def test_a_value_of_which_it_makes_null_is_stored_as_null(session):
    write(session, 1, words=[], shouted=[], state="", mail="")
    assert read(session, 1) == {"words": [], "shouted": [], "state": "", "mail": None}
    assert nulls(session) == nulls(session, "plain_") == [True, True, False, True]


def test_a_value_is_written_over_null_and_null_over_a_value(session):
    write(session, 1, words=["a", "b"], shouted=["c"], state="well", mail="a@example.org")
    note = session.get_one(Note, 1)
    for name in NAMES:
        value = None if name == "state" else ""
        setattr(note, name, value)
        setattr(note, f"plain_{name}", value)
    session.commit()
    assert read(session, 1) == {"words": [], "shouted": [], "state": "unknown", "mail": None}
    statement = sa.update(Note).where(Note.id == 1).values(words=["d"], plain_words=["d"])
    session.execute(statement.values(mail="x", plain_mail="x"))
    assert read(session, 1)["words"] == ["d"]


@pytest.mark.parametrize(
    "criterion, found",
    [
        (lambda note: note("state") == "unknown", [1]),
        (lambda note: note("state").in_(["unknown", "well"]), [1, 2]),
        (lambda note: note("state") != "well", [1]),
        (lambda note: note("state").is_(None), []),
        (lambda note: note("mail") == "", []),
        (lambda note: note("mail") != "", []),
        (lambda note: note("mail").is_(None), [1]),
        (lambda note: note("mail").in_(["", "a@example.org"]), [2]),
        (lambda note: note("mail").is_distinct_from(""), [2]),
        (lambda note: note("mail").is_not_distinct_from(""), [1]),
        (lambda note: ~note("mail").is_distinct_from(""), [1]),
        (lambda note: ~note("mail").is_not_distinct_from(""), [2]),
        (lambda note: note("state").is_distinct_from(None), [1, 2]),
        (lambda note: note("ward") == None, [1]),  # noqa: E711
        (lambda note: note("ward") != None, [2]),  # noqa: E711
        (lambda note: ~(note("ward") == None), [2]),  # noqa: E711
        (lambda note: note("ward").is_distinct_from(None), [2]),
        (lambda note: note("ward").is_not_distinct_from(None), [1]),
    ],
)
def test_rows_are_looked_up_as_in_a_plain_column(session, criterion, found):
    write(session, 1, state=None, mail="", ward=None)
    write(session, 2, state="well", mail="a@example.org", ward="A")
    for prefix in ("", "plain_"):
        where = criterion(lambda name, prefix=prefix: getattr(Note, prefix + name))
        notes = session.scalars(sa.select(Note).where(where).order_by(Note.id)).all()
        assert [note.id for note in notes] == found
        assert session.scalars(sa.select(Note.id).where(where).order_by(Note.id)).all() == found


@pytest.mark.parametrize(
    "criterion",
    [
        lambda: Note.mail.is_distinct_from(None),
        lambda: ~Note.mail.is_distinct_from(""),
        lambda: Note.ward.is_not_distinct_from(None),
        lambda: Note.ward != None,  # noqa: E711
    ],
)
def test_the_session_sees_what_the_database_found(session, criterion):
    session.add_all([Note(id=1, mail="", ward=None), Note(id=2, mail="a@example.org", ward="A")])
    session.commit()
    notes = session.scalars(sa.select(Note).order_by(Note.id)).all()
    found = session.scalars(sa.select(Note.id).where(criterion())).all()
    session.execute(sa.update(Note).where(criterion()).values(plain_mail="seen"))
    assert [note.id for note in notes if note.plain_mail == "seen"] == found


def test_a_value_for_none_needs_its_row_as_any_other(session):
    write(session, 1, state="well", mail="a@example.org")
    session.execute(sa.update(Note).values(mail=None))
    with pytest.raises(AmbiguousRowError):
        session.execute(sa.update(Note).values(state=None))
