"""Steps about instances that leave their session and come back, and about their relations."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import make_transient

from tests.differential.models import Schema
from tests.differential.step import RowStep, Step
from tests.differential.world import World

WAYS_BACK = ("add", "merge", "merge unloaded", "transient")


@dataclass(frozen=True)
class Detach(RowStep):
    """An instance leaves its session, maybe changes, and comes back in one of several ways."""

    values: dict[str, Any]
    way: str
    weight = 3

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        values = schema.draw_values(rng, whole=False) if rng.random() < 0.6 else {}
        rest = {"values": values, "way": rng.choice(WAYS_BACK)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        session, instance = world.sessions[self.session], world.get(self.session, self.slot)
        if instance is None:
            return None
        world.see(instance)
        session.flush()
        session.expunge(instance)
        if self.way == "merge unloaded":
            # SQLAlchemy wants nothing changed in it.
            return world.see(session.merge(instance, load=False))
        for name, value in self.values.items():
            if name in sa.inspect(instance).attrs:
                setattr(instance, name, value)
        if self.way == "merge":
            return world.see(session.merge(instance))
        if self.way == "transient":
            session.execute(sa.delete(world.twin.child))
            session.execute(sa.delete(type(instance)).where(world.is_slot(self.slot)))
            make_transient(instance)
        session.add(instance)
        return world.see(instance)


@dataclass(frozen=True)
class Mutate(RowStep):
    """A value changes inside."""

    name: str
    tag: int

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = {"name": rng.choice(schema.columns).name, "tag": tag}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        instance = world.get(self.session, self.slot)
        value = getattr(instance, self.name, None)
        if not isinstance(value, dict | list):
            return None
        if isinstance(value, dict):
            value["changed"] = self.tag
        else:
            value.append(self.tag)
        return world.sessions[self.session].is_modified(instance)


@dataclass(frozen=True)
class Reparent(RowStep):
    """The first child of a row becomes another's, or nobody's, or its note changes."""

    to: int
    what: str

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        what = rng.choice(("move", "orphan", "note", "delete"))
        return {**super().draw_rest(rng, schema, tag), "to": rng.randrange(5), "what": what}

    def run(self, world: World) -> Any:
        session, instance = world.sessions[self.session], world.get(self.session, self.slot)
        if instance is None or not instance.children:
            return None
        child = world.keep(instance.children[0])
        match self.what:
            case "move":
                if (other := world.get(self.session, self.to)) is not None:
                    child.item = other
            case "orphan":
                instance.children.remove(child)
            case "note":
                child.note = f"note {self.to}"
            case "delete":
                session.delete(child)
        return len(instance.children)


@dataclass(frozen=True)
class Lock(RowStep):
    """A row is read again under a lock."""

    def run(self, world: World) -> Any:
        found = world.sessions[self.session].scalars(
            sa.select(world.twin.item)
            .where(world.is_slot(self.slot))
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        return [world.see(i) for i in found]


@dataclass(frozen=True)
class Behind(RowStep):
    """A plain column changes behind the session's back, in SQL that nobody understands."""

    tag: int
    weight = 1

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {**super().draw_rest(rng, schema, tag), "tag": tag}

    def run(self, world: World) -> Any:
        table = world.twin.item.__table__.name
        statement = sa.text(f"UPDATE {table} SET touched = touched + 1 WHERE tag < :tag")
        done: Any = world.sessions[self.session].execute(statement, {"tag": self.tag})
        return done.rowcount


@dataclass(frozen=True)
class Close(Step):
    """The session is closed and used again."""

    weight = 1

    def run(self, world: World) -> Any:
        world.sessions[self.session].close()
        world.nested[self.session].clear()


INSTANCE_STEPS = (Detach, Mutate, Reparent, Lock, Behind, Close)
