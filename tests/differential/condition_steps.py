"""Steps about conditions: look-ups within AND, OR and NOT, wherever SQL has a condition."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from encfields.databases import MYSQL_NAMES
from tests.differential.bulk_steps import SYNCHRONIZE, synchronized
from tests.differential.models import Schema
from tests.differential.step import Step
from tests.differential.values import KINDS
from tests.differential.world import World

NODES = ("and", "or", "not", "self")
Condition = tuple[Any, ...]


def draw_condition(rng: random.Random, schema: Schema, depth: int = 2) -> Condition | None:
    """A random tree of conditions over columns that are found exactly, if there are any."""
    columns = [c for c in schema.columns if c.is_found_exactly]
    if not columns:
        return None
    if depth and rng.random() < 0.6:
        node = rng.choice(NODES)
        count = 1 if node in ("not", "self") else 2
        return (node, *(draw_condition(rng, schema, depth - 1) for _ in range(count)))
    column = rng.choice(columns)
    values = tuple(KINDS[column.kind].draw_asked(rng) for _ in range(rng.randint(1, 3)))
    kinds = [k for k in LEAVES if k not in JOINS or not schema.tenant]
    return rng.choice(kinds), column.name, values, rng.randrange(300)


def _selected(made: Any, name: str, tag: int) -> Any:
    other = aliased(sa.inspect(made).mapper.class_, flat=True)
    return sa.select(getattr(other, name)).where(other.tag <= tag)


def _listed(values: tuple[Any, ...]) -> Any:
    return sa.bindparam(None, list(values), sa.types.NullType(), expanding=True)


LEAVES: dict[str, Callable[[Any, str, tuple[Any, ...], int], Any]] = {
    "==": lambda made, name, values, tag: getattr(made, name) == values[0],
    "!=": lambda made, name, values, tag: getattr(made, name) != values[0],
    "in": lambda made, name, values, tag: getattr(made, name).in_(values),
    "not in": lambda made, name, values, tag: getattr(made, name).not_in(values),
    "distinct": lambda made, name, values, tag: getattr(made, name).is_distinct_from(values[0]),
    "not distinct": lambda made, name, values, tag: getattr(made, name).is_not_distinct_from(
        values[0]
    ),
    "null": lambda made, name, values, tag: getattr(made, name).is_(None),
    "not null": lambda made, name, values, tag: getattr(made, name).is_not(None),
    "none": lambda made, name, values, tag: getattr(made, name) == None,  # noqa: E711
    "not none": lambda made, name, values, tag: getattr(made, name) != None,  # noqa: E711
    "empty": lambda made, name, values, tag: getattr(made, name).in_([]),
    "not empty": lambda made, name, values, tag: getattr(made, name).not_in([]),
    "with null": lambda made, name, values, tag: getattr(made, name).in_([*values, None]),
    "bind": lambda made, name, values, tag: (
        getattr(made, name) == sa.bindparam(None, values[0], sa.types.NullType(), unique=True)
    ),
    "bound list": lambda made, name, values, tag: getattr(made, name).in_(_listed(values)),
    "tag": lambda made, name, values, tag: made.tag > tag,
    "true": lambda made, name, values, tag: sa.true(),
    "reversed": lambda made, name, values, tag: sa.not_(getattr(made, name) != values[0]),
    "select": lambda made, name, values, tag: getattr(made, name).in_(_selected(made, name, tag)),
    "not select": lambda made, name, values, tag: getattr(made, name).not_in(
        _selected(made, name, tag)
    ),
    "same": lambda made, name, values, tag: getattr(made, name) == getattr(made, name),
}
JOINS = ("select", "not select", "same")
"""What compares columns with columns, which a tenant's cannot be."""


def condition(made: Any, tree: Condition) -> Any:
    """The condition of a tree, about a class or an alias of it."""
    parts = [condition(made, part) for part in tree[1:]] if tree[0] in NODES else []
    match tree[0]:
        case "and":
            return sa.and_(*parts)
        case "or":
            return sa.or_(*parts)
        case "not":
            return sa.not_(*parts)
        case "self":
            return parts[0].self_group()
    kind, *rest = tree
    return LEAVES[kind](made, *rest)


def _flag(made: Any, tree: Condition) -> Any:
    return sa.case((condition(made, tree), 1), else_=0)


def _value(made: Any, other: Any, tree: Condition) -> Any:
    return sa.select(made.tag, condition(made, tree).label("found")).order_by(made.tag)


def _case(made: Any, other: Any, tree: Condition) -> Any:
    return sa.select(made.tag, _flag(made, tree).label("found")).order_by(made.tag)


def _order(made: Any, other: Any, tree: Condition) -> Any:
    return sa.select(made.tag).order_by(_flag(made, tree), made.tag)


