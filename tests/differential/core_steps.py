"""Steps that write with statements: bulk, RETURNING, upserts, executemany."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from encfields.databases import MYSQL_NAMES
from tests.differential.bulk_steps import synchronized
from tests.differential.models import SLOTS, Schema
from tests.differential.step import RowStep, Step, WholeRowStep
from tests.differential.world import World

BULK_WAYS = ("orm", "core", "core without keys", "values", "tuples", "returning")


@dataclass(frozen=True)
class BulkInsert(Step):
    """Several rows in one statement: of the ORM or of Core, as a list or as VALUES."""

    rows: tuple[tuple[int, dict[str, Any], Any, int], ...]
    way: str

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        slots = rng.sample(range(SLOTS), rng.randint(1, 3))
        rows = tuple(
            (s, schema.draw_values(rng, whole=True), schema.draw_tenant(rng), tag + i)
            for i, s in enumerate(slots)
        )
        return {"rows": rows, "way": rng.choice(BULK_WAYS)}

    def run(self, world: World) -> Any:
        rows = [world.base_row(*row) for row in self.rows]
        item: Any = world.twin.item
        session: Any = world.sessions[self.session]
        match self.way:
            case "orm":
                session.execute(sa.insert(item), rows)
            case "core":
                core = [world.core(row) for row in rows]
                session.connection().execute(sa.insert(item.__table__), core)
            case "core without keys":
                keys = dict.fromkeys(world.schema.key_columns)
                core = [keys | world.core(row) for row in rows]
                session.connection().execute(sa.insert(item.__table__), core)
            case "values":
                return session.execute(sa.insert(item.__table__).values(rows)).rowcount
            case "tuples":
                made = [_in_order(item.__table__, world.core(row)) for row in rows]
                return session.connection().execute(sa.insert(item.__table__).values(made)).rowcount
            case _:
                entity = sa.insert(item).returning(item, sort_by_parameter_order=True)
                return [world.see(i) for i in session.scalars(entity, rows)]
        return None


def _in_order(table: sa.Table, row: dict[str, Any]) -> tuple[Any, ...]:
    """A row as a tuple, up to the last column that it has a value of."""
    keys = [column.key for column in table.c]
    last = max(keys.index(name) for name in row)
    return tuple(row.get(key) for key in keys[: last + 1])


@dataclass(frozen=True)
class UpdateRow(RowStep):
    """One row by its key, with what the ORM does about instances that are loaded."""

    values: dict[str, Any]
    tenant: Any
    synchronize: Any
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        values = schema.draw_values(rng, whole=False)
        synchronize = rng.choice(("auto", "evaluate", "fetch", False))
        rest = {"values": values, "tenant": schema.draw_tenant(rng), "synchronize": synchronize}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        values = world.own(self.values)
        statement = sa.update(world.twin.item).where(world.is_slot(self.slot))
        if world.schema.tenant:
            statement = statement.where(world.twin.item.tenant == self.tenant)
        options = {"synchronize_session": self.synchronize}
        session: Any = world.sessions[self.session]
        done = session.execute(statement.values(**values, touched=5), execution_options=options)
        return done.rowcount


@dataclass(frozen=True)
class BulkUpdate(Step):
    """Several rows by primary key, each its own values: the ORM's way, or Core's."""

    rows: tuple[tuple[int, Any, dict[str, Any]], ...]
    orm: bool
    weight = 3

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        names = [c.name for c in rng.sample(schema.columns, 2)]
        rows = tuple(
            (slot, schema.draw_tenant(rng), {n: schema.column(n).draw(rng) for n in names})
            for slot in sorted(rng.sample(range(SLOTS), rng.randint(1, 3)))
        )
        return {"rows": rows, "orm": rng.random() < 0.5}

    def run(self, world: World) -> Any:
        item: Any = world.twin.item
        session: Any = world.sessions[self.session]
        table, keys = item.__table__, world.schema.key_columns
        pins = bool(world.schema.tenant_columns) and not self.orm
        keys += ("tenant",) if pins else ()
        rows = [
            (
                dict(zip(keys, (*world.key(slot), *([tenant] if pins else [])), strict=True)),
                world.own(values),
            )
            for slot, tenant, values in self.rows
        ]
        if not rows[0][1]:
            return None
        if self.orm:
            session.execute(sa.update(item), [{**key, **values} for key, values in rows])
            return None
        pinned = [table.c[n] == sa.bindparam(f"pin_{n}") for n in keys]
        statement = sa.update(table).where(*pinned)
        parameters = [
            {**{f"pin_{n}": v for n, v in key.items()}, **world.core(values)}
            for key, values in rows
        ]
        return session.connection().execute(statement, parameters).rowcount


@dataclass(frozen=True)
class Upsert(WholeRowStep):
    """INSERT .. ON CONFLICT of the primary key, or ON DUPLICATE KEY."""

    def run(self, world: World) -> Any:
        table = world.twin.item.__table__
        row = world.base_row(self.slot, self.values, self.tenant, self.tag)
        row |= dict(zip(world.schema.key_columns, world.key(self.slot), strict=True))
        row = world.core(row)
        own = list(world.core(world.own({c.name: None for c in world.schema.columns})))
        name = world.engine.dialect.name
        if name in MYSQL_NAMES:
            insert: Any = mysql.insert(table).values(row)
            statement = insert.on_duplicate_key_update({n: insert.inserted[n] for n in own})
        else:
            insert = (postgresql if name == "postgresql" else sqlite).insert(table).values(row)
            set_ = {n: insert.excluded[n] for n in own}
            keys = list(world.schema.key_columns)
            statement = insert.on_conflict_do_update(index_elements=keys, set_=set_)
        world.sessions[self.session].connection().execute(statement)


@dataclass(frozen=True)
class SetNull(Step):
    """A column of many rows is set to NULL, or a plain one changes, where another is equal."""

    name: str
    by: str
    value: Any
    delete: bool

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        by = rng.choice(schema.columns)
        name = rng.choice(schema.columns).name
        value = by.draw(rng) if by.is_found_exactly else None
        return {"name": name, "by": by.name, "value": value, "delete": rng.random() < 0.3}

    def run(self, world: World) -> Any:
        item = world.twin.item
        if len(world.own({self.by: None, self.name: None})) < len({self.by, self.name}):
            return None
        by = getattr(item, self.by)
        where = [by == self.value if self.value is not None else by.is_(None)]
        if world.schema.tenant:
            where.append(item.tenant == world.some_tenant)
        statement: Any = (
            sa.delete(item) if self.delete else sa.update(item).values({self.name: None})
        )
        session: Any = world.sessions[self.session]
        options = {"synchronize_session": synchronized(world, [self.by], "auto")}
        return session.execute(statement.where(*where), execution_options=options).rowcount


CORE_STEPS = (BulkInsert, UpdateRow, BulkUpdate, Upsert, SetNull)
