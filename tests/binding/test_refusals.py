"""Uses of an encrypted column that ciphertext would answer wrongly are refused, and unsent."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    ForeignKey,
    Integer,
    LargeBinary,
    and_,
    any_,
    bindparam,
    case,
    cast,
    collate,
    delete,
    desc,
    distinct,
    except_,
    extract,
    func,
    intersect,
    literal,
    literal_column,
    not_,
    nulls_last,
    or_,
    select,
    text,
    tuple_,
    type_coerce,
    union,
    union_all,
    update,
)
from sqlalchemy import String as StringType
from sqlalchemy import column as sql_column
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship

from encfields import EncryptedType
from encfields.errors import (
    BindingError,
    UnreadableError,
    UnsupportedOperationError,
)
from encfields.orm.query.refused_usage import refuse_usage
from tests.binding.models import Card, Purchase
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

# -- refused by the expression itself ----------------------------------------------------------

EXPRESSIONS = {
    "==": lambda c: c == "x",
    "!=": lambda c: c != "x",
    "<": lambda c: c < "x",
    ">=": lambda c: c >= "x",
    "like": lambda c: c.like("x%"),
    "ilike": lambda c: c.ilike("x%"),
    "not_like": lambda c: c.not_like("x%"),
    "startswith": lambda c: c.startswith("x"),
    "contains": lambda c: c.contains("x"),
    "match": lambda c: c.match("x"),
    "regexp_match": lambda c: c.regexp_match("x"),
    "in_": lambda c: c.in_(["x"]),
    "in_ nothing": lambda c: c.in_([]),
    "not_in": lambda c: c.not_in(["x"]),
    "between": lambda c: c.between("a", "b"),
    "is_(True)": lambda c: c.is_(True),
    "is_distinct_from": lambda c: c.is_distinct_from("x"),
    "+": lambda c: c + "x",
    "reverse +": lambda c: "x" + c,
    "concat": lambda c: c.concat("x"),
    "collate": lambda c: c.collate("C"),
    "distinct": lambda c: c.distinct(),
    "op": lambda c: c.op("=")("x"),
    "bool_op": lambda c: c.bool_op("=")("x"),
    "index": lambda c: c["key"],
    "-": lambda c: -c,
    "~": lambda c: ~c,
    "any_": lambda c: c.any_(),
}


@pytest.mark.parametrize("operation", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_an_operator_is_refused_where_it_is_written(operation):
    with pytest.raises(UnsupportedOperationError, match="IS NULL"):
        operation(Card.number)
    with pytest.raises(UnsupportedOperationError) as caught:
        operation(Card.__table__.c.number)
    assert (caught.value.table, caught.value.column) == ("card", "number")


@pytest.mark.parametrize("column", [Card.number, Card.__table__.c.number], ids=["ORM", "Core"])
def test_a_paging_library_may_compare_it_with_what_is_sorted_by(column):
    """sqlakeyset does so with each column that is selected, and sorts by none of them."""
    assert str(column.asc()) == "card.number ASC"
    assert str(column.desc()) == "card.number DESC"


# -- refused in a whole statement --------------------------------------------------------------

n: Any = Card.number
other = aliased(Card)

STATEMENTS = {
    "column == column": lambda: select(Card.id).where(n == Card.pin),
    "column != column": lambda: select(Card.id).where(n != Card.pin),
    "column == literal()": lambda: select(Card.id).where(n == literal("x")),
    "column == bindparam()": lambda: select(Card.id).where(n == bindparam("b", "x")),
    "column == subquery": lambda: select(Card.id).where(n == select(Card.holder).scalar_subquery()),
    "column == function": lambda: select(Card.id).where(n == func.lower("x")),
    "join on it": lambda: select(Card.id).join(Purchase, Purchase.article == Card.number),
    "self-join on it": lambda: select(Card.id).join(other, other.number == Card.number),
    "literal() ==": lambda: select(Card.id).where(literal("x") == n),
    "literal() !=": lambda: select(Card.id).where(literal("x") != n),
    "literal() <": lambda: select(Card.id).where(literal("x") < n),
    "literal() like": lambda: select(Card.id).where(literal("x").like(n)),
    "literal() in": lambda: select(Card.id).where(literal("x").in_([n])),
    "literal() in subquery": lambda: select(Card.id).where(literal("x").in_(select(other.number))),
    "literal() == any": lambda: select(Card.id).where(
        literal("x") == any_(select(other.number).scalar_subquery())
    ),
    "literal() between": lambda: select(Card.id).where(literal("x").between(n, n)),
    "plain column ==": lambda: select(Card.id).where(Card.holder == n),
    "plain column in": lambda: select(Card.id).where(Card.holder.in_(select(other.number))),
    "tuple in": lambda: select(Card.id).where(tuple_(Card.id, n).in_([(1, "x")])),
    "concat": lambda: select(literal("x") + n),
    "in a count of a case": lambda: select(func.count(case((literal("x") == n, 1)))),
    "in a filter": lambda: select(func.count().filter(literal("x") == n)),
    "as a condition": lambda: select(Card.id).where(n),
    "as one of several conditions": lambda: select(Card.id).where(and_(Card.id == 1, n)),
    "as one of alternatives": lambda: select(Card.id).where(or_(Card.id == 1, n)),
    "as a negated condition": lambda: select(Card.id).where(not_(and_(Card.id == 1, n))),
    "as HAVING": lambda: select(Card.id).group_by(Card.id).having(n),
    "ORDER BY": lambda: select(Card.id).order_by(n),
    "ORDER BY entity's": lambda: select(Card).order_by(n),
    "ORDER BY name": lambda: select(Card.id, n).order_by("number"),
    "ORDER BY name of a label": lambda: select(Card.id, n.label("x")).order_by("x"),
    "ORDER BY name desc": lambda: select(Card.id, n).order_by(desc("number")),
    "ORDER BY nulls_last()": lambda: select(Card.id).order_by(nulls_last(n)),
    "ORDER BY column.desc()": lambda: select(Card.id).order_by(n.desc()),
    "ORDER BY column.asc()": lambda: select(Card).order_by(Card.id, n.asc().nulls_last()),
    "ORDER BY column.asc() of a window": lambda: select(func.row_number().over(order_by=n.asc())),
    "an alias's ORDER BY column.desc()": lambda: select(other.id).order_by(other.number.desc()),
    "sorted column, selected": lambda: select(Card.id, n.desc()),
    "sorted column, compared": lambda: select(Card.id).where(n.desc() == "x"),
    "sorted column, counted": lambda: select(func.count(n.desc())),
    "ORDER BY desc()": lambda: select(Card.id).order_by(desc(n)),
    "ORDER BY collate()": lambda: select(Card.id).order_by(collate(n, "C")),
    "ORDER BY label": lambda: select(Card.id).order_by(n.label("x")),
    "ORDER BY alias": lambda: select(other.id).order_by(other.number),
    "ORDER BY subquery": lambda: select(Card.id).order_by(
        select(other.number).where(other.id == Card.id).scalar_subquery()
    ),
    "ORDER BY of a union": lambda: union_all(
        select(Card.id, n), select(other.id, other.number)
    ).order_by("number"),
    "ORDER BY of a union in raw SQL": lambda: union_all(
        select(Card.id, n), select(other.id, other.number)
    ).order_by(text("number DESC")),
    "ORDER BY of a union by position": lambda: union_all(
        select(Card.id, n), select(other.id, other.number)
    ).order_by(text("2")),
    "ORDER BY raw SQL": lambda: select(Card).order_by(text("card.number DESC")),
    "ORDER BY raw SQL, quoted": lambda: select(Card).order_by(text('"number"')),
    "ORDER BY a raw expression": lambda: select(Card.id).order_by(text("1, lower(NUMBER)")),
    "ORDER BY literal_column()": lambda: select(Card.id).order_by(literal_column("number").desc()),
    "ORDER BY column()": lambda: select(Card.id).order_by(nulls_last(sql_column("number"))),
    "ORDER BY column() in a CASE": lambda: select(Card.id).order_by(
        case((sql_column("number") > "x", 1), else_=2)
    ),
    "ORDER BY position": lambda: select(Card.id, n).order_by(text("1 ASC, 2 DESC")),
    "ORDER BY position as a column": lambda: select(Card.id, n).order_by(literal_column("2")),
    "ORDER BY raw label": lambda: select(Card.id, n.label("x")).order_by(text("x")),
    "ORDER BY a subquery's column": lambda: select(
        select(Card.id, n.label("x")).subquery().c.id
    ).order_by(text("x")),
    "GROUP BY raw SQL": lambda: select(func.count()).select_from(Card).group_by(text("number")),
    "window order in raw SQL": lambda: select(
        Card.id, func.row_number().over(order_by=text("number"))
    ),
    "window partition by column()": lambda: select(
        Card.id, func.row_number().over(partition_by=sql_column("number"))
    ),
    "window order by name": lambda: select(Card.id, func.rank().over(order_by="number")),
    "window order by name, desc": lambda: select(
        Card.id, func.rank().over(order_by=desc("number"))
    ),
    "max of a raw name": lambda: select(func.max(literal_column("number"))).select_from(Card),
    "max of raw SQL": lambda: select(func.max(text("card.number"))).select_from(Card),
    "a raw name in HAVING": lambda: (
        select(Card.holder).group_by(Card.holder).having(func.min(sql_column("number")) > "x")
    ),
    "a raw name, compared": lambda: select(Card.id).where(literal_column("number") > "x"),
    "a raw name in a FILTER": lambda: select(
        func.count().filter(sql_column("number") == "x")
    ).select_from(Card),
    "DISTINCT raw name": lambda: select(literal_column("number")).select_from(Card).distinct(),
    "count distinct raw name": lambda: select(
        func.count(distinct(literal_column("number")))
    ).select_from(Card),
    "DELETE WHERE raw name": lambda: delete(Card).where(literal_column("number") > "x"),
    "a raw window": lambda: select(
        Card.id, literal_column("row_number() OVER (PARTITION BY holder ORDER BY number)")
    ),
    "a raw aggregate that sorts": lambda: select(
        text("max(id), group_concat(id ORDER\nBY number)")
    ).select_from(Card),
    "a raw subquery that sorts": lambda: select(Card.id).where(
        text("id = (SELECT id FROM card ORDER BY number DESC LIMIT 1)")
    ),
    "ORDER BY its bytes": lambda: select(Card.id).order_by(type_coerce(n, LargeBinary).desc()),
    "ORDER BY its bytes, labelled": lambda: select(
        Card.id, type_coerce(n, LargeBinary).label("x")
    ).order_by("x"),
    "window order by its bytes": lambda: select(
        func.row_number().over(order_by=type_coerce(n, LargeBinary))
    ),
    "GROUP BY": lambda: select(func.count()).group_by(n),
    "GROUP BY name": lambda: select(n.label("x"), func.count()).group_by("x"),
    "GROUP BY other key": lambda: select(func.count()).group_by(n, other.id).select_from(Card),
    "DISTINCT": lambda: select(n).distinct(),
    "DISTINCT pair": lambda: select(Card.holder, n).distinct(),
    "count distinct": lambda: select(func.count(n.distinct())),
    "UNION": lambda: union(select(n), select(other.number)),
    "INTERSECT": lambda: intersect(select(n), select(other.number)),
    "EXCEPT": lambda: except_(select(n), select(other.number)),
    "function in WHERE": lambda: select(Card.id).where(func.lower(n) == "x"),
    "coalesce in WHERE": lambda: select(Card.id).where(func.coalesce(n, "x") == "x"),
    "length in WHERE": lambda: select(Card.id).where(func.length(n) > 3),
    "CAST": lambda: select(cast(n, StringType)),
    "CAST in WHERE": lambda: select(Card.id).where(cast(n, StringType) == "x"),
    "CAST of another type": lambda: select(cast(Card.pin, Integer)),
    "type_coerce": lambda: select(type_coerce(n, StringType)),
    "type_coerce in WHERE": lambda: select(Card.id).where(type_coerce(n, StringType) == "x"),
    "CASE in WHERE": lambda: select(Card.id).where(case((Card.id == 1, n), else_="x") == "x"),
    "EXTRACT": lambda: select(extract("year", n)),
    "window order": lambda: select(func.row_number().over(order_by=n)),
    "window partition": lambda: select(func.row_number().over(partition_by=n)),
    "window order desc": lambda: select(func.row_number().over(order_by=[Card.id, func.lower(n)])),
    "in a subquery": lambda: select(select(Card.id).order_by(n).limit(1).subquery().c.id),
    "in an EXISTS": lambda: select(Card.id).where(
        select(other.id).where(literal("x") == other.number).exists()
    ),
    "in a CTE": lambda: select(select(Card.id).where(func.lower(n) == "x").cte().c.id),
    "UPDATE WHERE": lambda: update(Card).values(holder="x").where(literal("x") == n),
    "UPDATE value": lambda: update(Card).values(holder=func.lower(n)),
    "DELETE WHERE": lambda: delete(Card).where(literal("x") == n),
    "DELETE WHERE truth": lambda: delete(Card).where(n),
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_a_statement_that_needs_the_plaintext_is_refused_unsent(shop_once, statement):
    with shop_once.begin() as connection, shop_once.statements() as seen:
        with pytest.raises(UnsupportedOperationError):
            connection.execute(statement())
        assert seen == []


FUNCTIONS = {
    "max": lambda: select(func.max(n)),
    "min": lambda: select(func.min(n)),
    "coalesce": lambda: select(func.coalesce(n, "x")),
    "lower": lambda: select(func.lower(n)),
    "length": lambda: select(func.length(n)),
    "array_agg": lambda: select(func.array_agg(n)),
    "group_concat": lambda: select(func.group_concat(n)),
    "first_value": lambda: select(func.first_value(n).over(order_by=Card.id)),
    "lag": lambda: select(func.lag(n).over(order_by=Card.id)),
    "case": lambda: select(case((Card.id == 1, n), else_=None)),
    "ordered set": lambda: select(func.percentile_cont(0.5).within_group(n)),
    "distinct": lambda: select(distinct(n)),
    "any": lambda: select(any_(select(n).scalar_subquery())),
}


@pytest.mark.parametrize("statement", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_a_function_of_it_is_refused_unsent(shop_once, statement):
    with shop_once.begin() as connection, shop_once.statements() as seen:
        with pytest.raises((UnsupportedOperationError, UnreadableError)):
            connection.execute(statement())
        assert seen == []


class FlagBase(DeclarativeBase):
    pass


class Flag(FlagBase):
    __tablename__ = "flag"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    on: Mapped[bool] = mapped_column("is_on", EncryptedType(Boolean))


def test_an_encrypted_boolean_is_no_condition(db):
    db.create(FlagBase.metadata)
    with db.session() as session:
        session.add(Flag(id=1, on=True))
        session.flush()
        assert session.get_one(Flag, 1).on is True
        for condition in (lambda: Flag.on, lambda: not_(Flag.on), lambda: Flag.on.is_(True)):
            with pytest.raises(UnsupportedOperationError):
                session.scalars(select(Flag).where(condition())).all()


def test_an_encrypted_value_in_where_is_refused(shop_once):
    value = literal("x", EncryptedType())
    with shop_once.begin() as connection, shop_once.statements() as seen:
        with pytest.raises(BindingError):
            connection.execute(select(Card.id).where(Card.holder == value))
        assert seen == []


def test_filter_by_is_refused_too(shop_once):
    with shop_once.session() as session, pytest.raises(UnsupportedOperationError):
        session.query(Card).filter_by(number="x")


def test_what_needs_no_plaintext_is_not_refused(cards):
    raw_order = select(Card.id).where(Card.number.is_not(None), Card.id > 0).order_by(Card.id)
    counted = select(func.count(n), func.count(Card.id.distinct())).where(n != None)  # noqa: E711
    with cards.session() as session:
        assert session.scalars(raw_order).all() == [1, 2, 3]
        assert session.execute(counted).one() == (3, 3)
        assert session.scalar(select(func.count()).select_from(Card)) == 3
        assert session.scalar(select(func.count()).select_from(select(Card).subquery())) == 3
        assert session.query(Card).count() == 3


def test_raw_sql_that_names_no_encrypted_column_sorts(cards):
    raw: Any = literal_column("row_number() OVER (ORDER BY holder /* by number */)")
    windows: Any = (
        select(Card.id, raw),
        select(raw, text("'order by number'")).select_from(Card),
        select(Card.id, func.length(literal_column("'number'"))).distinct(),
        select(Card.id, n).where(sql_column("holder") != "number", sql_column("number") != None),  # noqa: E711
        select(Card.id, func.max(literal_column("2")).over(order_by="holder")),
    )
    orders = (text("holder, id"), text("holder = 'number'"), text("1 /* number */"), "id")
    with cards.session() as session:
        for order in orders:
            assert len(session.execute(select(Card.id, n).order_by(order)).all()) == 3
        for window in windows:
            assert len(session.execute(window).all()) == 3


class ChapterBase(DeclarativeBase):
    pass


class Chapter(ChapterBase):
    __tablename__ = "chapter"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    part_of: Mapped[int | None] = mapped_column(ForeignKey("chapter.id"))
    title: Mapped[str] = mapped_column(EncryptedType())
    sections: Mapped[list[Chapter]] = relationship(order_by=sql_column("title"))


def test_a_relationship_sorted_by_an_encrypted_column_is_refused(db):
    db.create(ChapterBase.metadata)
    with db.session() as session:
        session.add(Chapter(id=1, title="x"))
        session.commit()
        with pytest.raises(UnsupportedOperationError):
            session.get_one(Chapter, 1).sections  # noqa: B018


ALIASES = {
    "an alias": (lambda: aliased(Card), "card"),
    "an alias with a name": (lambda: aliased(Card, name="other"), "other"),
    "a subquery": (lambda: aliased(Card, select(Card).subquery()), "card"),
}


@pytest.mark.parametrize("name", ALIASES)
def test_a_refusal_names_what_the_statement_names(name):
    make, table = ALIASES[name]
    entity = make()
    with pytest.raises(UnsupportedOperationError) as by_operator:
        select(entity).where(entity.number == "x")
    with pytest.raises(UnsupportedOperationError) as by_usage:
        refuse_usage(select(entity).order_by(func.lower(entity.number)).compile())
    for caught in (by_operator, by_usage):
        assert "%(" not in str(caught.value)
        assert (caught.value.table, caught.value.column) == (table, "number")
