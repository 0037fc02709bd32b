"""Steps about how rows are taken out of results, and how instances are had again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import (
    joinedload,
    load_only,
    make_transient_to_detached,
    selectinload,
    with_loader_criteria,
)

from tests.differential.models import Schema
from tests.differential.step import RowStep, Step
from tests.differential.world import World


@dataclass(frozen=True)
class Take(Step):
    """Rows in one of the ways of a result."""

    name: str
    way: str
    sub: bool
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("partitions", "mappings", "first", "one or none", "unique", "columns", "freeze",
                "fetchmany", "yield per", "scalar", "criteria", "tuples")  # fmt: skip
        return {
            "name": rng.choice(schema.columns).name,
            "way": rng.choice(ways),
            "sub": rng.random() < 0.3,
        }

    def run(self, world: World) -> Any:
        made = world.twin.sub if self.sub else world.twin.item
        session = world.sessions[self.session]
        column = getattr(made, self.name, made.tag)
        both = sa.select(made, column.label("value"), made.tag).order_by(made.tag)
        if self.way == "criteria":
            both = both.options(with_loader_criteria(made, made.tag > 30))
        if self.way == "yield per":
            both = both.execution_options(yield_per=1)
        result = session.execute(both)

        def row(one: Any) -> Any:
            return [world.see(one[0]), *(world.shown("", v) for v in one[1:])]

        if self.way == "scalar":
            return world.see(result.scalar())
        match self.way:
            case "partitions":
                return [[row(r) for r in part] for part in result.partitions(2)]
            case "mappings":
                return [world.shown("", r["value"]) for r in result.mappings()]
            case "first":
                return None if (first := result.first()) is None else row(first)
            case "one or none":
                return row(result.one_or_none() or [None])
            case "unique":
                return [row(r) for r in result.unique(lambda r: r.tag)]
            case "columns":
                return [[world.shown("", v) for v in r] for r in result.columns("tag", "value")]
            case "freeze":
                frozen = result.freeze()
                return [[row(r) for r in frozen()] for _ in range(2)]
        return [row(r) for r in result]


@dataclass(frozen=True)
class GetAgain(RowStep):
    """An instance by ``get()`` and its options, refreshed, or made without the database."""

    name: str
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("populate", "lock", "only", "joined", "selectin", "refresh lock", "refresh some",
                "expire some", "expire all", "expunge all", "detached", "sub", "one",
                "no autoflush", "unloaded")  # fmt: skip
        rest = {"name": rng.choice(schema.columns).name, "way": rng.choice(ways)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        key = world.key(self.slot)
        ident = key[0] if len(key) == 1 else key
        name = self.name if self.name in sa.inspect(item).attrs else "tag"
        ways: dict[str, dict[str, Any]] = {
            "populate": {"populate_existing": True},
            "lock": {"with_for_update": True},
            "only": {"options": [load_only(getattr(item, name))]},
            "joined": {"options": [joinedload(item.children)], "populate_existing": True},
            "selectin": {"options": [selectinload(item.children)], "populate_existing": True},
        }
        options = ways.get(self.way, {})
        if self.way == "detached":
            return self._detached(world)
        if self.way == "one":
            return world.see(session.get_one(item, ident))
        if self.way == "no autoflush":
            with session.no_autoflush:
                return world.see(session.get(item, ident))
        made = world.twin.sub if self.way == "sub" else item
        instance = session.get(made, ident, **options)
        if instance is None:
            return None
        world.keep(instance)
        state = sa.inspect(instance)
        match self.way:
            case "refresh lock":
                session.refresh(instance, with_for_update=True)
            case "refresh some":
                session.refresh(instance, [name, "tag"])
            case "expire some":
                session.expire(instance, [name, "tag"])
                return sorted(state.unloaded), world.see(instance)
            case "expire all":
                session.expire_all()
            case "expunge all":
                session.expunge_all()
                return state.detached, sorted(state.unloaded)
            case "unloaded":
                return sorted(state.unloaded), sorted(state.expired_attributes)
        return world.see(instance)

    def _detached(self, world: World) -> Any:
        """An instance that is said to be in the database, and whose values are had when asked."""
        session, item = world.sessions[self.session], world.twin.item
        instance = item(**dict(zip(world.schema.key_columns, world.key(self.slot), strict=True)))
        make_transient_to_detached(instance)
        session.expunge_all()
        session.add(world.keep(instance))
        name = self.name if self.name in sa.inspect(item).attrs else "tag"
        return world.shown(name, getattr(instance, name))


RESULT_STEPS = (Take, GetAgain)