def _group(made: Any, other: Any, tree: Condition) -> Any:
    some = sa.select(made.tag, _flag(made, tree).label("found")).subquery()
    grouped = sa.select(some.c.found, sa.func.count().label("rows"))
    return grouped.group_by(some.c.found).order_by(some.c.found)


def _sum(made: Any, other: Any, tree: Condition) -> Any:
    flag = _flag(made, tree)
    return sa.select(sa.func.coalesce(sa.func.sum(flag), 0) + 0, sa.func.count(flag))


def _having(made: Any, other: Any, tree: Condition) -> Any:
    grouped = sa.select(made.touched).group_by(made.touched).order_by(made.touched)
    return grouped.having(sa.func.sum(_flag(made, tree)) > 0)


def _join(made: Any, other: Any, tree: Condition) -> Any:
    joined = sa.select(made.tag, other.tag.label("other")).join(other, condition(other, tree))
    return joined.order_by(made.tag, other.tag)


def _outer(made: Any, other: Any, tree: Condition) -> Any:
    on = sa.and_(other.tag == made.tag, condition(other, tree))
    return sa.select(made, other).outerjoin(other, on).order_by(made.tag)


def _exists(made: Any, other: Any, tree: Condition) -> Any:
    inner = sa.exists().where(other.tag == made.tag, condition(other, tree))
    return sa.select(made).where(inner).order_by(made.tag)


def _not_exists(made: Any, other: Any, tree: Condition) -> Any:
    inner = sa.exists().where(other.tag == made.tag, condition(other, tree))
    return sa.select(made.tag).where(~inner).order_by(made.tag)


def _alias(made: Any, other: Any, tree: Condition) -> Any:
    return sa.select(other).where(condition(other, tree)).order_by(other.tag)


def _subquery(made: Any, other: Any, tree: Condition) -> Any:
    some = aliased(made, sa.select(made).where(condition(made, tree)).subquery())
    return sa.select(some).order_by(some.tag)


def _cte(made: Any, other: Any, tree: Condition) -> Any:
    some = sa.select(made.tag).where(condition(made, tree)).cte("some")
    return sa.select(some.c.tag).order_by(some.c.tag)


def _count(made: Any, other: Any, tree: Condition) -> Any:
    return sa.select(sa.func.count(sa.distinct(made.tag))).where(condition(made, tree))


def _lambda(made: Any, other: Any, tree: Condition) -> Any:
    of_tree = condition(made, tree)
    statement = sa.lambda_stmt(lambda: sa.select(made))
    return statement.add_criteria(lambda s: s.where(of_tree).order_by(made.tag), track_on=[tree])


PLACES: dict[str, Callable[[Any, Any, Condition], Any]] = {
    "value": _value, "case": _case, "order": _order, "group": _group, "sum": _sum,
    "having": _having, "join": _join, "outer": _outer, "exists": _exists,
    "not exists": _not_exists, "alias": _alias, "subquery": _subquery, "cte": _cte,
    "count": _count,
}  # fmt: skip
"""Where a condition may be, each as a function of a class, an alias of it and the tree."""


@dataclass(frozen=True)
class FindBy(Step):
    """Rows by a tree of conditions, in one of the places where SQL has a condition."""

    tree: Condition | None
    where: str
    tenant: Any
    sub: bool
    weight = 8

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {
            "tree": draw_condition(rng, schema),
            "where": rng.choice(("where", "where", "query", *PLACES)),
            "tenant": schema.draw_tenant(rng),
            "sub": rng.random() < 0.3,
        }

    def run(self, world: World) -> Any:
        session = world.sessions[self.session]
        made = world.twin.sub if self.sub else world.twin.item
        if self.tree is None or not _has_all(made, self.tree):
            return None
        is_of = [made.tenant == self.tenant] if world.schema.tenant else []
        if self.where == "query":
            found = session.query(made).filter(condition(made, self.tree), *is_of)
            return [world.see(i) for i in found.order_by(made.tag)]
        if self.where == "where" or world.schema.tenant:
            statement = sa.select(made).where(condition(made, self.tree), *is_of)
            return [world.see(i) for i in session.scalars(statement.order_by(made.tag))]
        other = aliased(made, name="other", flat=True)
        result = session.execute(PLACES[self.where](made, other, self.tree))
        return [
            [world.see(v) if isinstance(v, world.twin.base) else world.shown("", v) for v in row]
            for row in result
        ]


def _has_all(made: Any, tree: Condition) -> bool:
    if tree[0] in NODES:
        return all(_has_all(made, part) for part in tree[1:])
    return hasattr(made, tree[1])


def _names(tree: Condition) -> Iterator[str]:
    if tree[0] not in NODES:
        yield tree[1]
        return
    for part in tree[1:]:
        yield from _names(part)


