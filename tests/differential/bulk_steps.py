"""Steps of the ORM's older ways: ``bulk_*`` and ``Query``; and of RETURNING."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tests.differential.models import SLOTS, Schema
from tests.differential.step import RowStep, Step
from tests.differential.values import OF_APPLICATIONS
from tests.differential.world import World

SYNCHRONIZE = ("auto", "evaluate", "fetch", False)


def synchronized(world: World, names: Iterable[str], asked: Any) -> Any:
    """How a session follows a statement: as it is asked to, or as the encrypted side does anyway.

    For an application's own type it asks the database. SQLAlchemy would evaluate what another
    session has changed meanwhile, expire objects that lack such a column, and take a value that is
    stored as NULL for equal to itself.
    """
    is_own = any(world.schema.column(n).kind in OF_APPLICATIONS for n in names)
    return "fetch" if is_own and asked in ("auto", "evaluate") else asked


@dataclass(frozen=True)
class LegacyBulk(Step):
    """``bulk_save_objects()``, ``bulk_insert_mappings()``, ``bulk_update_mappings()``."""

    rows: tuple[tuple[int, dict[str, Any], Any, int], ...]
    way: str
    weight = 3

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        slots = rng.sample(range(SLOTS), rng.randint(1, 3))
        whole = rng.random() < 0.5
        rows = tuple(
            (s, schema.draw_values(rng, whole=whole), schema.draw_tenant(rng), tag + i)
            for i, s in enumerate(slots)
        )
        ways = ("objects", "insert", "insert nulls", "insert many", "update", "save loaded")
        return {"rows": rows, "way": rng.choice(ways)}

    def run(self, world: World) -> Any:
        session, item = world.sessions[self.session], world.twin.item
        rows = [world.base_row(*row) for row in self.rows]
        match self.way:
            case "objects":
                made = [item(**{k: v for k, v in row.items() if k != "kind"}) for row in rows]
                session.bulk_save_objects(made)
            case "insert":
                session.bulk_insert_mappings(sa.inspect(item), rows)
            case "insert nulls":
                session.bulk_insert_mappings(sa.inspect(item), rows, render_nulls=True)
            case "insert many":
                session.execute(sa.insert(item), rows)
            case "update":
                session.bulk_update_mappings(sa.inspect(item), self._changes(world))
            case _:
                return self._save_loaded(world)
        return None

    def _changes(self, world: World) -> list[dict[str, Any]]:
        keys = world.schema.key_columns
        return [
            {**dict(zip(keys, world.key(slot), strict=True)), **world.own(values)}
            for slot, values, _, _ in self.rows
        ]

    def _save_loaded(self, world: World) -> Any:
        session = world.sessions[self.session]
        found = [(world.get(self.session, slot), values) for slot, values, _, _ in self.rows]
        changed = [(instance, values) for instance, values in found if instance is not None]
        for instance, values in changed:
            for name, value in world.own(values).items():
                setattr(instance, name, value)
        session.bulk_save_objects([instance for instance, _ in changed])
        return len(changed)


@dataclass(frozen=True)
class UpdateSome(Step):
    """Plain columns of many rows change, or the rows go; those that are loaded follow."""

    up_to: int
    by: str
    value: Any
    synchronize: Any
    delete: bool
    legacy: bool
    weight = 3

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        by = rng.choice(schema.columns)
        return {
            "up_to": rng.randrange(300),
            "by": by.name,
            "value": by.draw(rng) if by.is_found_exactly else None,
            "synchronize": rng.choice(SYNCHRONIZE),
            "delete": rng.random() < 0.2,
            "legacy": rng.random() < 0.4,
        }

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        if not world.own({self.by: None}):
            return None
        by = getattr(item, self.by)
        where = [item.tag <= self.up_to]
        if self.value is not None:
            where.append(by == self.value)
        if world.schema.tenant:
            where.append(item.tenant == world.some_tenant)
        how = synchronized(world, [self.by], self.synchronize)
        if self.legacy:
            return self._legacy(session.query(item).filter(*where), how)
        statement: Any = sa.delete(item) if self.delete else sa.update(item).values(touched=7)
        options = {"synchronize_session": how}
        done: Any = session.execute(statement.where(*where), execution_options=options)
        return done.rowcount

    def _legacy(self, query: Any, how: Any) -> Any:
        if self.delete:
            return query.delete(synchronize_session=how)
        return query.update({"touched": 7}, synchronize_session=how)


@dataclass(frozen=True)
class Returning(RowStep):
    """A row is updated or deleted, and comes back: as an entity or as columns."""

    values: dict[str, Any]
    tenant: Any
    delete: bool
    entity: bool

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = {
            "values": schema.draw_values(rng, whole=False),
            "tenant": schema.draw_tenant(rng),
            "delete": rng.random() < 0.3,
            "entity": rng.random() < 0.5,
        }
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        where = [world.is_slot(self.slot)]
        if world.schema.tenant:
            where.append(item.tenant == self.tenant)
        values = world.own(self.values)
        statement: Any = sa.delete(item) if self.delete else sa.update(item).values(values)
        statement = statement.where(*where)
        if self.entity:
            return [world.see(i) for i in session.scalars(statement.returning(item))]
        named = [getattr(item, name) for name in values]
        return world.rows(session.execute(statement.returning(item.tag, *named)))


BULK_STEPS = (LegacyBulk, UpdateSome, Returning)
