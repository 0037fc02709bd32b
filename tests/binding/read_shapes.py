"""Every way to read a column through SQLAlchemy; each returns the cards' numbers by card id.

Of a shape that does not deliver the card's id, the numbers are delivered in the order of the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import (
    delete,
    exists,
    func,
    literal,
    select,
    text,
    true,
    union,
    union_all,
    update,
)
from sqlalchemy.orm import (
    Bundle,
    Session,
    aliased,
    contains_eager,
    defer,
    joinedload,
    load_only,
    selectinload,
    subqueryload,
    undefer,
)

from tests.binding.models import Card, Purchase

Numbers = list[Any]
Shape = Callable[[Session], Numbers]

SHAPES: dict[str, Shape] = {}
MARIADB_CANNOT: set[str] = set()
"""Shapes that need UPDATE .. RETURNING or LATERAL."""

card: Any = Card.__table__


def shape(function: Shape) -> Shape:
    SHAPES[function.__name__] = function
    return function


def not_on_mariadb(function: Shape) -> Shape:
    MARIADB_CANNOT.add(function.__name__)
    return function


def numbers(cards: Iterable[Card]) -> Numbers:
    return [card.number for card in sorted(cards, key=lambda one: one.id)]


def from_cards(purchases: Iterable[Purchase]) -> Numbers:
    return numbers({purchase.card for purchase in purchases if purchase.card is not None})


# -- entities ----------------------------------------------------------------------------------


@shape
def entity(session: Session) -> Numbers:
    return numbers(session.scalars(select(Card)))


@shape
def legacy_query(session: Session) -> Numbers:
    return numbers(session.query(Card).all())


@shape
def get(session: Session) -> Numbers:
    return [session.get_one(Card, n).number for n in (1, 2, 3)]


@shape
def get_for_update(session: Session) -> Numbers:
    return [session.get_one(Card, n, with_for_update=True).number for n in (1, 2, 3)]


@shape
def joined_load(session: Session) -> Numbers:
    return from_cards(session.scalars(select(Purchase).options(joinedload(Purchase.card))))


@shape
def joined_load_with_limit(session: Session) -> Numbers:
    statement = select(Card).options(joinedload(Card.purchases)).order_by(Card.id).limit(3)
    return numbers(session.scalars(statement).unique())


@shape
def joined_load_of_joined_limited(session: Session) -> Numbers:
    statement = (
        select(Purchase)
        .options(joinedload(Purchase.card).joinedload(Card.purchases))
        .order_by(Purchase.label)
        .limit(3)
    )
    return from_cards(session.scalars(statement).unique())


@shape
def select_in_load(session: Session) -> Numbers:
    return from_cards(session.scalars(select(Purchase).options(selectinload(Purchase.card))))


@shape
def subquery_load(session: Session) -> Numbers:
    return from_cards(session.scalars(select(Purchase).options(subqueryload(Purchase.card))))


@shape
def lazy_load(session: Session) -> Numbers:
    return from_cards(session.scalars(select(Purchase)))


@shape
def contains_eager_of_a_join(session: Session) -> Numbers:
    statement = select(Purchase).join(Purchase.card).options(contains_eager(Purchase.card))
    return from_cards(session.scalars(statement))


@shape
def refresh(session: Session) -> Numbers:
    cards = session.scalars(select(Card).options(load_only(Card.holder))).all()
    for one in cards:
        session.refresh(one)
    return numbers(cards)


@shape
def refresh_of_one_attribute(session: Session) -> Numbers:
    cards = session.scalars(select(Card).options(load_only(Card.holder))).all()
    for one in cards:
        session.refresh(one, ["number"])
    return numbers(cards)


@shape
def expired(session: Session) -> Numbers:
    cards = session.scalars(select(Card).options(load_only(Card.holder))).all()
    session.expire_all()
    return numbers(cards)


@shape
def deferred(session: Session) -> Numbers:
    return numbers(session.scalars(select(Card).options(defer(Card.number))))


@shape
def undeferred(session: Session) -> Numbers:
    return numbers(session.scalars(select(Card).options(defer("*"), undefer(Card.number))))


@shape
def only_that_column_loaded(session: Session) -> Numbers:
    return numbers(session.scalars(select(Card).options(load_only(Card.number))))


@shape
def populate_existing(session: Session) -> Numbers:
    session.scalars(select(Card).options(load_only(Card.holder))).all()
    return numbers(session.scalars(select(Card).execution_options(populate_existing=True)))


@shape
def from_statement(session: Session) -> Numbers:
    return numbers(session.scalars(select(Card).from_statement(select(Card))))


@shape
def from_union(session: Session) -> Numbers:
    both = union_all(select(Card).where(Card.id < 2), select(Card).where(Card.id >= 2)).subquery()
    return numbers(session.scalars(select(aliased(Card, both))))


@shape
def from_raw_sql_with_columns(session: Session) -> Numbers:
    columns = [column for column in card.c if column.key in ("id", "number")]
    rows = text("SELECT id, number FROM card").columns(*columns).subquery()
    return [row.number for row in session.execute(select(rows).order_by(rows.c.id))]


@shape
def merged(session: Session) -> Numbers:
    return numbers(session.merge(Card(id=n, holder=f"merged-{n}")) for n in (1, 2, 3))


@shape
def yield_per(session: Session) -> Numbers:
    with session.execute(select(Card).execution_options(yield_per=1)) as result:
        return numbers(result.scalars())


@shape
def stream_results(session: Session) -> Numbers:
    with session.execute(select(Card).execution_options(stream_results=True)) as result:
        return numbers(result.scalars())


@shape
def partitions(session: Session) -> Numbers:
    with session.execute(select(Card).execution_options(stream_results=True)) as result:
        return numbers(one for part in result.scalars().partitions(2) for one in part)


@shape
def entity_of_an_alias(session: Session) -> Numbers:
    return numbers(session.scalars(select(aliased(Card))))


@shape
def entity_from_a_subquery(session: Session) -> Numbers:
    return numbers(session.scalars(select(aliased(Card, select(Card).subquery()))))


@shape
def distinct_with_the_key(session: Session) -> Numbers:
    statement = select(Card.id, Card.number).distinct().order_by(Card.id)
    return [row.number for row in session.execute(statement)]


# -- columns -----------------------------------------------------------------------------------


def ordered(session: Session, statement: Any) -> Numbers:
    return list(session.scalars(statement))


@shape
def orm_column(session: Session) -> Numbers:
    return ordered(session, select(Card.number).order_by(Card.id))


@shape
def orm_column_and_key(session: Session) -> Numbers:
    return [row.number for row in session.execute(select(Card.id, Card.number).order_by(Card.id))]


@shape
def core_column(session: Session) -> Numbers:
    return list(session.connection().scalars(select(card.c.number).order_by(card.c.id)))


@shape
def core_table(session: Session) -> Numbers:
    return [row.number for row in session.connection().execute(select(card).order_by(card.c.id))]


@shape
def label(session: Session) -> Numbers:
    rows = session.execute(select(Card.number.label("n")).order_by(Card.id))
    return [row.n for row in rows]


@shape
def column_and_its_label(session: Session) -> Numbers:
    """Both under the column's own name, and the label under it alone, as with a plain column."""
    both = Card.number, Card.number.label("number")
    rows = session.execute(select(Card.id, *both).order_by(Card.id)).all()
    assert [row[1] for row in rows] == [row[2] for row in rows]
    labelled = session.connection().execute(select(card.c.number.label("n")).order_by(card.c.id))
    assert all(card.c.number not in row._mapping for row in labelled)
    return [row[1] for row in rows]


