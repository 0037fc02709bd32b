"""A look-up answers what a plain column answers wherever it is, and however it is spelt there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    join,
    literal,
    null,
    outerjoin,
    select,
    tuple_,
    union,
    union_all,
    update,
)
from sqlalchemy.orm import aliased, selectinload, with_loader_criteria

from encfields import BlindIndex, EncryptedType
from tests.attached import attach_with_kept_keys
from tests.database import CANARY, Database
from tests.index.clinic import Claim, Patient, sent

twins = Table(
    "twins_anywhere",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer),
    Column("plain", String(20)),
    Column("other", String(20)),
    Column("secret", EncryptedType(String(20), index=BlindIndex(domain="twins"))),
    Column("another", EncryptedType(String(20), index=BlindIndex(domain="twins"))),
)
id_, number = twins.c.id, twins.c.number
ANOTHER = {"plain": twins.c.other, "secret": twins.c.another}

Condition = Callable[[Any, str], Any]

SPELT: dict[str, Condition] = {
    "a value first": lambda c, x: literal(x) == c,
    "a value first, differing": lambda c, x: literal(x) != c,
    "a value in columns": lambda c, x: literal(x).in_([c, ANOTHER[c.name]]),
    "a value in no column": lambda c, x: literal(x).not_in([c, ANOTHER[c.name]]),
    "rows": lambda c, x: tuple_(number, c).in_([(1, x), (2, "c"), (9, x)]),
    "not among rows": lambda c, x: tuple_(number, c).not_in([(1, x), (2, None)]),
    "no rows": lambda c, x: tuple_(number, c).in_([]),
    "rows of two": lambda c, x: tuple_(c, number, ANOTHER[c.name]).in_([(x, 1, "b"), (x, 2, x)]),
    "rows as they are": lambda c, x: tuple_(number, c).in_([tuple_(1, x), tuple_(2, "c")]),
    "rows as they are, with NULL": lambda c, x: tuple_(number, c).in_([tuple_(1, null())]),
    "a row": lambda c, x: tuple_(number, c) == (1, x),
    "not a row": lambda c, x: tuple_(number, c) != tuple_(1, x),
    "a CASE of the column": lambda c, x: case({x: 1, "c": 2}, value=c, else_=0) == 1,
    "a CASE without an ELSE": lambda c, x: case({x: True}, value=c),
}


def _subquery(condition: Any) -> Any:
    return select(id_, number).where(condition).subquery()


def _cte(condition: Any) -> Any:
    return select(id_.label("found")).where(condition).cte("chosen")


left = twins.alias("left_side")

PLACES: dict[str, Callable[[Any], Any]] = {
    "in a CASE": lambda met: select(id_, case((met, 1), else_=0)),
    "in a CASE of the WHERE": lambda met: select(id_).where(case((met, 1), else_=0) == 1),
    "delivered": lambda met: select(id_, met.label("met")),
    "in a sum": lambda met: select(func.sum(case((met, 1), else_=0))),
    "in HAVING": lambda met: (
        select(number).group_by(number).having(func.sum(case((met, 1), else_=0)) > 0)
    ),
    "in ORDER BY": lambda met: select(id_).order_by(case((met, 0), else_=1), id_),
    "in a window": lambda met: select(id_, func.count().over(partition_by=case((met, 0), else_=1))),
    "in a subquery of FROM": lambda met: select((found := _subquery(met)).c.id, found.c.number),
    "in a CTE": lambda met: select(_cte(met).c.found),
    "in a CTE of a subquery": lambda met: select(id_).where(id_.in_(select(_cte(met).c.found))),
    "in a subquery of the list": lambda met: select(
        left.c.id,
        select(func.count()).select_from(twins).where(id_ >= left.c.id, met).scalar_subquery(),
    ),
    "in EXISTS of the list": lambda met: select(left.c.id, exists().where(id_ == left.c.id, met)),
    "in UNION": lambda met: union(select(id_).where(met), select(id_).where(id_ == 2)),
    "in UNION of a subquery": lambda met: select(
        union_all(select(id_).where(met), select(id_).where(id_ == 2)).subquery().c.id
    ),
    "in ON": lambda met: select(left.c.id, id_).select_from(
        join(left, twins, and_(left.c.number == number, met))
    ),
    "in ON of an outer join": lambda met: select(left.c.id, id_).select_from(
        outerjoin(left, twins, and_(left.c.id == id_, met))
    ),
}


def _fill(db: Database) -> None:
    values = [(1, "a", "b"), (2, "b", "b"), (2, "a", "a"), (3, None, "a"), (None, "c", None)]
    with db.begin() as connection:
        connection.execute(
            twins.insert(),
            [
                {"id": n, "number": of, "plain": x, "other": y, "secret": x, "another": y}
                for n, (of, x, y) in enumerate(values, start=1)
            ],
        )


@pytest.fixture
def filled(shared_tables: None, db: Database) -> Database:
    db.share(twins.metadata, fill=_fill)
    return db


def _rows(connection: Any, statement: Any, **given: Any) -> list[Any]:
    return sorted(map(tuple, connection.execute(statement, given)), key=repr)


@pytest.mark.parametrize("place", PLACES)
def test_it_answers_what_a_plain_column_answers(filled: Database, place: str) -> None:
    with filled.begin() as connection:
        for name, condition in SPELT.items():
            for x in ("a", "b"):  # the second time, the statement is cached
                plain, asked = (
                    PLACES[place](condition(c, x)) for c in (twins.c.plain, twins.c.secret)
                )
                assert _rows(connection, asked) == _rows(connection, plain), (name, x)


def test_rows_may_come_with_the_execution(filled: Database) -> None:
    given: Any = bindparam("rows", expanding=True)
    with filled.begin() as connection:
        for rows in ([(1, "a")], [(1, "b"), (2, "b"), (2, "a")], [(2, None)]):
            plain, asked = (
                select(id_).where(tuple_(number, c).in_(given))
                for c in (twins.c.plain, twins.c.secret)
            )
            assert _rows(connection, asked, rows=rows) == _rows(connection, plain, rows=rows)


def test_what_is_selected_is_what_is_grouped_by(filled: Database) -> None:
    with filled.begin() as connection:
        for name in ("a value first", "a value in columns", "a value in no column", "a row"):
            plain, asked = (SPELT[name](c, "a") for c in (twins.c.plain, twins.c.secret))
            counted = [select(met, func.count()).group_by(met) for met in (plain, asked)]
            expected, found = (_rows(connection, statement) for statement in counted)
            assert found == expected, name


def test_rows_are_written_by_it(filled: Database) -> None:
    secret = twins.c.secret
    numbered = update(twins).values(number=case((literal("a") == secret, 7), else_=8))
    found = select(id_).where(literal("a") == secret).distinct().subquery()
    counted = select(func.count(found.c.id)).scalar_subquery()  # as MySQL takes it of one table
    with filled.begin() as connection:
        connection.execute(numbered.where(id_ < 4))
        assert connection.scalars(select(number).order_by(id_)).all() == [7, 8, 7, 3, None]
        connection.execute(insert(twins).values(id=9, number=counted))
        assert connection.scalars(select(number).where(id_ == 9)).one() == 2


def test_the_orm_asks_it_in_its_own_places(clinic: Database) -> None:
    first = literal("ssn-1") == Claim.ssn
    rows = tuple_(Claim.amount, Claim.ssn).in_([(20, "ssn-1")])
    with clinic.session() as session:
        some = select(aliased(Claim, select(Claim).where(rows).subquery()))
        assert [one.id for one in session.scalars(some)] == [2]
        only = select(Claim).options(with_loader_criteria(Claim, rows))
        assert [one.id for one in session.scalars(only)] == [2]
        joined = select(Patient.id, Claim.id).join(Patient.claims.and_(first))
        assert sorted(map(tuple, session.execute(joined))) == [(1, 1), (1, 2)]
        has = select(Patient.id).where(case((Patient.claims.any(first), 1), else_=0) == 1)
        assert session.scalars(has).all() == [1]
        loaded = select(Patient).options(selectinload(Patient.claims.and_(rows)))
        claims = {one.id: [claim.id for claim in one.claims] for one in session.scalars(loaded)}
        assert claims == {1: [2], 2: [], 3: [], 4: []}
        assert session.query(Claim).filter(first).count() == 2


def test_the_value_goes_nowhere(sqlite_db: Database) -> None:
    twins.metadata.create_all(sqlite_db.engine)
    with sent(sqlite_db), sqlite_db.begin() as connection:
        for name, place in PLACES.items():
            for spelt in SPELT.values():
                connection.execute(place(spelt(twins.c.secret, CANARY))).all(), name


def test_a_detached_engine_compiles_as_before(sqlite_db: Database) -> None:
    compiler = sqlite_db.engine.dialect.statement_compiler
    assert compiler is not sqlite_db.plain.dialect.statement_compiler
    sqlite_db.encryption.detach()
    assert sqlite_db.engine.dialect.statement_compiler is sqlite_db.plain.dialect.statement_compiler


def test_what_was_compiled_before_is_compiled_again(sqlite_db: Database) -> None:
    met = select(id_).where(case((literal("a") == twins.c.secret, 1), else_=0) == 1)
    twins.metadata.create_all(sqlite_db.engine)
    _fill(sqlite_db)
    sqlite_db.encryption.detach()
    with sqlite_db.begin() as connection:
        connection.execute(met)
    attach_with_kept_keys(sqlite_db.engine, bytes(32), plain=sqlite_db.plain, are_there=True)
    with sqlite_db.begin() as connection:
        assert connection.scalars(met).all() == [1, 3]
