"""Steps that ask: look-ups, loaders, DISTINCT and GROUP BY with the key, aliases, subqueries."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased, defer, joinedload, load_only, selectinload, subqueryload

from encfields import blind
from tests.differential.models import Schema
from tests.differential.step import Step
from tests.differential.values import KINDS
from tests.differential.world import World

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
        if column.index in ("full", "unique"):
            operators += ["==", "!=", "in", "not in"] * 2
        if column.index == "truncated":
            operators += ["==", "in"] * 3
        if column.index == "casefold":
            operators += ["folded"] * 5
        pool = KINDS[column.kind].pool
        return {
            "name": column.name,
            "operator": rng.choice(operators),
            "values": tuple(rng.choice(pool) for _ in range(rng.randint(1, 3))),
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
        if world.twin.encrypted:
            return column.blind("casefold") == self.values[0]
        folded = self.values[0].casefold()
        return column.in_([v for v in KINDS["text"].pool if v.casefold() == folded])


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
        if not self.values or not set(self.values) <= set(item.__table__.c.keys()):
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
class Load(Step):
    """Every row, with a loader of its relationship or of its columns."""

    loader: str
    name: str
    sub: bool
    limit: bool
    weight = 5

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        loaders = ("lazy", "joined", "selectin", "subquery", "defer", "only", "populate")
        return {
            "loader": rng.choice(loaders),
            "name": rng.choice(schema.columns).name,
            "sub": rng.random() < 0.5,
            "limit": rng.random() < 0.3,
        }

    def run(self, world: World) -> Any:
        made = world.twin.sub if self.sub else world.twin.item
        statement = sa.select(made).order_by(made.tag)
        column = getattr(made, self.name, made.tag)
        match self.loader:
            case "joined":
                statement = statement.options(joinedload(made.children))
            case "selectin":
                statement = statement.options(selectinload(made.children))
            case "subquery":
                statement = statement.options(subqueryload(made.children))
            case "defer":
                statement = statement.options(defer(column))
            case "only":
                statement = statement.options(load_only(column), joinedload(made.children))
            case "populate":
                statement = statement.execution_options(populate_existing=True)
        statement = statement.limit(2) if self.limit else statement
        found = world.sessions[self.session].scalars(statement).unique().all()
        return [(world.see(i), [world.see(c) for c in i.children]) for i in found]


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
        tenant = [item.tenant] if world.schema.tenant else []
        statement = SHAPES[self.shape](item, [*keys, *tenant, item.tag], self.name)
        result = world.sessions[self.session].execute(statement)
        return [
            tuple(
                world.see(v) if isinstance(v, world.twin.base) else world.shown(n, v)
                for n, v in zip(result.keys(), row, strict=True)
            )
            for row in result.all()
        ]


def _distinct(item: Any, keys: list[Any], name: str) -> Any:
    return sa.select(*keys, getattr(item, name)).distinct().order_by(item.tag)


def _group_by(item: Any, keys: list[Any], name: str) -> Any:
    value = getattr(item, name)
    counted = sa.select(*keys, value, sa.func.count().label("rows"))
    return counted.group_by(*keys, value).order_by(item.tag)


def _aliased(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item)
    return (
        sa.select(item, getattr(other, name))
        .join(other, other.tag >= item.tag)
        .order_by(item.tag, other.tag)
    )


def _subquery(item: Any, keys: list[Any], name: str) -> Any:
    inner = sa.select(*keys, getattr(item, name)).subquery()
    return sa.select(inner.c.tag, inner.c[name]).order_by(inner.c.tag)


def _cte(item: Any, keys: list[Any], name: str) -> Any:
    inner = sa.select(*keys, getattr(item, name)).cte("some")
    return sa.select(inner.c[name]).order_by(inner.c.tag)


def _entity_subquery(item: Any, keys: list[Any], name: str) -> Any:
    inner = aliased(item, sa.select(item).order_by(item.tag).limit(3).subquery())
    return sa.select(inner).order_by(inner.tag)


def _joined(item: Any, keys: list[Any], name: str) -> Any:
    child = item.children.property.mapper.class_
    chosen = sa.select(getattr(item, name), child.note)
    return chosen.join(item.children).order_by(item.tag, child.tag)


def _outer_joined(item: Any, keys: list[Any], name: str) -> Any:
    child = item.children.property.mapper.class_
    return sa.select(item, child).outerjoin(item.children).order_by(item.tag, child.tag)


def _union(item: Any, keys: list[Any], name: str) -> Any:
    one = sa.select(*keys, getattr(item, name))
    return sa.union_all(one, one.where(item.tag > 3)).order_by("tag")


SHAPES = {
    "distinct": _distinct,
    "group by": _group_by,
    "aliased": _aliased,
    "subquery": _subquery,
    "cte": _cte,
    "entity subquery": _entity_subquery,
    "joined": _joined,
    "outer joined": _outer_joined,
    "union all": _union,
}
QUERY_STEPS = (Find, FindCompound, Load, Shape)
