"""Steps that write with statements of the ORM: INSERT of one row, upserts, and the subclass."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from encfields.databases import MYSQL_NAMES
from tests.differential.bulk_steps import SYNCHRONIZE, synchronized
from tests.differential.models import SLOTS, Schema
from tests.differential.step import RowStep, Step, WholeRowStep
from tests.differential.world import World


@dataclass(frozen=True)
class InsertOne(WholeRowStep):
    """One row by an INSERT of the ORM or of Core, maybe with RETURNING, maybe if it is new."""

    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("plain", "entity", "columns", "core columns", "ignore", "ignore columns", "nothing")
        return {**super().draw_rest(rng, schema, tag), "way": rng.choice(ways)}

    def run(self, world: World) -> Any:
        item: Any = world.twin.item
        session: Any = world.sessions[self.session]
        row = world.base_row(self.slot, self.values, self.tenant, self.tag)
        if self.way == "nothing":
            row = {n: v for n, v in row.items() if v is not None}
        names = list(world.own(self.values))
        insert: Any = _insert(world, item) if self.way.startswith("ignore") else sa.insert(item)
        match self.way:
            case "plain" | "nothing":
                return session.execute(insert.values(**row)).rowcount
            case "entity":
                return [world.see(i) for i in session.scalars(insert.values(**row).returning(item))]
            case "core columns":
                table = item.__table__
                stored = [table.c[n] for n in world.core(dict.fromkeys(names))]
                connection = session.connection()
                core = sa.insert(table).values(world.core(row)).returning(table.c.tag, *stored)
                return world.rows(connection.execute(core))
        if self.way.startswith("ignore"):
            if world.engine.dialect.name in MYSQL_NAMES:
                return None
            row |= dict(zip(world.schema.key_columns, world.key(self.slot), strict=True))
            insert = insert.on_conflict_do_nothing(index_elements=list(world.schema.key_columns))
            if self.way == "ignore":
                return session.execute(insert.values(**row)).rowcount
        returning = [item.tag, *(getattr(item, n) for n in names)]
        return world.rows(session.execute(insert.values(**row).returning(*returning)))


def _insert(world: World, made: Any) -> Any:
    """An INSERT that may have ON CONFLICT; another on MariaDB, which has none."""
    name = world.engine.dialect.name
    return {"postgresql": postgresql.insert, "sqlite": sqlite.insert}.get(name, sa.insert)(made)


@dataclass(frozen=True)
class OrmUpsert(WholeRowStep):
    """An upsert of the ORM, which returns its rows; all of the values are set, or plain ones."""

    plain: bool
    populate: bool

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = {"plain": rng.random() < 0.4, "populate": rng.random() < 0.5}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        if world.engine.dialect.name in MYSQL_NAMES:
            return None
        row = world.base_row(self.slot, self.values, self.tenant, self.tag)
        row |= dict(zip(world.schema.key_columns, world.key(self.slot), strict=True))
        insert = _insert(world, item).values(**row)
        names = [] if self.plain else list(world.core(world.own(self.values)))
        set_ = {"touched": 9, **{n: insert.excluded[n] for n in names}}
        keys = list(world.schema.key_columns)
        statement = insert.on_conflict_do_update(index_elements=keys, set_=set_).returning(item)
        options = {"populate_existing": self.populate}
        return [world.see(i) for i in session.scalars(statement, execution_options=options)]


@dataclass(frozen=True)
class BulkSub(Step):
    """Rows of the subclass by the ORM's bulk ways."""

    rows: tuple[tuple[int, dict[str, Any], Any, int], ...]
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        whole = rng.random() < 0.5
        names = [c.name for c in rng.sample(schema.columns, rng.randint(1, len(schema.columns)))]
        rows = tuple(
            (slot, schema.draw_values(rng, whole=True), schema.draw_tenant(rng), tag + i)
            for i, slot in enumerate(rng.sample(range(SLOTS), rng.randint(1, 3)))
        )
        if not whole:
            rows = tuple((s, {n: v[n] for n in names}, t, g) for s, v, t, g in rows)
        inserts = ("insert", "insert returning", "insert with a value for all")
        ways = (*inserts, "mappings", "objects", "update", "update mappings")
        return {"rows": rows, "way": rng.choice(ways)}

    def run(self, world: World) -> Any:
        if not world.schema.inherits:
            return None
        sub, session = world.twin.sub, world.sessions[self.session]
        rows = [world.new_row(*row) for row in self.rows]
        if world.schema.versioned and not self.way.startswith("update"):
            rows = [{**row, "version": world.schema.first_version} for row in rows]
        match self.way:
            case "insert":
                session.execute(sa.insert(sub), rows)
            case "insert returning":
                statement = sa.insert(sub).returning(sub, sort_by_parameter_order=True)
                return [world.see(i) for i in session.scalars(statement, rows)]
            case "insert with a value for all":
                named = next((c.name for c in world.schema.columns if c.name in rows[0]), "tag")
                other = [{n: v for n, v in row.items() if n != named} for row in rows]
                session.execute(sa.insert(sub).values(**{named: rows[0][named]}), other)
            case "mappings":
                session.bulk_insert_mappings(sa.inspect(sub), rows, return_defaults=True)
            case "objects":
                made = [sub(**{n: v for n, v in row.items() if n != "version"}) for row in rows]
                session.bulk_save_objects(made)
            case "update":
                session.execute(sa.update(sub), self._changes(world))
            case _:
                session.bulk_update_mappings(sa.inspect(sub), self._changes(world))
        return None

    def _changes(self, world: World) -> list[dict[str, Any]]:
        keys = world.schema.key_columns
        return [
            {**dict(zip(keys, world.key(slot), strict=True)), **values}
            for slot, values, _, _ in self.rows
        ]