@shape
def column_of_an_alias(session: Session) -> Numbers:
    other = aliased(Card)
    return ordered(session, select(other.number).order_by(other.id))


@shape
def column_of_a_core_alias(session: Session) -> Numbers:
    other = card.alias("other")
    return ordered(session, select(other.c.number).order_by(other.c.id))


@shape
def column_of_a_sample_of_an_alias_of_an_alias(session: Session) -> Numbers:
    other = card.alias("a").select().subquery("b").alias("c")
    return ordered(session, select(other.c.number).order_by(other.c.id))


@shape
def self_join(session: Session) -> Numbers:
    other = aliased(Card)
    statement = select(Card.number, other.number).join(other, other.id == Card.id)
    rows = session.execute(statement.order_by(Card.id)).all()
    assert [row[0] for row in rows] == [row[1] for row in rows]
    return [row[1] for row in rows]


@shape
def subquery_of_a_self_join(session: Session) -> Numbers:
    other = aliased(Card)
    pairs = (
        select(
            Card.id.label("id_1"),
            Card.number.label("number_1"),
            other.id.label("id_2"),
            other.number.label("number_2"),
        )
        .join(other, other.id != Card.id)
        .subquery()
    )
    rows = session.execute(select(pairs.c.id_2, pairs.c.number_2, pairs.c.number_1)).all()
    return [number for _, number in sorted({(row[0], row[1]) for row in rows})]


@shape
def outer_join(session: Session) -> Numbers:
    statement = select(Card.number).outerjoin(Purchase).order_by(Card.id)
    return ordered(session, statement)


@shape
def subquery(session: Session) -> Numbers:
    rows = select(Card.id, Card.number).subquery()
    return ordered(session, select(rows.c.number).order_by(rows.c.id))


