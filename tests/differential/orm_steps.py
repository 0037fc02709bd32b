"""Steps of the unit of work: what an application does with instances."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tests.differential.models import SLOTS, Schema
from tests.differential.step import RowStep, Step, WholeRowStep
from tests.differential.world import World, shown


@dataclass(frozen=True)
class Add(WholeRowStep):
    """A new instance, of the class or the subclass; columns may be left unset."""

    sub: bool
    weight = 8

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = super().draw_rest(rng, schema, tag)
        if rng.random() < 0.3:
            rest["values"] = {n: v for n, v in rest["values"].items() if v is not None}
        return {**rest, "sub": rng.random() < 0.4}

    def run(self, world: World) -> Any:
        row = world.new_row(self.slot, self.values, self.tenant, self.tag)
        made = world.twin.sub if self.sub else world.twin.item
        names = sa.inspect(made).column_attrs.keys()
        instance = world.keep(made(**{n: v for n, v in row.items() if n in names}))
        world.sessions[self.session].add(instance)
        world.added[self.slot] = instance


@dataclass(frozen=True)
class Flush(Step):
    weight = 4

    def run(self, world: World) -> Any:
        world.sessions[self.session].flush()


@dataclass(frozen=True)
class Commit(Step):
    weight = 6

    def run(self, world: World) -> Any:
        world.sessions[self.session].commit()
        world.nested[self.session].clear()


@dataclass(frozen=True)
class Rollback(Step):
    def run(self, world: World) -> Any:
        world.sessions[self.session].rollback()
        world.nested[self.session].clear()


@dataclass(frozen=True)
class Savepoint(Step):
    def run(self, world: World) -> Any:
        world.nested[self.session].append(world.sessions[self.session].begin_nested())


@dataclass(frozen=True)
class EndSavepoint(Step):
    """The innermost savepoint is released, or rolled back to."""

    keep: bool
    weight = 3

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {"keep": rng.random() < 0.5}

    def run(self, world: World) -> Any:
        if not world.nested[self.session]:
            return None
        nested = world.nested[self.session].pop()
        return nested.commit() if self.keep else nested.rollback()


@dataclass(frozen=True)
class Look(RowStep):
    """A row by its key, and that the identity map has it once."""

    weight = 4

    def run(self, world: World) -> Any:
        first, again = (world.get(self.session, self.slot) for _ in range(2))
        return world.see(first), first is again


@dataclass(frozen=True)
class Set(RowStep):
    """Attributes are assigned, maybe and back again, and their history is looked at."""

    values: dict[str, Any]
    back: bool
    weight = 8

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = {"values": schema.draw_values(rng, whole=False), "back": rng.random() < 0.15}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        instance = world.get(self.session, self.slot)
        if instance is None:
            return None
        state = sa.inspect(instance)
        values = {n: v for n, v in self.values.items() if n in state.attrs}
        before = {n: getattr(instance, n) for n in values} if self.back else {}
        for name, value in [*values.items(), *before.items()]:
            setattr(instance, name, value)
        history = {n: [list(map(shown, p)) for p in state.attrs[n].history] for n in values}
        return history, world.sessions[self.session].is_modified(instance)


@dataclass(frozen=True)
class SetSame(RowStep):
    """Every attribute is assigned what it has."""

    def run(self, world: World) -> Any:
        instance = world.get(self.session, self.slot)
        if instance is None:
            return None
        for name in world.schema.columns:
            if hasattr(instance, name.name):
                setattr(instance, name.name, getattr(instance, name.name))
        return world.sessions[self.session].is_modified(instance)


@dataclass(frozen=True)
class SetPlain(RowStep):
    """Only a column that is plain on both sides changes."""

    tag: int

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {**super().draw_rest(rng, schema, tag), "tag": tag}

    def run(self, world: World) -> Any:
        if (instance := world.get(self.session, self.slot)) is not None:
            instance.tag = self.tag


@dataclass(frozen=True)
class ChangeKey(RowStep):
    """The row moves to another primary key."""

    to: int

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {**super().draw_rest(rng, schema, tag), "to": rng.randrange(SLOTS)}

    def run(self, world: World) -> Any:
        instance = world.get(self.session, self.slot)
        if instance is not None:
            for name, value in zip(
                world.schema.key_columns, world.schema.key_of(self.to), strict=True
            ):
                setattr(instance, name, value)


@dataclass(frozen=True)
class ChangeTenant(RowStep):
    """The row moves to another tenant, maybe with a value."""

    tenant: Any
    values: dict[str, Any]

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        values = schema.draw_values(rng, whole=False) if rng.random() < 0.5 else {}
        rest = {"tenant": schema.draw_tenant(rng), "values": values}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        instance = world.get(self.session, self.slot)
        if instance is None:
            return
        if world.schema.tenant:
            instance.tenant = self.tenant
        for name, value in self.values.items():
            if name in sa.inspect(instance).attrs:
                setattr(instance, name, value)


@dataclass(frozen=True)
class Delete(RowStep):
    def run(self, world: World) -> Any:
        if (instance := world.get(self.session, self.slot)) is not None:
            world.sessions[self.session].delete(instance)


@dataclass(frozen=True)
class Merge(WholeRowStep):
    """An instance that came from elsewhere is merged; some of its attributes were never set."""

    def run(self, world: World) -> Any:
        row = world.new_row(self.slot, self.values, self.tenant, self.tag)
        row |= dict(zip(world.schema.key_columns, world.key(self.slot), strict=True))
        names = sa.inspect(world.twin.item).column_attrs.keys()
        given = world.twin.item(**{n: v for n, v in row.items() if n in names})
        merged = world.keep(world.sessions[self.session].merge(given))
        return type(merged).__name__


@dataclass(frozen=True)
class Expire(RowStep):
    """An instance is expired, as a whole or in one attribute, or refreshed at once."""

    name: str | None
    refresh: bool

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        name = rng.choice((None, rng.choice(schema.columns).name))
        rest = {"name": name, "refresh": rng.random() < 0.5}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        instance = world.get(self.session, self.slot)
        if instance is None:
            return None
        names = [self.name] if self.name and self.name in sa.inspect(instance).attrs else None
        session = world.sessions[self.session]
        session.refresh(instance, names) if self.refresh else session.expire(instance, names)
        return world.see(instance)


@dataclass(frozen=True)
class AddChild(RowStep):
    """A row of another class that refers to an item."""

    note: str
    tag: int

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = {"note": rng.choice(("x", "", "note")), "tag": tag}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        instance = world.get(self.session, self.slot)
        if instance is not None:
            child = world.twin.child(id=self.tag, tag=self.tag, note=self.note)
            instance.children.append(world.keep(child))


@dataclass(frozen=True)
class IdentityMap(Step):
    """How many instances of each class there are, and which are new or changed."""

    def run(self, world: World) -> Any:
        session = world.sessions[self.session]
        names = sorted(type(i).__name__ for i in session.identity_map.values())
        return names, len(session.new), len(session.dirty), len(session.deleted)


ORM_STEPS = (
    Add, Flush, Commit, Rollback, Savepoint, EndSavepoint, Look, Set, SetSame, SetPlain,
    ChangeKey, ChangeTenant, Delete, Merge, Expire, AddChild, IdentityMap,
)  # fmt: skip
