"""``None`` in a JSON column is what it is to SQLAlchemy: JSON's null, unless declared as NULL."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import ARRAY, JSON, Integer, String, bindparam, insert, null, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import declarative_base, mapped_column
from sqlalchemy.types import TypeDecorator

from encfields import EncryptedType
from encfields.errors import AmbiguousRowError
from tests.database import Database


class Settings(TypeDecorator[Any]):
    """A type of the application's own over JSON; it has nothing to say about None."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else {"settings": value}

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value["settings"]


class Numbers(TypeDecorator[Any]):
    """A list of numbers: an array where the database has arrays, JSON elsewhere."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        is_array = dialect.name == "postgresql"
        return dialect.type_descriptor(ARRAY(Integer) if is_array else JSON())


NAMES = ("json", "nullable", "own", "text")


def _model(base: Any, name: str, wrap: Any) -> Any:
    names: dict[str, Any] = {
        "__tablename__": name,
        "id": mapped_column(Integer, primary_key=True),
        "json": mapped_column(wrap(JSON())),
        "nullable": mapped_column(wrap(JSON(none_as_null=True))),
        "own": mapped_column(wrap(Settings())),
        "text": mapped_column(wrap(String(9))),
        "numbers": mapped_column(wrap(Numbers())),
        "strict": mapped_column(wrap(JSON()), nullable=False, default=list),
    }
    return type(name.title(), (base,), names)


@pytest.fixture
def twins(db: Database) -> SimpleNamespace:
    """The same columns in plaintext and encrypted."""
    base: Any = declarative_base()
    plain = _model(base, "plain", lambda type_: type_)
    encrypted = _model(base, "encrypted", EncryptedType)
    db.create(base.metadata)
    return SimpleNamespace(db=db, both=(plain, encrypted), encrypted=encrypted)


def _seen(session: Any, model: Any) -> list[Any]:
    """The values of each row, and which of them are NULL."""
    columns = [getattr(model, name) for name in NAMES]
    nulls = [column.is_(None) for column in columns]
    rows = session.execute(select(*columns, *nulls).order_by(model.id)).all()
    return [(row[:4], [bool(flag) for flag in row[4:]]) for row in rows]


def _agreed(twins: SimpleNamespace, session: Any) -> list[Any]:
    plain, encrypted = (_seen(session, model) for model in twins.both)
    assert encrypted == plain
    return encrypted


def test_a_flush_stores_what_it_stores_of_plaintext(twins):
    with twins.db.session() as session:
        for model in twins.both:
            session.add_all(
                [
                    model(),
                    model(**dict.fromkeys(NAMES)),
                    model(json=JSON.NULL, nullable=JSON.NULL, own=5, text="x"),
                    model(json=null(), nullable=null(), own=null(), text=null()),
                    model(json={"a": 1}, nullable=[], own={}, text=None),
                ]
            )
            session.commit()
        assert _agreed(twins, session)[1] == ((None,) * 4, [False, True, False, True])


def test_an_update_stores_what_it_stores_of_plaintext(twins):
    with twins.db.session() as session:
        for model in twins.both:
            session.add_all(model(json=[1], nullable=[1], own=[1], text="x") for _ in range(4))
            session.commit()
            ids = session.scalars(select(model.id).order_by(model.id)).all()
            one = session.get_one(model, ids[0])
            one.json = one.nullable = one.own = one.text = None
            two = session.get_one(model, ids[1])
            two.json = two.nullable = two.own = null()
            session.commit()
            session.execute(update(model).where(model.id == ids[2]).values(dict.fromkeys(NAMES)))
            session.execute(update(model), [{"id": ids[3], "json": None, "own": None}])
            session.commit()
        assert _agreed(twins, session)[0] == ((None,) * 4, [False, True, False, True])


def test_many_rows_of_core_hold_what_they_hold_of_plaintext(twins):
    rows: list[dict[str, Any]] = [
        {"json": None, "nullable": [1], "own": None, "text": None},
        {"json": [1], "nullable": None, "own": 1, "text": "x"},
        {"json": JSON.NULL, "nullable": JSON.NULL, "own": None, "text": "y"},
    ]
    with twins.db.session() as session:
        for model in twins.both:
            table = model.__table__
            session.connection().execute(insert(table), rows)
            session.connection().execute(insert(table).values(rows))
            some = [{"key": 1, **rows[0]}, {"key": 2, **rows[1]}]
            changed = update(table).where(table.c.id == bindparam("key"))
            session.connection().execute(
                changed.values({name: bindparam(name) for name in NAMES}), some
            )
        assert len(_agreed(twins, session)) == 6


def test_a_column_that_is_not_nullable_takes_none(twins):
    with twins.db.session() as session:
        for model in twins.both:
            session.add(model(strict=None))
            session.commit()
            assert session.scalars(select(model.strict)).one() is None
            session.add(model(strict=null()))
            with pytest.raises(IntegrityError):
                session.commit()
            session.rollback()


def test_none_is_sealed_for_its_row(twins):
    """So nobody can tell it from a value, or put it in another row."""
    model = twins.encrypted
    with twins.db.session() as session:
        session.add(model(id=1, json=None))
        session.commit()
    assert twins.db.stored(model.json, 1).startswith(b"\x02")
    with twins.db.session() as session:
        with pytest.raises(AmbiguousRowError):
            session.execute(update(model).values(json=None))
        session.execute(update(model).values(json=null()))
        session.commit()
    assert twins.db.stored(model.json, 1) is None


def test_none_is_null_where_a_type_over_json_stores_something_else(twins):
    """On PostgreSQL the type stores an array, which has no null of JSON's."""
    seen = []
    with twins.db.session() as session:
        for model in twins.both:
            session.add_all([model(id=1, numbers=None), model(id=2, numbers=[1, 2])])
            session.add_all([model(id=3, numbers=[]), model(id=4)])
            session.commit()
            session.get_one(model, 2).numbers = None
            session.commit()
            session.execute(insert(model), [{"id": 5, "numbers": None}, {"id": 6, "numbers": [3]}])
            session.execute(update(model), [{"id": 6, "numbers": None}])
            rows = select(model.numbers, model.numbers.is_(None)).order_by(model.id)
            seen.append([(row[0], bool(row[1])) for row in session.execute(rows)])
    assert seen[0] == seen[1]
