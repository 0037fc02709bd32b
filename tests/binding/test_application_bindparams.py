"""A bind of the application's own name is written as a value is; one bind is one ciphertext."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Integer,
    String,
    bindparam,
    false,
    insert,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError, CiphertextCopyError
from tests.database import CANARY, Database


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    plain: Mapped[str | None] = mapped_column(String(20))
    body: Mapped[str | None] = mapped_column("text", EncryptedType(String, index=BlindIndex()))
    title: Mapped[str | None] = mapped_column(EncryptedType(String))


note: Any = Note.__table__
by_default: Any = bindparam("b", value=CANARY)


@pytest.fixture
def notes(sqlite_db: Database) -> Database:
    sqlite_db.create(Base.metadata, is_empty=True)
    with sqlite_db.session() as session:
        session.add_all(Note(id=n, body=f"body-{n}", title=f"title-{n}") for n in (1, 2))
        session.commit()
    return sqlite_db


def upsert(set_: Any) -> Any:
    made = sqlite.insert(note).on_conflict_do_update(index_elements=["id"], set_=set_)
    return made.values(id=1, text="new")


ROWS = [{"id": 3, "b3": "third"}, {"id": 4, "b3": "fourth"}]
BOTH = [{"id": 3, "text": bindparam("b3")}, {"id": 4, "text": bindparam("b4")}]

WRITTEN: dict[str, tuple[Any, Any, set[tuple[int, str]]]] = {
    "INSERT": (insert(note).values(id=3, text=by_default), {}, {(3, CANARY)}),
    "INSERT of a class": (insert(Note).values(id=3, body=by_default), {}, {(3, CANARY)}),
    "INSERT of rows": (
        insert(note).values(BOTH),
        {"b3": "third", "b4": "fourth"},
        {(3, "third"), (4, "fourth")},
    ),
    "INSERT of many": (
        insert(note).values(text=bindparam("b3", value="none")),
        ROWS,
        {(3, "third"), (4, "fourth")},
    ),
    "UPDATE": (update(note).values(text=by_default).where(note.c.id == 1), {}, {(1, CANARY)}),
    "UPDATE of a class": (
        update(Note).values(body=by_default).where(Note.id == 1),
        {"b": "given"},
        {(1, "given")},
    ),
    "UPDATE in order": (
        update(note).ordered_values((note.c.text, by_default)).where(note.c.id == 1),
        {},
        {(1, CANARY)},
    ),
    "upsert": (upsert({"text": by_default}), {}, {(1, CANARY)}),
    "upsert of a literal": (upsert({"text": literal(CANARY)}), {}, {(1, CANARY)}),
    "upsert of its inserted value": (
        upsert({"text": bindparam("b")}).values(text=bindparam("b")),
        {"b": "both"},
        {(1, "both")},
    ),
}


@pytest.mark.parametrize("statement, given, expected", WRITTEN.values(), ids=WRITTEN)
def test_its_value_is_sealed_and_indexed(
    notes: Database, statement: Any, given: Any, expected: set[tuple[int, str]]
) -> None:
    for _ in range(2):  # as it is compiled, and as it is cached
        with notes.session() as session:
            session.execute(statement, given)
            values = [value for _, value in expected]
            found = session.execute(select(Note.id, Note.body).where(Note.body.in_(values)))
            assert {tuple(row) for row in found} == expected
            session.rollback()
    with notes.session() as session:
        session.execute(statement, given)
        session.commit()
    notes.assert_no_plaintext()


SHARED: dict[str, Callable[[], Any]] = {
    "two columns": lambda: insert(note).values(id=3, text=by_default, title=by_default),
    "two columns of an UPDATE": lambda: (
        update(note).values(text=by_default, title=by_default).where(note.c.id == 1)
    ),
    "two rows": lambda: insert(note).values(
        [{"id": 3, "text": by_default}, {"id": 4, "text": by_default}]
    ),
    "a plain column": lambda: insert(note).values(id=3, text=by_default, plain=by_default),
    "VALUES and SET": lambda: upsert({"text": by_default}).values(title=by_default),
    "two columns of SET": lambda: upsert({"text": by_default, "title": by_default}),
}


@pytest.mark.parametrize("statement", SHARED.values(), ids=SHARED)
def test_one_bind_for_two_places_is_refused(notes: Database, statement: Callable[[], Any]) -> None:
    with (
        notes.refused(AmbiguousRowError, note) as caught,
        notes.begin() as connection,
    ):
        connection.execute(statement())
    assert caught.value.table == "note"
    assert caught.value.column in ("text", "title")
    assert "'b' is given to this column" in caught.value.message
    assert "a bind of its own name" in caught.value.message


def test_a_type_that_was_chosen_is_refused(notes: Database) -> None:
    chosen = bindparam("b", CANARY, String(20))
    for statement in (insert(note).values(id=3, text=chosen), upsert({"text": chosen})):
        with notes.refused(CiphertextCopyError, note), notes.begin() as connection:
            connection.execute(statement)


@pytest.mark.parametrize("is_indexed", [False, True], ids=["as it is", "with an index"])
def test_a_boolean_takes_the_constants_of_sql(db: Database, is_indexed: bool) -> None:
    class Own(DeclarativeBase):
        pass

    class Switch(Own):
        __tablename__ = "switch"
        id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
        on: Mapped[bool | None] = mapped_column(
            EncryptedType(
                Boolean(), index=BlindIndex(accept_leakage="a test") if is_indexed else None
            )
        )

    db.create(Own.metadata)
    told: list[Any] = []
    with db.session() as session:
        switch = Switch(id=1, on=true())
        session.add(switch)
        session.execute(insert(Switch).values([{"id": 2, "on": false()}, {"id": 3, "on": true()}]))
        session.commit()
        told.append({s.id: s.on for s in session.scalars(select(Switch))})
        switch.on = false()
        session.execute(update(Switch).where(Switch.id == 2).values(on=true()))
        make: Any = {"sqlite": sqlite, "postgresql": postgresql}.get(db.engine.dialect.name)
        if make is not None:
            upserted = make.insert(Switch).values(id=3, on=None)
            session.execute(
                upserted.on_conflict_do_update(index_elements=["id"], set_={"on": false()})
            )
        session.commit()
        told.append({s.id: s.on for s in session.scalars(select(Switch))})
        if is_indexed:
            told.append(session.scalars(select(Switch.id).where(Switch.on.is_(True))).all())
    assert told[0] == {1: True, 2: False, 3: True}
    assert told[1] == {1: False, 2: True, 3: make is None}
    assert told[2:] == ([[2] if make else [2, 3]] if is_indexed else [])
