"""Steps about what is loaded with what: criteria for a class, polymorphic loads, parts of rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import FunctionType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import (
    Load,
    aliased,
    contains_eager,
    defaultload,
    defer,
    joinedload,
    lazyload,
    load_only,
    raiseload,
    selectin_polymorphic,
    selectinload,
    undefer_group,
    with_expression,
    with_loader_criteria,
    with_polymorphic,
)

from tests.differential.models import Schema
from tests.differential.step import RowStep, Step
from tests.differential.world import World


def _of(item: Any, criteria: Callable[[Any], Any]) -> Any:
    """A lambda that is one class's own: SQLAlchemy keeps the types it compared with by its code."""
    own = criteria.__code__.replace(co_name=item.__qualname__)
    return FunctionType(own, criteria.__globals__, closure=criteria.__closure__)


@dataclass(frozen=True)
class LoadCriteria(RowStep):
    """What is asked of the rows of a class, wherever a statement, or a lazy load, meets them."""

    value: Any
    way: str
    as_lambda: bool
    aliases: bool
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("select", "columns", "alias", "join", "lazy", "joined", "selectin", "count",
                "update", "delete", "get", "query", "subquery", "exists")  # fmt: skip
        as_lambda, aliases = (rng.random() < p for p in (0.4, 0.5))
        rest = {"value": schema.columns[0].draw(rng), "way": rng.choice(ways)}
        rest |= {"as_lambda": as_lambda, "aliases": aliases}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        item, child = world.twin.item, world.twin.child
        session: Any = world.sessions[self.session]
        if not hasattr(item, "c0"):
            return None
        option = self._option(world)
        found: Any
        match self.way:
            case "get":
                key = world.key(self.slot)
                ident = key[0] if len(key) == 1 else key
                got = session.get(item, ident, options=[option], populate_existing=True)
                return world.see(got)
            case "update" | "delete":
                is_delete = self.way == "delete"
                change = sa.delete(child) if is_delete else sa.update(item).values(touched=4)
                criteria = with_loader_criteria(child, child.note == "x") if is_delete else option
                how = {"synchronize_session": "fetch"}
                return session.execute(change.options(criteria), execution_options=how).rowcount
            case "query":
                return [
                    world.see(i) for i in session.query(item).options(option).order_by(item.tag)
                ]
            case "count":
                found = sa.select(sa.func.count()).select_from(item).options(option)
                return session.scalar(found)
            case "lazy" | "joined" | "selectin":
                load = {"lazy": lazyload, "joined": joinedload, "selectin": selectinload}[self.way]
                found = sa.select(child).options(load(child.item), option).order_by(child.tag)
                found = found.execution_options(populate_existing=True)
                return [(c.tag, c.item and c.item.tag) for c in session.scalars(found)]
        result = session.execute(self._select(world).options(option))
        return [
            [world.see(v) if isinstance(v, world.twin.base) else world.shown("", v) for v in row]
            for row in result
        ]

    def _option(self, world: World) -> Any:
        item, value = world.twin.item, self.value
        exact = world.schema.columns[0].is_found_exactly and not world.schema.tenant
        if not exact or value is None:
            return with_loader_criteria(item, item.c0.is_not(None), include_aliases=self.aliases)
        # In a lambda SQLAlchemy binds a timedelta as the DateTime that SQLite and MariaDB store.
        if self.as_lambda and not isinstance(value, timedelta):
            return with_loader_criteria(
                item, _of(item, lambda made: made.c0 == value), include_aliases=self.aliases
            )
        return with_loader_criteria(item, item.c0 == value, include_aliases=self.aliases)

    def _select(self, world: World) -> Any:
        item, child = world.twin.item, world.twin.child
        other = aliased(item, name="other", flat=True)
        match self.way:
            case "columns":
                return sa.select(item.tag, item.c0).order_by(item.tag)
            case "alias":
                return sa.select(other).order_by(other.tag)
            case "join":
                return sa.select(child.tag, item.tag).join(child.item).order_by(child.tag)
            case "subquery":
                some = aliased(item, sa.select(item).where(item.tag > 20).subquery())
                return sa.select(some).order_by(some.tag)
            case "exists":
                inner = sa.exists().where(other.tag > item.tag)
                return sa.select(item).where(inner).order_by(item.tag)
        return sa.select(item).order_by(item.tag)


