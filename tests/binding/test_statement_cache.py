"""SQLAlchemy's statement cache goes on working, and nothing grows with the statements."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from sqlalchemy import event, insert, lambda_stmt, select, update
from sqlalchemy.engine.interfaces import CacheStats
from sqlalchemy.orm import aliased, joinedload, selectinload

from encfields import SqlKeyStore, attach, keyrings
from tests.binding.models import Card, Purchase, Visit
from tests.turns import databases_by_turns

card: Any = Card.__table__

pytestmark = [databases_by_turns, pytest.mark.usefixtures("older_objects_stay")]

STATEMENTS = {
    "insert": lambda s, n: s.execute(insert(Card).values(id=n, number=f"n-{n}")),
    "core insert": lambda s, n: s.connection().execute(
        insert(card), [{"id": n * 2, "number": "x"}, {"id": n * 2 + 1, "number": "y"}]
    ),
    "flush": lambda s, n: (s.add(Card(id=n, number=f"n-{n}")), s.flush()),
    "flush of many": lambda s, n: (
        s.add_all(Card(id=n * 10 + m, number=str(m)) for m in range(10)),
        s.flush(),
    ),
    "flush of generated keys": lambda s, n: (
        s.add_all([Visit(reason="a") for _ in "ab"]),
        s.flush(),
    ),
    "flush of one generated key": lambda s, n: (s.add(Visit(reason="a")), s.flush()),
    "update": lambda s, n: s.execute(update(Card).where(Card.id == n).values(number=f"n-{n}")),
    "bulk update": lambda s, n: (
        s.execute(insert(Card), [{"id": n}]),
        s.execute(update(Card), [{"id": n, "number": f"n-{n}"}]),
    ),
    "select": lambda s, n: s.scalars(select(Card).where(Card.id == n)).all(),
    "select column": lambda s, n: s.scalars(select(Card.number).where(Card.id == n)).all(),
    "select alias": lambda s, n: s.scalars(select(aliased(Card, name="c"))).all(),
    "joined load": lambda s, n: (
        s.scalars(select(Card).options(joinedload(Card.purchases)).limit(n)).unique().all()
    ),
    "select-in load": lambda s, n: s.scalars(
        select(Purchase).options(selectinload(Purchase.card))
    ).all(),
    "subquery": lambda s, n: s.execute(
        select(select(Card.id, Card.number).where(Card.id == n).subquery().c.number)
    ).all(),
    "lambda": lambda s, n: s.execute(
        lambda_stmt(lambda: select(Card.number).where(Card.id == n))
    ).all(),
}


def run(db, work, number: int) -> list[Any]:
    with db.session() as session, db.statements() as seen:
        work(session, number)
        session.rollback()
    return seen


@pytest.mark.parametrize("work", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_after_the_first_time_every_statement_is_found_in_the_cache(shop, work):
    for number in (1, 2):
        run(shop, work, number)
    for number in (3, 4):
        seen = run(shop, work, number)
        assert seen
        for context in seen:
            if context.compiled is not None:
                assert context.cache_hit is CacheStats.CACHE_HIT, context.statement


def test_statements_are_compiled_once(shop):
    compiled: set[int] = set()
    kept: list[Any] = []

    @event.listens_for(shop.engine, "after_cursor_execute")
    def remember(connection, cursor, sql, parameters, context, executemany):
        if context.compiled is not None:
            compiled.add(id(context.compiled))
            kept.append(context.compiled)

    for number in range(5):
        run(shop, STATEMENTS["update"], number)
    assert len(compiled) == 1


def test_plans_do_not_grow_with_executions(shop):
    plans = shop.encryption._listeners.hook._plans

    def everything() -> None:
        for number, work in enumerate(STATEMENTS.values(), start=100):
            run(shop, work, number)

    for _ in range(3):
        everything()
    gc.collect()
    before = len(plans)
    for _ in range(5):
        everything()
    gc.collect()
    assert len(plans) <= before
    assert before > 0


def test_a_plan_goes_with_its_statement(sqlite_db):
    engine = sqlite_db.backend.create_engine(query_cache_size=0)
    Card.metadata.create_all(engine)
    encryption = attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    plans = encryption._listeners.hook._plans
    for number in range(20):
        with engine.begin() as connection:
            connection.execute(insert(card), [{"id": number, "number": "n"}])
    gc.collect()
    assert len(plans) == 0


def test_inserts_with_generated_keys_are_forgotten(shop):
    under_way = shop.encryption._listeners.hook.keys.under_way
    with shop.session() as session:
        for _ in range(5):
            session.add(Visit(reason="r"))
            session.flush()
        session.commit()
    gc.collect()
    assert len(under_way) == 0


def test_encrypted_types_with_the_same_options_share_a_cache_key():
    one = select(card.c.number)._generate_cache_key()
    two = select(card.c.number)._generate_cache_key()
    assert one is not None
    assert one == two
    three = select(card.c.pin)._generate_cache_key()
    assert one != three


class Unpicklable(str):
    """An application's own text that no pickle takes."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("never pickled")


@pytest.mark.parametrize("first", [None, Unpicklable("first"), "first"])
@pytest.mark.parametrize("then", ["then", Unpicklable("then"), None])
def test_values_of_one_statement_say_nothing_of_the_next_one_of_its_form(shop, first, then):
    with shop.session() as session:
        for number, value in ((1, first), (2, then)):
            session.connection().execute(insert(card).values(id=number, number=value))
        stored = session.execute(select(card.c.id, card.c.number).order_by(card.c.id)).all()
        assert [tuple(row) for row in stored] == [(1, first), (2, then)]
        for number, value in ((2, first), (1, then)):
            statement = update(card).where(card.c.id == number).values(number=value)
            session.connection().execute(statement)
        stored = session.execute(select(card.c.id, card.c.number).order_by(card.c.id)).all()
        assert [tuple(row) for row in stored] == [(1, then), (2, first)]