def _is_of_table(world: World, tree: Condition) -> bool:
    if tree[0] in NODES:
        return all(_is_of_table(world, part) for part in tree[1:])
    return bool(world.own({tree[1]: None}))


@dataclass(frozen=True)
class WriteBy(Step):
    """Rows that a tree of conditions finds are changed or deleted; those that are loaded follow."""

    tree: Condition | None
    tenant: Any
    synchronize: Any
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {
            "tree": draw_condition(rng, schema),
            "tenant": schema.draw_tenant(rng),
            "synchronize": rng.choice(SYNCHRONIZE),
            "way": rng.choice(("update", "update", "delete", "query", "query delete", "core")),
        }

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        if self.tree is None or not _is_of_table(world, self.tree):
            return None
        if world.engine.dialect.name in MYSQL_NAMES and "select'" in repr(self.tree):
            return None  # they read no table that they write
        if "distinct'" in repr(self.tree) and self.synchronize in ("auto", "evaluate"):
            return None  # only what the encrypted side makes of it is evaluated in Python
        if "empty'" in repr(self.tree) and self.synchronize in ("auto", "evaluate"):
            return None  # NULL is not in an empty list; SQLAlchemy evaluates it as NULL
        if "select'" in repr(self.tree) and self.synchronize == "evaluate":
            return None  # Python evaluates none; the encrypted side may ask the database instead
        where = [condition(item, self.tree)]
        if world.schema.tenant:
            where.append(item.tenant == self.tenant)
        how = synchronized(world, _names(self.tree), self.synchronize)
        options: Any = {"synchronize_session": how}
        match self.way:
            case "query":
                return session.query(item).filter(*where).update({"touched": 6}, **options)
            case "query delete":
                return session.query(item).filter(*where).delete(**options)
            case "core":
                statement: Any = sa.update(item.__table__).where(*where).values(touched=6)
                return session.connection().execute(statement).rowcount
        statement = sa.delete(item) if self.way == "delete" else sa.update(item).values(touched=6)
        done: Any = session.execute(statement.where(*where), execution_options=options)
        return done.rowcount


@dataclass(frozen=True)
class FindEqual(Step):
    """Rows whose value another row has too, or a child's note."""

    name: str
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("join", "exists", "in", "not in", "scalar", "note", "relation", "count", "blind",
                "grouped")  # fmt: skip
        column = rng.choice([c for c in schema.columns if c.is_found_exactly] or schema.columns)
        return {"name": column.name, "way": rng.choice(ways)}

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        is_exact = world.schema.column(self.name).is_found_exactly
        if world.schema.tenant or not is_exact or not hasattr(item, self.name):
            return None
        column, other = getattr(item, self.name), aliased(item, name="other", flat=True)
        theirs, child = getattr(other, self.name), world.twin.child
        of = world.schema.column(self.name)
        inner: Any
        match self.way:
            case "join":
                found = sa.select(item.tag, other.tag.label("other")).join(other, theirs == column)
                return world.rows(session.execute(found.order_by(item.tag, other.tag)))
            case "count":
                found = sa.select(sa.func.count()).join_from(item, other, theirs == column)
                return session.scalar(found)
            case "exists":
                inner = sa.exists().where(theirs == column, other.tag != item.tag)
                return [world.see(i) for i in session.scalars(self._sorted(item, inner))]
            case "in" | "not in":
                inner = sa.select(theirs).where(other.tag > 50, theirs.is_not(None))
                where = column.in_(inner) if self.way == "in" else column.not_in(inner)
                return [world.see(i) for i in session.scalars(self._sorted(item, where))]
            case "scalar":
                first = sa.select(theirs).order_by(other.tag).limit(1).scalar_subquery()
                return [world.see(i) for i in session.scalars(self._sorted(item, column == first))]
            case "note" if of.kind == "text" and of.index == "full" and self._are_alike(world):
                found = sa.select(item.tag, child.tag.label("other")).join(
                    child, child.note == column
                )
                return world.rows(session.execute(found.order_by(item.tag, child.tag)))
            case "grouped" if of.index != "both":
                by = column.blind() if world.twin.encrypted else column
                counted = sa.func.count().label("rows")
                found = sa.select(counted).select_from(item).group_by(by).order_by(counted)
                return world.rows(session.execute(found))
            case "blind" if of.index != "both":
                by = column.blind() if world.twin.encrypted else column
                return session.scalar(sa.select(sa.func.count(sa.distinct(by))))
        return None

    def _are_alike(self, world: World) -> bool:
        """Whether a child's note has an index of the same version."""
        return 1 in world.schema.column(self.name).versions and not world.schema.rotates

    def _sorted(self, item: Any, where: Any) -> Any:
        return sa.select(item).where(where).order_by(item.tag)


CONDITION_STEPS = (FindBy, WriteBy, FindEqual)
