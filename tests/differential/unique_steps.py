"""Statements that name an item by an encrypted column of unique values, and not by its key."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from encfields.databases import MYSQL_NAMES
from tests.differential.bulk_steps import SYNCHRONIZE, synchronized
from tests.differential.models import SLOTS, Column, Schema
from tests.differential.step import Step
from tests.differential.values import KINDS
from tests.differential.world import World


def _unique(rng: random.Random, schema: Schema) -> Column:
    """A column of unique values, if there is one."""
    return rng.choice([c for c in schema.columns if c.index == "unique"] or schema.columns)


@dataclass(frozen=True)
class WriteByUnique(Step):
    """UPDATE or DELETE of the one item that has a value, and what is loaded follows."""

    by: str
    asked: Any
    values: dict[str, Any]
    tenant: Any
    way: str
    sub: bool
    synchronize: Any
    weight = 6

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        column = _unique(rng, schema)
        ways = ("orm", "orm", "core", "query", "in", "entity", "columns", "delete", "moved")
        return {
            "by": column.name,
            "asked": KINDS[column.kind].draw_asked(rng),
            "values": schema.draw_values(rng, whole=rng.random() < 0.3),
            "tenant": schema.draw_tenant(rng),
            "way": rng.choice(ways),
            "sub": rng.random() < 0.3,
            "synchronize": rng.choice(SYNCHRONIZE),
        }

    def run(self, world: World) -> Any:
        made: Any = world.twin.sub if self.sub else world.twin.item
        session: Any = world.sessions[self.session]
        if world.schema.column(self.by).index != "unique" or not self._may_set(
            world, made, self.by
        ):
            return None
        if world.schema.tenant and "tenant" not in made.__table__.c:
            return None  # nothing joins the two tables
        where = self._where(world, made)
        values = {n: v for n, v in self.values.items() if self._may_set(world, made, n)}
        values |= {"touched": 3} if "touched" in made.__table__.c else {}
        if self.way == "moved":
            values |= {self.by: KINDS[world.schema.column(self.by).kind].pool[0]}
        if not values:
            return None
        how = synchronized(world, [self.by], self.synchronize)
        options = {"synchronize_session": how}
        name = world.engine.dialect.name
        match self.way:
            case "core":
                table = made.__table__
                stored = {table.c[n]: v for n, v in world.core(values).items()}
                change: Any = sa.update(table).where(*where).values(stored)
                return session.connection().execute(change).rowcount
            case "query":
                found = session.query(made).filter(*where)
                return found.update(values, **options)
            case "delete":
                change = sa.delete(made).where(*where)
            case _:
                change = sa.update(made).where(*where).values(values)
        if name not in MYSQL_NAMES and self.way in ("entity", "columns"):
            returned = [made] if self.way == "entity" else [made.tag, getattr(made, self.by)]
            done = session.execute(change.returning(*returned), execution_options=options)
            return sorted(
                repr([world.see(v) if isinstance(v, made) else world.shown("", v) for v in row])
                for row in done
            )
        return session.execute(change, execution_options=options).rowcount

    def _where(self, world: World, made: Any) -> list[Any]:
        by = getattr(made, self.by)
        own = [made.tenant == self.tenant] if world.schema.tenant else []
        return [by.in_([self.asked]) if self.way == "in" else by == self.asked, *own]

    def _may_set(self, world: World, made: Any, name: str) -> bool:
        """Whether the table that is updated has the column: one UPDATE changes one table."""
        stored = world.schema.stored_name(name)
        return hasattr(made, name) and stored in made.__table__.c


@dataclass(frozen=True)
class UpsertByUnique(Step):
    """Items that are there already under another key, which their unique value tells."""

    rows: tuple[tuple[int, dict[str, Any], Any, int], ...]
    by: str
    names: tuple[str, ...]
    form: str
    given: bool
    weight = 6

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rows = tuple(
            (slot, schema.draw_values(rng, whole=True), schema.draw_tenant(rng), tag + n)
            for n, slot in enumerate(rng.sample(range(SLOTS), rng.choice((1, 1, 2, 3))))
        )
        names = [c.name for c in schema.columns]
        return {
            "rows": rows,
            "by": _unique(rng, schema).name,
            "names": tuple(sorted(rng.sample(names, rng.randint(1, len(names))))),
            "form": rng.choice(("one", "values", "list", "entity", "columns", "core")),
            "given": rng.random() < 0.5,
        }

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        schema = world.schema
        if schema.column(self.by).index != "unique" or not world.own({self.by: None}):
            return None
        if world.engine.dialect.name in MYSQL_NAMES or schema.inherits == "single own":
            return None
        if schema.tenant or (schema.compound and not set(schema.compound) <= set(self.names)):
            return None  # which row's tenant it is nobody knows; half of an index cannot be set
        rows = [self._row(world, row) for row in self.rows]
        core = self.form == "core"
        made = item.__table__ if core else item
        insert: Any = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[
            world.engine.dialect.name
        ](made)
        table = item.__table__
        stored = list(world.core(world.own(dict.fromkeys(self.names))))
        set_ = {n: insert.excluded[n] for n in stored} | {"touched": table.c.touched + 1}
        target = [table.c[schema.stored_name(self.by)]]
        insert = insert.on_conflict_do_update(index_elements=target, set_=set_)
        match self.form:
            case "one":
                session.execute(insert.values(rows[0]))
            case "values":
                session.execute(insert.values(rows))
            case "list":
                session.execute(insert, rows)
            case "core":
                session.connection().execute(insert, [world.core(row) for row in rows])
            case "entity":
                found: Any = session.scalars(insert.returning(item), rows)
                return sorted(repr(world.see(i)) for i in found)
            case _:
                columns = [getattr(item, n) for n in ("tag", *world.own(dict.fromkeys(self.names)))]
                return sorted(
                    map(repr, world.rows(session.execute(insert.returning(*columns), rows)))
                )
        return None

    def _row(self, world: World, row: Any) -> dict[str, Any]:
        made = world.base_row(*row)
        if self.given:
            keys = world.key(row[0])
            made |= dict(zip(world.schema.key_columns, keys, strict=True))
        return made


UNIQUE_STEPS: tuple[type[Step], ...] = (WriteByUnique, UpsertByUnique)
