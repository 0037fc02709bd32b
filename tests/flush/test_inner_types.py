"""What a flush asks the type, an encrypted one answers as its inner type does."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import JSON, Integer, String, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeDecorator

from encfields import EncryptedType


class _NoTruth:
    """Like an array's: a comparison that is not one truth value."""

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


class _Vector:
    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> Any:
        return _NoTruth()

    __hash__ = None  # type: ignore[assignment]


class _VectorType(TypeDecorator[Any]):
    impl = String(50)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value.text

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else _Vector(value)


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    vector = mapped_column(EncryptedType(_VectorType()))
    json = mapped_column(EncryptedType(JSON))
    inner = mapped_column(EncryptedType(String().evaluates_none()), default="default")
    outer = mapped_column(EncryptedType(String()).evaluates_none(), default="default")


@pytest.fixture
def notes(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add(Note(id=1, vector=_Vector("old"), json={"a": 1}, inner=None, outer=None))
        session.commit()
    return db


def test_a_comparison_that_gives_no_truth_value_is_a_change(notes):
    with notes.session() as session:
        one = session.get_one(Note, 1)
        one.vector = _Vector("new")
        session.commit()
        assert session.scalars(select(Note.vector)).one().text == "new"


def test_json_is_no_more_hashable_than_it_was(notes):
    with notes.session() as session:
        assert len(session.query(Note, Note.json).all()) == 1
        with pytest.raises(InvalidRequestError):
            session.execute(select(Note, Note.json)).unique().all()


def test_a_none_that_is_evaluated_is_no_default(notes):
    with notes.session() as session:
        one = session.get_one(Note, 1)
        assert (one.inner, one.outer) == (None, None)
