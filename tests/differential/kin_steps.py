"""Steps about items that refer to items, and about attributes that are more than columns."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import (
    Session,
    aliased,
    joinedload,
    lazyload,
    selectinload,
    subqueryload,
    with_loader_criteria,
)

from tests.differential.models import SLOTS, Both, Schema
from tests.differential.step import RowStep, Step
from tests.differential.tree_steps import NOTES
from tests.differential.values import KINDS
from tests.differential.world import World, shown

LOADERS = {
    "lazy": None,
    "joined": joinedload,
    "selectin": selectinload,
    "subquery": subqueryload,
}


@dataclass(frozen=True)
class Relate(RowStep):
    """An item gets a relative, or loses the first."""

    to: int
    drop: bool
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = {"to": rng.randrange(SLOTS), "drop": rng.random() < 0.3}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        if not world.schema.kin:
            return None
        one, other = (world.get(self.session, slot) for slot in (self.slot, self.to))
        if one is None or other is None:
            return None
        if self.drop and one.kin:
            one.kin.remove(one.kin[0])
        elif other not in one.kin:
            one.kin.append(other)
        return [world.see(i) for i in one.kin]


@dataclass(frozen=True)
class LoadKin(Step):
    """Every item with its relatives, and maybe theirs."""

    loader: str
    deep: bool
    sub: bool
    limit: bool
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        deep, sub, limit = (rng.random() < p for p in (0.3, 0.3, 0.3))
        return {"loader": rng.choice(tuple(LOADERS)), "deep": deep, "sub": sub, "limit": limit}

    def run(self, world: World) -> Any:
        if not world.schema.kin:
            return None
        made = world.twin.sub if self.sub else world.twin.item
        statement = sa.select(made).order_by(made.tag)
        if (load := LOADERS[self.loader]) is not None:
            option = load(made.kin)
            if self.deep:
                option = getattr(option, load.__name__)(world.twin.item.kin)
            statement = statement.options(option)
        statement = statement.limit(3).offset(1) if self.limit else statement
        found = world.sessions[self.session].scalars(statement).unique().all()
        return [(world.see(i), [world.see(k) for k in i.kin]) for i in found]


@dataclass(frozen=True)
class LoadSome(Step):
    """Items with those of their children, or relatives, whose value is asked for: one statement
    after the other, each with its own value, of which SQLAlchemy compiles the first."""

    loader: str
    way: str
    name: str
    notes: tuple[str | None, ...]
    values: tuple[Any, ...]

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        column = rng.choice([c for c in schema.columns if c.is_found_exactly] or schema.columns)
        return {
            "loader": rng.choice(tuple(LOADERS)),
            "way": rng.choice(("note", "class", "notes", "kin")),
            "name": column.name,
            "notes": tuple(rng.choice((*NOTES, None)) for _ in range(3)),
            "values": tuple(KINDS[column.kind].draw_asked(rng) for _ in range(3)),
        }

    def run(self, world: World) -> Any:
        session = world.sessions[self.session]
        if self.way == "kin":
            is_exact = world.schema.column(self.name).is_found_exactly
            if not world.schema.kin or world.schema.tenant or not is_exact:
                return None
        session.flush()
        loaded = []
        for value in self.values if self.way == "kin" else self.notes:
            # Another session has nothing loaded yet, and its own copy of each item.
            with Session(session.connection()) as other:
                loaded.append(self._load(world, other, value))
        return loaded

    def _load(self, world: World, session: Session, value: Any) -> Any:
        item, child = world.twin.item, world.twin.child
        load = LOADERS[self.loader] or lazyload
        statement = sa.select(item).order_by(item.tag)
        match self.way:
            case "kin":
                some = load(item.kin.and_(getattr(item, self.name) == value))
            case "notes":
                some = load(item.children.and_(child.note.in_([value, "x"])))
            case "class":
                statement = statement.options(with_loader_criteria(child, child.note == value))
                some = load(item.children)
            case _:
                some = load(item.children.and_(child.note == value))
        found = session.scalars(statement.options(some)).unique()
        return [
            (i.tag, [one.tag for one in (i.kin if self.way == "kin" else i.children)])
            for i in found
        ]


@dataclass(frozen=True)
class LoadNamesakes(Step):
    """Items with those that have the same value, which a join or a look-up of each value finds."""

    loader: str
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {
            "loader": rng.choice(tuple(LOADERS)),
            "way": rng.choice(("load", "any", "join", "contains")),
        }

    def run(self, world: World) -> Any:
        if not world.schema.has_namesakes:
            return None
        item, session = world.twin.item, world.sessions[self.session]
        found: Any = sa.select(item).order_by(item.tag)
        match self.way:
            case "any":
                found = found.where(item.namesakes.any(item.tag > 50))
            case "join":
                other = aliased(item, name="namesake", flat=True)
                found = sa.select(item.tag, other.tag.label("other"))
                found = found.join(item.namesakes.of_type(other)).order_by(item.tag, other.tag)
                return world.rows(session.execute(found))
            case "contains":
                first = session.scalars(found.limit(1)).first()
                if first is None:
                    return None
                found = found.where(item.namesakes.contains(first))
        load = LOADERS[self.loader]
        found = found.options(load(item.namesakes)) if load else found
        items = session.scalars(found.execution_options(populate_existing=True)).unique().all()
        return [(world.see(i), [world.see(k) for k in i.namesakes]) for i in items]


@dataclass(frozen=True)
class FindKin(Step):
    """Items by what their relatives are; and what a table between them holds."""

    way: str
    name: str

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("any", "none", "join", "outer", "table", "where")
        return {"way": rng.choice(ways), "name": rng.choice(schema.columns).name}

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        if not world.schema.kin or not hasattr(item, self.name):
            return None
        other = aliased(item, name="relative")
        match self.way:
            case "any":
                found: Any = sa.select(item).where(item.kin.any(item.tag > 50))
            case "none":
                found = sa.select(item).where(~item.kin.any())
            case "join":
                found = sa.select(item, getattr(other, self.name)).join(item.kin.of_type(other))
                found = found.order_by(other.tag)
            case "outer":
                found = sa.select(item.tag, other).outerjoin(item.kin.of_type(other))
                found = found.order_by(item.tag, other.tag)
            case "where":
                found = sa.select(item.tag, getattr(other, self.name)).where(
                    item.kin.of_type(other), other.tag > 20
                )
                found = found.order_by(other.tag)
            case _:
                table = world.twin.base.metadata.tables.get(f"{world.twin.prefix}_friends")
                if table is None:
                    return None
                rows = session.execute(sa.select(table).where(table.c.why.is_not(None)))
                return sorted(map(repr, world.rows(rows)))
        if self.way in ("any", "none", "join", "where"):
            found = found.order_by(item.tag)
        return [
            [world.see(v) if isinstance(v, world.twin.base) else world.shown("", v) for v in row]
            for row in session.execute(found)
        ]


@dataclass(frozen=True)
class UseExtra(RowStep):
    """A value by another name, as part of a composite, through a hybrid; and what it then is."""

    way: str
    value: Any
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("hybrid", "synonym", "composite", "server", "note", "find hybrid", "find synonym",
                "select composite", "find composite")  # fmt: skip
        rest = {"way": rng.choice(ways), "value": schema.columns[0].draw(rng)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        if self.way.split()[-1] not in world.schema.extras:
            return None
        if " " in self.way:
            return self._find(world)
        if (instance := world.get(self.session, self.slot)) is None:
            return None
        match self.way:
            case "hybrid":
                return shown(instance.hybrid)
            case "synonym":
                instance.other_name = self.value
            case "composite":
                before = instance.both
                instance.both = Both(self.value, before.second if before is not None else None)
                return world.sessions[self.session].is_modified(instance)
            case "server":
                instance.stamp = 4
            case "note":
                return world.shown("", instance.first_note)
        return world.see(instance)

    def _find(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        is_found = world.schema.columns[0].is_found_exactly and not world.schema.tenant
        if self.way == "select composite":
            found = session.execute(sa.select(item.tag, item.both).order_by(item.tag))
            return [(tag, shown(b.first), shown(b.second)) for tag, b in found]
        if self.way == "find composite":
            by = item.c0
        else:
            by = item.hybrid if self.way == "find hybrid" else item.other_name
        if is_found:
            condition = by == self.value
        else:
            condition = by.is_(None) if self.value is None else by.is_not(None)
        return world.rows(
            session.execute(sa.select(item.tag, by).where(condition).order_by(item.tag))
        )


KIN_STEPS = (Relate, LoadKin, LoadSome, LoadNamesakes, FindKin, UseExtra)
