"""Steps about whole objects: merged with their children, pickled, seen through a proxy."""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tests.differential.models import Schema
from tests.differential.step import RowStep, Step, WholeRowStep
from tests.differential.world import World

NOTES = ("x", "", "note")


@dataclass(frozen=True)
class MergeTree(WholeRowStep):
    """An instance with children that came from elsewhere; some of them may be there."""

    notes: tuple[str, ...]
    known: bool
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        notes = tuple(rng.choice(NOTES) for _ in range(rng.randint(0, 2)))
        rest = {"notes": notes, "known": rng.random() < 0.5}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        session, child = world.sessions[self.session], world.twin.child
        row = world.new_row(self.slot, self.values, self.tenant, self.tag)
        row |= dict(zip(world.schema.key_columns, world.key(self.slot), strict=True))
        names = sa.inspect(world.twin.item).column_attrs.keys()
        given = world.twin.item(**{n: v for n, v in row.items() if n in names})
        known = session.scalars(sa.select(child.id).order_by(child.id)).all() if self.known else []
        for number, note in enumerate(self.notes):
            id_ = known[number] if number < len(known) else 5000 + self.tag + number
            given.children.append(child(id=id_, tag=self.tag + number, note=note))
        merged = world.keep(session.merge(given))
        session.flush()
        return world.see(merged), [world.see(c) for c in sorted(merged.children, key=_id)]


def _id(child: Any) -> int:
    return int(child.id)


@dataclass(frozen=True)
class Pickle(RowStep):
    """An instance, or rows, that were pickled somewhere and come back."""

    values: dict[str, Any]
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("look", "merge", "merge unloaded", "add", "changed", "rows", "loaded", "tree")
        rest = {"values": schema.draw_values(rng, whole=False), "way": rng.choice(ways)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        session, item = world.sessions[self.session], world.twin.item
        names = [n for n in self.values if hasattr(item, n)]
        if self.way == "rows":
            some = sa.select(item.tag, *(getattr(item, n) for n in names)).order_by(item.tag)
            rows = pickle.loads(pickle.dumps(session.execute(some).all()))
            return [[world.shown("", v) for v in row] for row in rows]
        instance = world.get(self.session, self.slot)
        if instance is None:
            return None
        if self.way in ("loaded", "tree"):
            world.see(instance)
            len(instance.children)
        session.flush()
        copied = world.keep(pickle.loads(pickle.dumps(instance)))
        match self.way:
            case "look" | "loaded":
                return sorted(sa.inspect(copied).unloaded), sorted(sa.inspect(copied).dict)
            case "merge unloaded" if not sa.inspect(copied).modified:
                return world.see(session.merge(copied, load=False))
            case "add":
                session.expunge(instance)
                session.add(copied)
                return world.see(copied)
            case "changed":
                for name in names:
                    setattr(copied, name, self.values[name])
                copied = world.keep(pickle.loads(pickle.dumps(copied)))
        return world.see(session.merge(copied))


@dataclass(frozen=True)
class UseProxy(RowStep):
    """The notes of an item's children, as if they were its own."""

    note: str
    way: str

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("list", "append", "remove", "set", "contains", "any", "not contains", "of child")
        rest = {"note": rng.choice(NOTES), "way": rng.choice(ways)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        session, item = world.sessions[self.session], world.twin.item
        if self.way in ("contains", "any", "not contains"):
            where = item.all_notes == self.note
            if self.way == "any":
                where = item.children.any(world.twin.child.tag > 50)
            where = ~where if self.way == "not contains" else where
            found = session.scalars(sa.select(item).where(where).order_by(item.tag))
            return [world.see(i) for i in found]
        if self.way == "of child":
            child = world.twin.child
            some = sa.select(child.id, child.note).where(child.note.in_([self.note, "other"]))
            return world.rows(session.execute(some.order_by(child.id)))
        if (instance := world.get(self.session, self.slot)) is None:
            return None
        notes = instance.all_notes
        match self.way:
            case "append":
                notes.append(self.note)
            case "remove" if self.note in notes:
                notes.remove(self.note)
            case "set":
                instance.all_notes = [self.note]
        return list(instance.all_notes)


@dataclass(frozen=True)
class Plants(Step):
    """Rows of a concrete hierarchy, each class of which has a table."""

    id_: int
    value: Any
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("plant", "tree", "plant", "tree", "all", "trees", "get", "get tree", "set", "find",
                "delete", "column", "update", "bulk", "refresh", "limit")  # fmt: skip
        value = schema.columns[0].draw(rng)
        return {"id_": rng.randint(1, 4), "value": value, "way": rng.choice(ways)}

    def run(self, world: World) -> Any:
        session = world.sessions[self.session]
        plant, tree = world.twin.plant, world.twin.tree
        match self.way:
            case "plant" | "tree":
                made = plant if self.way == "plant" else tree
                id_ = self.id_ if self.way == "plant" else self.id_ + 20
                session.add(world.keep(made(id=id_, value=self.value)))
                return session.flush()
            case "all" | "limit":
                found = sa.select(plant).order_by(plant.id)
                found = found.limit(2) if self.way == "limit" else found
                return sorted(repr(self._seen(world, p)) for p in session.scalars(found))
            case "trees":
                return [self._seen(world, t) for t in session.scalars(sa.select(tree))]
            case "column":
                some = sa.select(tree.id, tree.value).order_by(tree.id)
                return world.rows(session.execute(some))
            case "find" if world.schema.columns[0].is_found_exactly:
                found = sa.select(tree).where(tree.value == self.value).order_by(tree.id)
                return [self._seen(world, t) for t in session.scalars(found)]
            case "update":
                # SQLAlchemy knows no table of the class itself here.
                table = tree.__table__
                changed = sa.update(table).where(table.c.id == self.id_ + 20)
                return session.connection().execute(changed.values(value=self.value)).rowcount
            case "bulk":
                rows = [{"id": 10 + self.id_, "value": self.value}]
                session.connection().execute(sa.insert(tree.__table__), rows)
                return None
        return self._of_one(world)

    def _of_one(self, world: World) -> Any:
        session = world.sessions[self.session]
        made = world.twin.tree if self.way in ("get tree", "set") else world.twin.plant
        id_ = self.id_ + 20 if made is world.twin.tree or self.way == "delete" else self.id_
        found = world.keep(session.get(made, id_))
        if found is None:
            return None
        match self.way:
            case "set":
                found.value = self.value
            case "delete":
                session.delete(found)
                return session.flush()
            case "refresh":
                session.refresh(found)
        return self._seen(world, found)

    def _seen(self, world: World, plant: Any) -> Any:
        world.keep(plant)
        return type(plant).__name__, plant.id, world.shown("", plant.value)


TREE_STEPS = (MergeTree, Pickle, UseProxy, Plants)
