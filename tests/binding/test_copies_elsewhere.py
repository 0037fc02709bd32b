"""A column that is not encrypted is given no ciphertext in the place of a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    LargeBinary,
    String,
    column,
    insert,
    literal_column,
    select,
    text,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from encfields.errors import CiphertextCopyError
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Letter(Base):
    __tablename__ = "letter"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    shown: Mapped[str | None]
    kept: Mapped[bytes | None]
    secret: Mapped[str | None] = mapped_column(EncryptedType(String(20)))
    scan: Mapped[bytes | None] = mapped_column(EncryptedType(LargeBinary))


class Archive(Base):
    __tablename__ = "archive"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    shown: Mapped[str | None]


letter: Any = Letter.__table__
archive: Any = Archive.__table__
new = upsert(letter).values(id=1, secret="new")
secret = select(letter.c.secret).where(letter.c.id == 1).scalar_subquery()

COPIES: dict[str, Callable[[], Any]] = {
    "UPDATE": lambda: update(letter).values(shown=letter.c.secret),
    "an UPDATE by the ORM": lambda: update(Letter).values({Letter.shown: Letter.secret}),
    "UPDATE .. FROM": lambda: (
        update(archive).where(archive.c.id == letter.c.id).values(shown=letter.c.secret)
    ),
    "a subquery": lambda: update(archive).values(shown=secret),
    "VALUES": lambda: insert(archive).values(id=2, shown=secret),
    "VALUES of several rows": lambda: insert(archive).values([{"id": 2, "shown": secret}]),
    "INSERT .. SELECT": lambda: insert(archive).from_select(
        ["id", "shown"], select(letter.c.id, letter.c.secret.label("shown"))
    ),
    "a name": lambda: update(letter).values(shown=literal_column("secret")),
    "a text": lambda: update(letter).values(shown=text("letter.secret")),
    "a text of another table": lambda: (
        update(archive).where(archive.c.id == letter.c.id).values(shown=text("secret"))
    ),
    "a name in a subquery": lambda: update(archive).values(
        shown=select(column("secret")).select_from(letter).scalar_subquery()
    ),
    "a text that a subquery selects": lambda: update(archive).values(
        shown=select(text("secret")).select_from(letter).scalar_subquery()
    ),
    "a text in INSERT .. SELECT": lambda: insert(archive).from_select(
        ["id", "shown"], select(text("id"), text("letter.secret")).select_from(letter)
    ),
    "a name in INSERT .. SELECT": lambda: insert(archive).from_select(
        ["id", "shown"], select(letter.c.id, literal_column("letter.secret"))
    ),
    "a name in a UNION": lambda: insert(archive).from_select(
        ["id", "shown"],
        union_all(
            select(archive.c.id, archive.c.shown),
            select(letter.c.id, literal_column("secret")),
        ),
    ),
    "the inserted value": lambda: new.on_conflict_do_update(
        index_elements=["id"], set_={"shown": new.excluded.secret}
    ),
    "an upsert's own row": lambda: new.on_conflict_do_update(
        index_elements=["id"], set_={"shown": letter.c.secret}
    ),
    "bytes among bytes": lambda: update(letter).values(kept=letter.c.scan),
}


@pytest.fixture
def session(sqlite_db):
    sqlite_db.create(Base.metadata)
    with sqlite_db.session() as session:
        session.add_all([Letter(id=1, secret="x", scan=b"y"), Archive(id=1)])
        session.commit()
        yield session


@pytest.mark.parametrize("name", COPIES)
def test_ciphertext_is_no_value_of_another_column(session, name):
    with pytest.raises(CiphertextCopyError) as caught:
        session.execute(COPIES[name]())
    assert caught.value.column in {"secret", "scan"}
    assert caught.value.reason == "elsewhere"


def test_a_column_of_bytes_may_keep_a_message(session):
    session.execute(update(letter).values(kept=literal_column("secret"), shown=text("id")))
    session.execute(update(letter).values(kept=letter.c.secret))
    kept, message = session.execute(
        select(letter.c.kept, type_coerce(letter.c.secret, LargeBinary))
    ).one()
    assert kept == message
    session.execute(update(letter).values(kept=type_coerce(letter.c.scan, LargeBinary)))
