"""Steps about one attribute: what is assigned that is no value, and what is known about it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, make_transient, object_session
from sqlalchemy.orm.attributes import (
    flag_dirty,
    flag_modified,
    get_history,
    set_committed_value,
)
from sqlalchemy.orm.base import PASSIVE_NO_INITIALIZE
from sqlalchemy.orm.util import identity_key

from tests.differential.models import Schema
from tests.differential.step import RowStep, Step, WholeRowStep
from tests.differential.world import World, shown

ASSIGN = (
    "delete", "flag", "flag and set", "dirty", "committed", "null", "expression", "unloaded",
    "expression and value", "twice", "from other",
)  # fmt: skip
ASK = (
    "history", "passive history", "known", "refresh relation", "expire relation", "skip locked",
    "share", "key",
)  # fmt: skip


@dataclass(frozen=True)
class Assign(RowStep):
    """An attribute is deleted, flagged, set behind its own back, or to an expression."""

    name: str
    value: Any
    way: str
    weight = 6

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        column = rng.choice(schema.columns)
        rest = {"name": column.name, "value": column.draw(rng), "way": rng.choice(ASSIGN)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        session, instance = world.sessions[self.session], world.get(self.session, self.slot)
        if instance is None or self.name not in sa.inspect(instance).attrs:
            return None
        if self.way == "unloaded":
            session.expire(instance, [self.name])
            setattr(instance, self.name, self.value)
        elif self.way == "from other":
            other = world.get(self.session, (self.slot + 1) % 5)
            setattr(instance, self.name, getattr(other, self.name, None))
        else:
            self._assign(world, instance)
        history = sa.inspect(instance).attrs[self.name].history
        told = [[_told(v) for v in part] for part in history]
        return told, session.is_modified(instance), session.is_modified(instance, False)

    def _assign(self, world: World, instance: Any) -> None:
        item, name = world.twin.item, self.name
        match self.way:
            case "delete":
                getattr(instance, name)
                delattr(instance, name)
            case "flag" | "flag and set":
                getattr(instance, name)
                flag_modified(instance, name)
                if self.way == "flag and set":
                    setattr(instance, name, self.value)
            case "dirty":
                flag_dirty(instance)
            case "committed":
                set_committed_value(instance, name, self.value)
            case "null":
                setattr(instance, name, sa.null())
            case "expression" | "expression and value":
                instance.touched = item.touched + 100
                if self.way == "expression and value":
                    setattr(instance, name, self.value)
            case "twice":
                for value in (None, self.value):
                    setattr(instance, name, value)


def _told(value: Any) -> Any:
    return "an expression" if isinstance(value, sa.ClauseElement) else shown(value)


@dataclass(frozen=True)
class AskAbout(RowStep):
    """What SQLAlchemy says about an instance and its attributes; and parts of it read again."""

    name: str
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = {"name": rng.choice(schema.columns).name, "way": rng.choice(ASK)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        session, instance = world.sessions[self.session], world.get(self.session, self.slot)
        if instance is None or self.name not in sa.inspect(instance).attrs:
            return None
        state = sa.inspect(instance)
        match self.way:
            case "history":
                return [
                    [_told(v) for v in part or ()] for part in state.attrs[self.name].load_history()
                ]
            case "passive history":
                session.expire(instance, [self.name])
                history = get_history(instance, self.name, PASSIVE_NO_INITIALIZE)
                return [[_told(v) for v in part or ()] for part in history]
            case "known":
                known = sorted(state.dict.keys() & {c.name for c in world.schema.columns})
                flags = state.persistent, state.modified, state.was_deleted
                return known, sorted(state.unmodified), flags, object_session(instance) is session
            case "refresh relation":
                session.refresh(instance, ["children", self.name])
                return world.see(instance), [world.see(c) for c in instance.children]
            case "expire relation":
                session.expire(instance, ["children"])
                return [world.see(c) for c in instance.children]
            case "skip locked" | "share":
                lock = {"skip_locked": True} if self.way == "skip locked" else {"read": True}
                key = state.identity[0] if len(state.identity) == 1 else state.identity
                found = session.get(world.twin.item, key, with_for_update=lock)
                return world.see(found)
        return identity_key(instance=instance)[1] == state.identity, world.see(instance)


@dataclass(frozen=True)
class Remake(WholeRowStep):
    """A row is deleted and made again in one flush, or an instance is made without being added."""

    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = (
            "replace",
            "replace",
            "copy",
            "elsewhere",
            "merge all",
            "save",
            "cascade",
            "pending",
        )
        return {**super().draw_rest(rng, schema, tag), "way": rng.choice(ways)}

    def run(self, world: World) -> Any:
        session, item = world.sessions[self.session], world.twin.item
        names = sa.inspect(item).column_attrs.keys()
        row = world.new_row(self.slot, self.values, self.tenant, self.tag)
        row |= dict(zip(world.schema.key_columns, world.key(self.slot), strict=True))
        made = item(**{n: v for n, v in row.items() if n in names})
        if self.way == "pending":
            state = sa.inspect(made)
            return (
                [getattr(made, n) is None for n in names],
                state.transient,
                sorted(state.unloaded),
            )
        if self.way == "merge all":
            merge_all = getattr(session, "merge_all", lambda all_: [session.merge(i) for i in all_])
            return [world.see(i) for i in merge_all([made])]
        if self.way == "save":
            return session.bulk_save_objects([made], return_defaults=True, preserve_order=False)
        if (instance := world.get(self.session, self.slot)) is None:
            return None
        return self._of_one(world, session, instance, made)

    def _of_one(self, world: World, session: Session, instance: Any, made: Any) -> Any:
        match self.way:
            case "replace":
                # The unit of work makes one UPDATE of it.
                session.delete(instance)
                session.add(world.keep(made))
                return session.flush()
            case "copy":
                world.see(instance)
                session.flush()
                session.expunge(instance)
                make_transient(instance)
                session.execute(sa.delete(world.twin.child))
                session.execute(sa.delete(world.twin.item).where(world.is_slot(self.slot)))
                instance.tag = self.tag
                session.add(instance)
                return session.flush()
            case "elsewhere":
                # What one session has loaded is written by another on the same connection.
                world.see(instance)
                session.flush()
                session.expunge(instance)
                with Session(session.connection()) as other:
                    other.add(instance)
                    for name, value in world.own(self.values).items():
                        setattr(instance, name, value)
                    other.flush()
                    other.expunge(instance)
                session.add(instance)
                return world.see(instance)
        session.refresh(instance)
        return [
            world.see(i)
            for i in session.scalars(sa.select(type(instance)).where(world.is_slot(self.slot)))
        ]


ATTRIBUTE_STEPS: tuple[type[Step], ...] = (Assign, AskAbout, Remake)
