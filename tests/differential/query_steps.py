"""Steps that ask: look-ups, loaders, DISTINCT and GROUP BY with the key, aliases, subqueries."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import (
    Bundle,
    aliased,
    contains_eager,
    defer,
    immediateload,
    joinedload,
    load_only,
    selectinload,
    subqueryload,
    undefer,
    with_parent,
)

from encfields import blind
from tests.differential.models import INDEXES, Schema
from tests.differential.shapes import SHAPES
from tests.differential.step import Step
from tests.differential.values import KINDS, transformed
from tests.differential.world import World

LOADERS = (
    "lazy", "joined", "selectin", "subquery", "defer", "only", "populate", "contains",
    "immediate", "stream", "undefer", "inner", "raise",
)  # fmt: skip
WHAT = ("entity", "entity", "columns", "count", "value", "limit", "exists")


@dataclass(frozen=True)
class Find(Step):
    """Rows by the value of a column; entities, columns or a count of them."""

    name: str
    operator: str
    values: tuple[Any, ...]
    tenant: Any
    what: str
    weight = 10

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        column = rng.choice(schema.columns)
        operators = ["is", "is not"]
        if column.is_found_exactly:
            operators += ["==", "!=", "in", "not in"] * 2
        if column.index == "truncated":
            operators += ["==", "in"] * 3
        if INDEXES[column.index]:
            operators += ["transformed"] * 5
        kind = KINDS[column.kind]
        return {
            "name": column.name,
            "operator": rng.choice(operators),
            "values": tuple(kind.draw_asked(rng) for _ in range(rng.randint(1, 3))),
            "tenant": schema.draw_tenant(rng),
            "what": rng.choice(WHAT),
        }

    def run(self, world: World) -> Any:
        item, session = world.twin.sub, world.sessions[self.session]
        where = [self._condition(world, getattr(item, self.name))]
        if world.schema.tenant:
            where.append(item.tenant == self.tenant)
        match self.what:
            case "count":
                found = sa.select(sa.func.count()).select_from(item).where(*where)
                return session.scalar(found)
            case "exists":
                return session.scalar(sa.select(sa.exists(sa.select(item.tag).where(*where))))
            case "columns":
                return world.rows(
                    session.execute(
                        sa.select(item.tag, getattr(item, self.name))
                        .where(*where)
                        .order_by(item.tag)
                    )
                )
            case "value":
                one = sa.select(getattr(item, self.name)).where(*where).order_by(item.tag.desc())
                return world.rows(session.execute(one))
        statement = sa.select(item).where(*where).order_by(item.tag)
        statement = statement.limit(2) if self.what == "limit" else statement
        return [world.see(i) for i in session.scalars(statement)]

    def _condition(self, world: World, column: Any) -> Any:
        match self.operator:
            case "is":
                return column.is_(None)
            case "is not":
                return column.is_not(None)
            case "==":
                return column == self.values[0]
            case "!=":
                return column != self.values[0]
            case "in":
                return column.in_(self.values)
            case "not in":
                return column.not_in(self.values)
        of = world.schema.column(self.name)
        if world.twin.encrypted:
            return column.blind("casefold" if of.index == "both" else "some") == self.values[0]
        _, transform = transformed("casefold" if of.index == "both" else of.index)
        asked = transform(self.values[0])
        return column.in_([v for v in KINDS[of.kind].pool if transform(v) == asked])


@dataclass(frozen=True)
class FindCompound(Step):
    """Rows by the values of two columns together."""

    values: dict[str, Any]
    tenant: Any

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        values = {n: KINDS[schema.column(n).kind].draw(rng) for n in schema.compound}
        return {"values": values, "tenant": schema.draw_tenant(rng)}

    def run(self, world: World) -> Any:
        item = world.twin.item
        if not self.values or len(world.own(self.values)) < len(self.values):
            return None
        if world.twin.encrypted:
            where = [blind(item, "who").matches(**self.values)]
        else:
            where = [getattr(item, n) == v for n, v in self.values.items()]
        if world.schema.tenant:
            where.append(item.tenant == self.tenant)
        statement = sa.select(item).where(*where).order_by(item.tag)
        return [world.see(i) for i in world.sessions[self.session].scalars(statement)]


@dataclass(frozen=True)
class FindRelated(Step):
    """Items by what their children are, and children by what their item is."""

    note: str
    way: str

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        way = rng.choice(("any", "not any", "has", "join", "in", "exists", "with parent"))
        return {"note": rng.choice(("x", "", "note", "note 1")), "way": way}

    def run(self, world: World) -> Any:
        item, child, session = world.twin.item, world.twin.child, world.sessions[self.session]
        has_note = child.note == self.note
        match self.way:
            case "any":
                found = sa.select(item).where(item.children.any(has_note))
            case "not any":
                found = sa.select(item).where(~item.children.any(has_note))
            case "has":
                found = sa.select(child).where(child.item.has(item.touched == 0), has_note)
            case "join":
                found = sa.select(item).join(item.children).where(has_note).distinct()
            case "in":
                tags = sa.select(child.tag).where(has_note)
                found = sa.select(child).where(child.tag.in_(tags))
            case "exists":
                names = world.schema.key_columns
                refers = [getattr(child, f"item_{n}") == getattr(item, n) for n in names]
                found = sa.select(item).where(sa.exists().where(*refers, has_note))
            case _:
                first = session.scalars(sa.select(item).order_by(item.tag)).first()
                if first is None:
                    return None
                found = sa.select(child).where(with_parent(first, item.children), has_note)
        entity = found.column_descriptions[0]["entity"]
        return [world.see(i) for i in session.scalars(found.order_by(entity.tag))]


@dataclass(frozen=True)
class Ask(Step):
    """``Query``, and an entity beside its columns."""

    name: str
    what: str

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        what = ("beside", "first", "count", "column", "alias", "bundle", "only", "values", "slice")
        return {"name": rng.choice(schema.columns).name, "what": rng.choice(what)}

    def run(self, world: World) -> Any:
        item, session = world.twin.sub, world.sessions[self.session]
        column, query = getattr(item, self.name), session.query(item).order_by(item.tag)
        match self.what:
            case "first":
                return world.see(query.first())
            case "count":
                return query.filter(column.is_not(None)).count()
            case "column":
                return [world.shown("", v) for (v,) in session.query(column).order_by(item.tag)]
            case "alias":
                other = aliased(item, name="other")
                return [world.see(i) for i in session.query(other).order_by(other.tag)]
            case "bundle":
                both: Any = session.query(Bundle("some", item.tag, column)).order_by(item.tag)
                return [[world.shown("", v) for v in row] for (row,) in both]
            case "only":
                return [world.see(i) for i in query.options(load_only(column))]
            case "values":
                return [
                    [world.shown("", v) for v in row]
                    for row in query.with_entities(item.tag, column)
                ]
            case "slice":
                return [world.see(i) for i in query[1:3]]
        return [(world.see(i), world.shown("", v)) for i, v in query.add_columns(column)]


@dataclass(frozen=True)
class Load(Step):
    """Every row, with a loader of its relationship or of its columns."""

    loader: str
    name: str
    sub: bool
    limit: bool
    weight = 5

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {
            "loader": rng.choice(LOADERS),
            "name": rng.choice(schema.columns).name,
            "sub": rng.random() < 0.5,
            "limit": rng.random() < 0.3,
        }

    def run(self, world: World) -> Any:
        made, session = (
            world.twin.sub if self.sub else world.twin.item,
            world.sessions[self.session],
        )
        statement = sa.select(made).order_by(made.tag)
        column = getattr(made, self.name, made.tag)
        if self.loader == "raise":
            statement = statement.options(load_only(column, raiseload=True))
            return [
                world.shown("", getattr(i, self.name, None)) for i in session.scalars(statement)
            ]
        statement = self._with_options(statement, made, column)
        statement = statement.limit(2) if self.limit else statement
        found = session.scalars(statement).unique().all()
        return [(world.see(i), [world.see(c) for c in i.children]) for i in found]

    def _with_options(self, statement: Any, made: Any, column: Any) -> Any:
        children = made.children
        match self.loader:
            case "lazy":
                return statement
            case "populate":
                return statement.execution_options(populate_existing=True)
            case "stream":
                return statement.execution_options(yield_per=2)
            case "contains":
                joined = statement.outerjoin(children).options(contains_eager(children))
                return joined.order_by(children.property.mapper.class_.tag)
            case "only":
                return statement.options(load_only(column), joinedload(children))
        option: Any = {
            "joined": joinedload(children),
            "inner": joinedload(children, innerjoin=True),
            "selectin": selectinload(children),
            "subquery": subqueryload(children),
            "immediate": immediateload(children),
            "defer": defer(column),
            "undefer": undefer("*"),
        }[self.loader]
        return statement.options(option)


@dataclass(frozen=True)
class Shape(Step):
    """Rows through DISTINCT, GROUP BY, an alias, a subquery, a CTE, a join or a UNION."""

    shape: str
    name: str
    sub: bool
    weight = 5

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        shape = rng.choice(tuple(SHAPES))
        return {
            "shape": shape,
            "name": rng.choice(schema.columns).name,
            "sub": rng.random() < 0.4,
        }

    def run(self, world: World) -> Any:
        item = world.twin.sub if self.sub else world.twin.item
        if not hasattr(item, self.name):
            return None
        keys = [getattr(item, n) for n in world.schema.key_columns]
        tenant = [getattr(item, n) for n in world.schema.tenant_columns]
        statement = SHAPES[self.shape](item, [*keys, *tenant, item.tag], self.name)
        result = world.sessions[self.session].execute(statement)
        return [
            tuple(
                world.see(v) if isinstance(v, world.twin.base) else world.shown(n, v)
                for n, v in zip(result.keys(), row, strict=True)
            )
            for row in result.all()
        ]


QUERY_STEPS = (Find, FindCompound, FindRelated, Load, Shape, Ask)
