"""A view, or a table that is made of a SELECT, has the values as the table stores them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Column, Integer, MetaData, String, Table, Text, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import DDLElement

from encfields import BlindIndex, EncryptedType, Plaintext
from encfields.errors import ContextMismatchError, UnsupportedOperationError
from tests.database import Database

MADE = MetaData()
"""The tables; views are not made by create_all()."""

people = Table(
    "person",
    MADE,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("ward", String(20)),
    Column("ssn", EncryptedType(String(20), index=BlindIndex(domain="ssn"))),
    Column("notes", EncryptedType(String(20))),
)

view_of_people = Table(
    "of_ward",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("ssn", EncryptedType(String(20), name="person.ssn", index=BlindIndex(domain="ssn"))),
    Column("said", EncryptedType(String(20), name="person.notes")),
)


class Created(DDLElement):
    """As SQLAlchemy's recipe for views has it, and SQLAlchemy-Utils' ``create_view()``."""

    inherit_cache = False

    def __init__(self, kind: str, selectable: Any) -> None:
        self.kind, self.selectable = kind, selectable


@compiles(Created)
def _compile(element: Created, compiler: Any, **kw: Any) -> str:
    sql = compiler.sql_compiler.process(element.selectable, literal_binds=True)
    return f"CREATE {element.kind} of_ward AS {sql}"


@pytest.fixture
def wards(db: Database) -> Database:
    db.create(MADE)
    with db.begin() as connection:
        rows = [
            {"id": n, "ward": f"w{n % 2}", "ssn": f"ssn-{n}", "notes": f"notes-{n}"}
            for n in (1, 2, 3)
        ]
        connection.execute(people.insert(), rows)
    return db


@contextmanager
def there(db: Database, kind: str, selectable: Any) -> Iterator[None]:
    with db.begin() as connection:
        connection.execute(Created(kind, selectable))
    try:
        yield
    finally:
        db.execute_plain(f"DROP {kind} of_ward")


def _rows(source: Any = people) -> Any:
    c = source.c
    return select(c.id, c.ssn, c.ssn_bidx, c.notes.label("said")).where(c.ward == "w1")


SHAPES: dict[str, Callable[[], Any]] = {
    "a SELECT": _rows,
    "of an alias": lambda: _rows(people.alias()),
    "of a subquery": lambda: _rows(select(people, people.c.ssn_bidx).subquery()),
    "a UNION": lambda: _rows().where(people.c.id == 1).union_all(_rows().where(people.c.id == 3)),
}


@pytest.mark.parametrize("kind", ["VIEW", "TABLE"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_view_or_a_new_table_selects_is_read_and_found_there(
    wards: Database, shape: str, kind: str
) -> None:
    view = view_of_people
    with there(wards, kind, SHAPES[shape]()), wards.begin() as connection:
        rows = connection.execute(select(view.c.id, view.c.ssn, view.c.said).order_by(view.c.id))
        assert [tuple(row) for row in rows] == [(1, "ssn-1", "notes-1"), (3, "ssn-3", "notes-3")]
        found = connection.execute(select(view.c.id, view.c.ssn).where(view.c.ssn == "ssn-3"))
        assert found.all() == [(3, "ssn-3")]


def test_a_view_holds_the_stored_message(wards: Database) -> None:
    stored = wards.stored(people.c.notes, 1)
    with there(wards, "VIEW", _rows()), wards.plain.connect() as connection:
        bare = sqlalchemy.text("SELECT said FROM of_ward WHERE id = 1")
        assert bytes(connection.execute(bare).scalar_one()) == bytes(stored)


def test_a_view_that_is_not_told_whose_values_it_has_says_so(wards: Database) -> None:
    unnamed = Table(
        "of_ward",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("said", EncryptedType(String(20))),
    )
    refused = pytest.raises(ContextMismatchError, match=r"of_ward\.said.*person\.notes")
    with there(wards, "VIEW", _rows()), wards.begin() as connection, refused:
        connection.execute(select(unnamed)).all()


@pytest.mark.skipif(not hasattr(sqlalchemy, "CreateView"), reason="SQLAlchemy 2.1 has it")
@pytest.mark.parametrize("kind", ["CreateView", "CreateTableAs"])
def test_sqlalchemys_own_views_and_tables_made_of_a_select_are_read(
    wards: Database, kind: str
) -> None:
    made = getattr(sqlalchemy, kind)(_rows(), "of_ward")
    view = view_of_people
    try:
        with wards.begin() as connection:
            connection.execute(made)
            rows = connection.execute(select(view.c.ssn).where(view.c.ssn == "ssn-3"))
            assert rows.scalars().all() == ["ssn-3"]
    finally:
        wards.execute_plain("DROP " + ("VIEW" if kind == "CreateView" else "TABLE") + " of_ward")


WRONG: dict[str, Callable[[], Any]] = {
    "ORDER BY": lambda: select(people.c.id).order_by(people.c.notes),
    "GROUP BY": lambda: select(func.count()).group_by(people.c.notes),
    "DISTINCT": lambda: select(people.c.ward, people.c.notes).distinct(),
    "UNION": lambda: select(people.c.notes).union(select(people.c.notes)),
    "in a subquery": lambda: select(select(people.c.ssn).distinct().subquery().c.ssn.is_(None)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_view_that_would_sort_or_group_ciphertext_is_not_made(
    sqlite_db: Database, name: str
) -> None:
    sqlite_db.create(MADE)
    refused = pytest.raises(UnsupportedOperationError, match=r"person\.(notes|ssn): the database")
    with sqlite_db.statements() as seen, sqlite_db.begin() as connection, refused:
        connection.execute(Created("VIEW", WRONG[name]()))
    assert seen == []


def test_a_view_of_a_column_that_is_being_adopted_is_not_made(sqlite_db: Database) -> None:
    adopted = Table(
        "adopted",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column(
            "ssn_enc",
            EncryptedType(Text, name="adopted.ssn", adopts=Plaintext("ssn", phase="read-sealed")),
        ),
    )
    refused = pytest.raises(UnsupportedOperationError, match=r"adopted\.ssn_enc: .*own table")
    with sqlite_db.begin() as connection, refused:
        connection.execute(Created("VIEW", select(adopted.c.id, adopted.c.ssn_enc)))