@dataclass(frozen=True)
class UpdateSub(RowStep):
    """A row of the subclass by its key: columns of its own table, or plain ones of its parent's."""

    values: dict[str, Any]
    tenant: Any
    synchronize: Any
    base: bool
    weight = 3

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = {
            "values": schema.draw_values(rng, whole=True),
            "tenant": schema.draw_tenant(rng),
            "synchronize": rng.choice(SYNCHRONIZE),
            "base": rng.random() < 0.3,
        }
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        sub: Any = world.twin.sub
        session: Any = world.sessions[self.session]
        if not world.schema.inherits:
            return None
        columns = sub.__table__.c
        is_own = {n: world.schema.stored_name(n) in columns for n in self.values}
        values = {n: v for n, v in self.values.items() if is_own[n] or self.base}
        keys = zip(world.schema.key_columns, world.key(self.slot), strict=True)
        where = [columns[n] == v for n, v in keys]
        if world.schema.tenant and "tenant" in columns:
            where.append(sub.tenant == self.tenant)
        statement = sa.update(sub).where(*where).values(values)
        options = {"synchronize_session": self.synchronize}
        return session.execute(statement, execution_options=options).rowcount


@dataclass(frozen=True)
class UpdateWhere(Step):
    """A plain column of the rows that a condition finds, with RETURNING or without; or DELETE."""

    by: str
    value: Any
    where: str
    way: str
    synchronize: Any
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        by = rng.choice(schema.columns)
        wheres = ("value", "null", "child", "subquery", "not null", "in")
        ways = ("plain", "entity", "column", "delete", "delete column", "core", "expression")
        return {
            "by": by.name,
            "value": by.draw(rng),
            "where": rng.choice(wheres),
            "way": rng.choice(ways),
            "synchronize": rng.choice(SYNCHRONIZE),
        }

    def run(self, world: World) -> Any:
        item: Any = world.twin.item
        session: Any = world.sessions[self.session]
        if not world.own({self.by: None}):
            return None
        where = self._condition(world)
        if self.way == "core":
            statement: Any = sa.update(item.__table__).where(*where).values(touched=8)
            return session.connection().execute(statement).rowcount
        how = synchronized(world, [self.by], self.synchronize)
        options = {"synchronize_session": how}
        is_delete = self.way.startswith("delete")
        value = item.touched + 1 if self.way == "expression" else 8
        statement = sa.delete(item) if is_delete else sa.update(item).values(touched=value)
        statement = statement.where(*where)
        name = world.engine.dialect.name
        returns = name not in MYSQL_NAMES or (name == "mariadb" and is_delete)
        if returns and self.way == "entity":
            found = session.scalars(statement.returning(item), execution_options=options)
            return sorted(repr(world.see(i)) for i in found)
        if returns and "column" in self.way:
            statement = statement.returning(item.tag, getattr(item, self.by))
            return sorted(
                map(repr, world.rows(session.execute(statement, execution_options=options)))
            )
        return session.execute(statement, execution_options=options).rowcount

    def _condition(self, world: World) -> list[Any]:
        item, child = world.twin.item, world.twin.child
        by = getattr(item, self.by)
        of_tenant = [item.tenant == world.some_tenant] if world.schema.tenant else []
        exact = world.schema.column(self.by).is_found_exactly and self.value is not None
        match self.where:
            case "value" if exact:
                return [by == self.value, *of_tenant]
            case "in" if exact:
                return [by.in_([self.value]), *of_tenant]
            case "null":
                return [by.is_(None)]
            case "child":
                names = world.schema.key_columns
                is_of = [getattr(child, f"item_{n}") == getattr(item, n) for n in names]
                return [sa.exists().where(*is_of, child.note == "x")]
            case "subquery" if world.engine.dialect.name not in MYSQL_NAMES:
                return [item.tag.in_(sa.select(item.tag).where(by.is_not(None)))]
        return [by.is_not(None)]


WRITE_STEPS = (InsertOne, OrmUpsert, BulkSub, UpdateSub, UpdateWhere)