@dataclass(frozen=True)
class LoadParts(Step):
    """Rows of a class and of its subclass together, or some of what belongs to them."""

    name: str
    value: Any
    way: str
    weight = 6

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("poly", "poly flat", "poly some", "poly where", "selectin poly", "of type", "group",
                "raise", "noload", "load", "default", "nested", "contains", "expression",
                "condition", "wildcard", "poly columns")  # fmt: skip
        column = rng.choice(schema.columns)
        return {"name": column.name, "value": column.draw(rng), "way": rng.choice(ways)}

    def run(self, world: World) -> Any:
        session = world.sessions[self.session]
        statement = self._statement(world)
        if statement is None:
            return None
        found = session.execute(statement.execution_options(populate_existing=True)).unique()
        return [
            [world.see(v) if isinstance(v, world.twin.base) else world.shown("", v) for v in row]
            for row in found
        ]

    def _statement(self, world: World) -> Any:
        item, child, schema = world.twin.item, world.twin.child, world.schema
        if "poly" in self.way or self.way == "of type":
            return self._polymorphic(world) if schema.inherits else None
        if not hasattr(item, self.name):
            return None
        column, some = getattr(item, self.name), sa.select(item).order_by(item.tag)
        match self.way:
            case "group":
                return some.options(undefer_group("some"))
            case "raise":
                return some.options(raiseload("*"))
            case "noload":
                return some.options(lazyload(item.children))
            case "load":
                return some.options(Load(item).defer(column).joinedload(item.children))
            case "default":
                return (
                    sa.select(child)
                    .options(defaultload(child.item).load_only(column))
                    .order_by(child.tag)
                )
            case "nested":
                only = joinedload(child.item).options(defer(column), selectinload(item.children))
                return sa.select(child, child.note).options(only).order_by(child.tag)
            case "contains":
                other = aliased(item, name="loaded", flat=True)
                joined = sa.select(child).join(child.item.of_type(other)).order_by(child.tag)
                return joined.options(
                    contains_eager(child.item.of_type(other)).load_only(other.tag)
                )
            case "wildcard":
                return some.options(lazyload("*"), load_only(item.tag))
            case "expression" | "condition" if "asked" in schema.extras:
                return some.options(with_expression(item.asked, self._asked(world, column)))
        return None

    def _asked(self, world: World, column: Any) -> Any:
        item, schema = world.twin.item, world.schema
        if self.way == "expression":
            return item.tag + item.touched
        is_exact = schema.column(self.name).is_found_exactly and not schema.tenant
        is_it = column == self.value if is_exact and self.value is not None else column.is_(None)
        return sa.case((is_it, 1), else_=0)

    def _polymorphic(self, world: World) -> Any:
        item, sub, child = world.twin.item, world.twin.sub, world.twin.child
        match self.way:
            case "selectin poly":
                return sa.select(item).options(selectin_polymorphic(item, [sub])).order_by(item.tag)
            case "of type":
                some = sa.select(child).join(child.item.of_type(sub)).order_by(child.tag)
                return some.where(sub.tag > 20)
            case "poly some":
                both = with_polymorphic(item, [sub])
            case "poly flat":
                both = with_polymorphic(item, "*", flat=True)
            case _:
                both = with_polymorphic(item, "*", aliased=self.way != "poly", flat=True)
        found = sa.select(both).order_by(both.tag)
        part: Any = both.Sub
        if not hasattr(part, self.name):
            return found
        column = getattr(part, self.name)
        if self.way == "poly columns":
            return sa.select(both.tag, column).order_by(both.tag)
        is_exact = world.schema.column(self.name).is_found_exactly and not world.schema.tenant
        if self.way == "poly where":
            is_it = (
                column == self.value if is_exact and self.value is not None else column.is_(None)
            )
            return found.where(sa.or_(is_it, both.tag > 100))
        return found


LOADER_STEPS: tuple[type[Step], ...] = (LoadCriteria, LoadParts)