@shape
def cte(session: Session) -> Numbers:
    rows = select(Card.id, Card.number).cte("rows_")
    return ordered(session, select(rows.c.number).order_by(rows.c.id))


@shape
def cte_of_a_cte(session: Session) -> Numbers:
    inner = select(Card.id, Card.number).cte("inner_")
    rows = select(inner.c.id, inner.c.number).cte("outer_")
    return ordered(session, select(rows.c.number).order_by(rows.c.id))


@not_on_mariadb
@shape
def lateral(session: Session) -> Numbers:
    if session.get_bind().dialect.name == "sqlite":
        return subquery(session)
    rows = select(Card.id, Card.number).where(Card.id == Purchase.card_id).lateral()
    statement = select(rows.c.number).select_from(Purchase).join(rows, true())
    return ordered(session, statement.order_by(rows.c.id))


@shape
def column_of_a_union(session: Session) -> Numbers:
    one = select(Card.id, Card.number).where(Card.id == 1)
    more = select(Card.id, Card.number).where(Card.id > 1)
    return [row.number for row in session.execute(union(one, more).order_by("id"))]


@shape
def column_of_a_union_all_subquery(session: Session) -> Numbers:
    one = select(Card.id, Card.number).where(Card.id == 1)
    more = select(Card.id, Card.number).where(Card.id > 1)
    rows = union_all(one, more).subquery()
    return ordered(session, select(rows.c.number).order_by(rows.c.id))


@shape
def scalar_subquery(session: Session) -> Numbers:
    other = aliased(Card)
    inner = select(other.number).where(other.id == Card.id).scalar_subquery()
    return ordered(session, select(inner).select_from(Card).order_by(Card.id))


@shape
def labelled_scalar_subquery(session: Session) -> Numbers:
    inner = select(Card.number).where(Card.id == Purchase.card_id).scalar_subquery()
    statement = select(Purchase.label, inner.label("n")).order_by(Purchase.label)
    return [row.n for row in session.execute(statement)]


@shape
def bundle(session: Session) -> Numbers:
    pair: Any = Bundle("pair", Card.id, Card.number)
    return [row.pair.number for row in session.execute(select(pair).order_by(Card.id))]


@shape
def with_entities(session: Session) -> Numbers:
    query = session.query(Card).with_entities(Card.number).order_by(Card.id)
    return [row.number for row in query]


@shape
def with_only_columns(session: Session) -> Numbers:
    return ordered(session, select(Card).with_only_columns(Card.number).order_by(Card.id))


@shape
def mappings(session: Session) -> Numbers:
    rows = session.execute(select(card).order_by(card.c.id)).mappings()
    return [row["number"] for row in rows]


@shape
def where_exists(session: Session) -> Numbers:
    bought = exists().where(Purchase.card_id == Card.id)
    return ordered(session, select(Card.number).where(bought).order_by(Card.id))


@shape
def beside_a_count(session: Session) -> Numbers:
    counted = select(func.count(Purchase.article)).scalar_subquery()
    rows = session.execute(select(Card.number, counted).order_by(Card.id)).all()
    assert {row[1] for row in rows} == {3}
    return [row[0] for row in rows]


@shape
def beside_a_window(session: Session) -> Numbers:
    rank = func.row_number().over(order_by=Card.id)
    return [row[0] for row in session.execute(select(Card.number, rank).order_by(Card.id))]


@shape
def beside_a_bind(session: Session) -> Numbers:
    return ordered(session, select(Card.number, literal("x")).order_by(Card.id))


@shape
def grouped_with_the_key(session: Session) -> Numbers:
    statement = select(Card.id, Card.number, func.count()).group_by(Card.id, Card.number)
    return [row.number for row in session.execute(statement.order_by(Card.id))]


# -- RETURNING ---------------------------------------------------------------------------------


@not_on_mariadb
@shape
def update_returning_a_column(session: Session) -> Numbers:
    statement = update(card).values(holder=card.c.holder + "!").returning(card.c.id, card.c.number)
    return [row.number for row in sorted(session.connection().execute(statement))]


@not_on_mariadb
@shape
def update_returning_an_entity(session: Session) -> Numbers:
    statement = update(Card).values(holder=Card.holder + "!").returning(Card)
    return numbers(session.scalars(statement))


@shape
def delete_returning_a_column(session: Session) -> Numbers:
    session.execute(delete(Purchase))
    statement = delete(Card).returning(Card.id, Card.number)
    return [row.number for row in sorted(session.execute(statement))]


@shape
def delete_returning_an_entity(session: Session) -> Numbers:
    session.execute(delete(Purchase))
    return numbers(session.scalars(delete(Card).returning(Card)))
