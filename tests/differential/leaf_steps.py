"""Steps about collections that are not loaded as a list, and about keys within keys."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import joinedload, selectinload, with_parent

from tests.differential.models import Schema
from tests.differential.step import RowStep, Step
from tests.differential.world import World

WORDS = ("x", "", "note", "ä")


@dataclass(frozen=True)
class ChangeLeaves(RowStep):
    """An item gets a leaf, loses one, or one of its leaves changes: by its collection."""

    number: int
    word: str
    way: str
    weight = 6

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("add", "add", "add", "remove", "set", "update", "weigh", "insert", "delete")
        rest = {"number": rng.randint(1, 4), "word": rng.choice(WORDS), "way": rng.choice(ways)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        if not world.schema.leaves:
            return None
        if (instance := world.get(self.session, self.slot)) is None:
            return None
        if self.way in ("add", "remove", "set"):
            return self._by_instance(world, instance)
        return self._by_statement(world, instance)

    def _by_instance(self, world: World, instance: Any) -> Any:
        session, leaf, how = world.sessions[self.session], world.twin.leaf, world.schema.leaves
        if self.way == "add":
            made = world.keep(leaf(number=self.number, word=self.word))
            match how:
                case "keyed":
                    instance.leaves[self.word] = made
                case "write only":
                    instance.leaves.add(made)
                case "ordered" if self.number % 2:
                    instance.leaves.insert(0, made)  # which renumbers the others
                case _:
                    instance.leaves.append(made)
            return None
        mine = with_parent(instance, world.twin.item.leaves)
        one = session.scalars(sa.select(leaf).where(mine).order_by(leaf.number)).first()
        if one is None:
            return None
        if self.way == "set" and how != "keyed":  # whose keys are the words
            one.word = self.word
            return session.is_modified(one)
        match how:
            case "keyed":
                instance.leaves.pop(one.word, None)
            case "list" | "ordered" if one not in instance.leaves:
                return None
            case _:
                instance.leaves.remove(one)
        return None

    def _by_statement(self, world: World, instance: Any) -> Any:
        session: Any = world.sessions[self.session]
        leaf, how = world.twin.leaf, world.schema.leaves
        session.flush()
        mine = with_parent(instance, world.twin.item.leaves)
        is_it = leaf.number == self.number
        values = {"word": self.word} if self.way == "update" else {"weight": self.number}
        match self.way:
            case "insert" if how == "write only":
                rows = [{"number": self.number, "word": self.word}]
                return session.execute(instance.leaves.insert(), rows).rowcount
            case "insert":
                return None
            case "delete" if how == "write only":
                statement = instance.leaves.delete().where(leaf.word == self.word)
            case "delete" if how == "dynamic":
                mine = instance.leaves.order_by(None)
                return mine.filter(leaf.word == self.word).delete()
            case "delete":
                statement = sa.delete(leaf).where(mine, leaf.word == self.word)
            case _ if how == "write only":
                statement = instance.leaves.update().where(is_it).values(**values)
            case _:
                statement = sa.update(leaf).where(mine, is_it).values(**values)
        return session.execute(statement).rowcount


@dataclass(frozen=True)
class FindLeaves(RowStep):
    """An item's leaves, or those of all, by what they say; and items by what their leaves say."""

    word: str
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("look", "find", "all", "any", "join", "eager", "joined", "count", "get")
        rest = {"word": rng.choice(WORDS), "way": rng.choice(ways)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        item, leaf, how = world.twin.item, world.twin.leaf, world.schema.leaves
        session: Any = world.sessions[self.session]
        if not how:
            return None
        match self.way:
            case "all":
                found = sa.select(leaf).join(leaf.item).where(leaf.word == self.word)
                found = found.order_by(item.tag, leaf.number)
                return [world.see(one) for one in session.scalars(found)]
            case "any":
                found = sa.select(item).where(item.leaves.any(leaf.word == self.word))
                return [world.see(i) for i in session.scalars(found.order_by(item.tag))]
            case "join":
                found = sa.select(item.tag, leaf.word, leaf.number).join(item.leaves)
                return world.rows(session.execute(found.order_by(item.tag, leaf.number)))
            case "eager" | "joined" if how not in ("dynamic", "write only"):
                load = selectinload if self.way == "eager" else joinedload
                found = sa.select(item).options(load(item.leaves)).order_by(item.tag)
                found = found.execution_options(populate_existing=True)
                items = session.scalars(found).unique().all()
                return [(i.tag, _seen(world, _members(i, how))) for i in items]
        if (instance := world.get(self.session, self.slot)) is None:
            return None
        session.flush()
        return self._of_one(world, instance)

    def _of_one(self, world: World, instance: Any) -> Any:
        leaf, how = world.twin.leaf, world.schema.leaves
        session: Any = world.sessions[self.session]
        match self.way:
            case "count":
                mine = with_parent(instance, world.twin.item.leaves)
                return session.scalar(sa.select(sa.func.count()).select_from(leaf).where(mine))
            case "get":
                return world.see(session.get(leaf, (*world.key(self.slot), 1)))
            case "find" if how == "dynamic":
                return _seen(world, instance.leaves.filter(leaf.word == self.word))
            case "find" if how == "write only":
                found = instance.leaves.select().where(leaf.word.in_([self.word, "other"]))
                return _seen(world, session.scalars(found))
            case "find":
                mine = with_parent(instance, world.twin.item.leaves)
                found = sa.select(leaf).where(mine, leaf.word == self.word).order_by(leaf.number)
                return _seen(world, session.scalars(found))
        if how == "write only":
            return _seen(world, session.scalars(instance.leaves.select()))
        return _seen(world, _members(instance, how))


def _members(instance: Any, how: str) -> Any:
    if how != "keyed":
        return instance.leaves
    return sorted(instance.leaves.values(), key=lambda leaf: (leaf.number, leaf.word))


def _seen(world: World, leaves: Any) -> Any:
    return [world.see(leaf) for leaf in leaves]


LEAF_STEPS: tuple[type[Step], ...] = (ChangeLeaves, FindLeaves)
