"""Steps about how values are taken out of rows and streams, and about the older ``Query``."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext import serializer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import Session, aliased, joinedload, with_loader_criteria
from sqlalchemy.util import await_only

from tests.differential.models import Schema
from tests.differential.statement_steps import rows_of
from tests.differential.step import RowStep, Step
from tests.differential.world import World


@dataclass(frozen=True)
class Access(Step):
    """Values of rows by name, by column, by attribute, by place."""

    name: str
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("attribute", "column", "label", "core", "alias", "core alias", "subquery", "named",
                "scalars", "columns", "core columns", "fields", "text", "text entity", "typed text",
                "merged", "all of table", "two entities", "core stream", "stream", "no cache",
                "connection", "translated")  # fmt: skip
        return {"name": rng.choice(schema.columns).name, "way": rng.choice(ways)}

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        if not hasattr(item, self.name) or not world.own({self.name: None}):
            return None
        session.flush()
        if self.way in CONNECTIONS:
            return self._by_connection(world)
        stored = self._stored(world)
        if "text" in self.way:
            return self._of_text(world, stored)
        if "core" in self.way or self.way == "all of table":
            return self._of_core(world, stored)
        if self.way == "subquery":
            return self._of_subquery(world, stored)
        if self.way in ("label", "alias", "two entities"):
            return self._of_alias(world, getattr(item, self.name))
        return self._of_entity(world)

    def _of_entity(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        column = getattr(item, self.name)
        found = sa.select(item.tag, column, item).order_by(item.tag)
        result = session.execute(found)
        match self.way:
            case "attribute":
                return [(world.shown("", getattr(r, self._key(r))), len(r)) for r in result]
            case "named":
                return [sorted(map(str, r._asdict())) for r in result]
            case "scalars":
                return [world.shown("", v) for v in result.scalars(1)]
            case "columns":
                return rows_of(world, result.columns(column, 0))
            case "fields":
                return list(result.keys()), [len(r._fields) for r in result]
            case "merged":
                return len(result.merge(session.execute(found)).all())
        return [world.shown("", r._mapping[column]) for r in result]

    def _of_alias(self, world: World, column: Any) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        if self.way == "label":
            label = column.label("some")
            rows = session.execute(sa.select(label, item.tag).order_by(item.tag))
            return [(world.shown("", r.some), world.shown("", r._mapping[label])) for r in rows]
        other = aliased(item, name="other")
        if self.way == "alias":
            own = getattr(other, self.name)
            rows = session.execute(sa.select(own, other.tag).order_by(other.tag))
            return [world.shown("", r._mapping[own]) for r in rows]
        both = sa.select(item, other).where(other.tag == item.tag).order_by(item.tag)
        return [
            (world.see(r._mapping[item]), world.see(r._mapping[other]))
            for r in session.execute(both)
        ]

    def _key(self, row: Any) -> str:
        return self.name if self.name in row._fields else row._fields[1]

    def _stored(self, world: World) -> Any:
        return world.twin.item.__table__.c[world.schema.stored_name(self.name)]

    def _keys(self, world: World) -> list[Any]:
        table = world.twin.item.__table__
        return [*table.primary_key, *(table.c[n] for n in world.schema.tenant_columns)]

    def _of_core(self, world: World, stored: Any) -> Any:
        connection = world.sessions[self.session].connection()
        table = world.twin.item.__table__
        match self.way:
            case "core alias":
                other = table.alias()
                own = other.c[stored.key]
                rows = connection.execute(sa.select(own, other.c.tag).order_by(other.c.tag))
                return [world.shown("", r._mapping[own]) for r in rows]
            case "core columns":
                rows = connection.execute(sa.select(table).order_by(table.c.tag))
                return rows_of(world, rows.columns(stored, table.c.tag))
            case "all of table":
                rows = connection.execute(sa.select(table).order_by(table.c.tag))
                return [
                    [world.shown(c.key, m[c]) for c in table.c if "bidx" not in c.name]
                    for m in rows.mappings()
                ]
        rows = connection.execute(sa.select(table.c.tag, stored).order_by(table.c.tag))
        return [
            (world.shown("", r._mapping[stored]), world.shown("", r._mapping[stored.name]))
            for r in rows
        ]

    def _of_subquery(self, world: World, stored: Any) -> Any:
        session, table = world.sessions[self.session], world.twin.item.__table__
        inner = sa.select(*self._keys(world), stored, table.c.touched, table.c.tag).subquery()
        own = inner.c[stored.key]
        rows = session.execute(sa.select(own, inner.c.touched).order_by(inner.c.tag))
        return [(world.shown("", r._mapping[own]), r.touched) for r in rows]

    def _of_text(self, world: World, stored: Any) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        table = item.__table__
        chosen = sa.text(f"SELECT tag, touched FROM {table.name} ORDER BY tag")
        if self.way == "text":
            return [tuple(r) for r in session.execute(chosen)]
        typed = chosen.columns(table.c.tag, table.c.touched)
        if self.way == "typed text":
            inner = typed.subquery()
            joined = sa.select(item, inner.c.touched).join(inner, inner.c.tag == item.tag)
            return rows_of(world, session.execute(joined.order_by(item.tag)))
        return [r._mapping[table.c.tag] for r in session.execute(typed)]

    def _by_connection(self, world: World) -> Any:
        session, stored = world.sessions[self.session], self._stored(world)
        table = world.twin.item.__table__
        session.commit()
        options = CONNECTIONS[self.way]
        found = sa.select(*self._keys(world), stored, table.c.tag).order_by(table.c.tag)
        if self.way == "stream" and world.settings.asynchronous:
            rows = await_only(_streamed(world.engine, found))
            return [[world.shown("id", v) for v in row] for row in rows]
        with world.engine.connect() as connection:
            result = connection.execution_options(**options).execute(found)
            if self.way == "core stream":
                return [
                    [world.shown("id", v) for v in r] for part in result.partitions(2) for r in part
                ]
            return world.rows(result)


CONNECTIONS: dict[str, dict[str, Any]] = {
    "core stream": {"stream_results": True, "max_row_buffer": 2},
    "stream": {"yield_per": 2},
    "no cache": {"compiled_cache": None},
    "connection": {"isolation_level": "SERIALIZABLE"},
    "translated": {"schema_translate_map": {"other": None}},
}
"""Ways in which a connection of its own reads, each with its options."""


async def _streamed(engine: sa.Engine, found: Any) -> list[Any]:
    async with AsyncEngine(engine).connect() as connection:
        result = await AsyncConnection.stream(connection, found)
        return [row async for row in result]


@dataclass(frozen=True)
class OldQuery(RowStep):
    """What ``Query`` has besides."""

    name: str
    value: Any
    way: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        column = rng.choice(schema.columns)
        rest = {"name": column.name, "value": column.draw(rng), "way": rng.choice(tuple(QUERIES))}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        if not hasattr(item, self.name):
            return None
        query = session.query(item)
        column = getattr(item, self.name)
        if world.schema.column(self.name).is_found_exactly and self.value is not None:
            some = column == self.value
        else:
            some = column.is_not(None)
        if world.schema.tenant:
            some = sa.and_(some, item.tenant == world.some_tenant)
        told = QUERIES[self.way](world, query, some)
        if isinstance(told, bool | int | None):
            return told
        return sorted(
            repr(
                world.see(one)
                if isinstance(one, world.twin.base)
                else [world.shown("", v) for v in one]
            )
            for one in told
        )


def _union(world: World, query: Any, some: Any) -> Any:
    item = world.twin.item
    return query.filter(item.tag < 60).union_all(query.filter(item.tag >= 60)).all()


def _union_where(world: World, query: Any, some: Any) -> Any:
    item = world.twin.item
    both = query.filter(item.tag < 60).union(query.filter(item.tag >= 20))
    return both.filter(item.tag > 10).order_by(item.tag.desc()).all()


def _from_statement(world: World, query: Any, some: Any) -> Any:
    return query.from_statement(sa.select(world.twin.item).where(some)).all()


def _serialized(world: World, query: Any, some: Any) -> Any:
    session = query.session
    found = sa.select(world.twin.item.tag).where(world.twin.item.tag > 10)
    metadata = world.twin.base.metadata
    again = serializer.loads(serializer.dumps(found), metadata, lambda: session, world.engine)
    return [list(r) for r in session.execute(again)]


def _outer(world: World, query: Any, some: Any) -> Any:
    item, child = world.twin.item, world.twin.child
    joined = query.outerjoin(item.children).filter(some).add_entity(child)
    return [[v and v.tag for v in row] for row in joined.all()]


def _of_subquery(world: World, query: Any, some: Any) -> Any:
    item = world.twin.item
    inner = query.filter(some).order_by(item.tag).limit(2).subquery()
    return query.session.query(aliased(item, inner)).all()


def _enabled(world: World, query: Any, some: Any) -> Any:
    joined = query.options(joinedload(world.twin.item.children)).filter(some)
    return joined.enable_eagerloads(False).all()


def _select_from(world: World, query: Any, some: Any) -> Any:
    item, child, session = world.twin.item, world.twin.child, query.session
    return session.query(child.note, item.tag).select_from(item).join(item.children).all()


def _update_by_key(world: World, query: Any, some: Any) -> Any:
    return query.filter(some).update({world.twin.item.touched: 12}, synchronize_session=False)


def _two(world: World, query: Any, some: Any) -> Any:
    session = query.session
    # Another session on the same connection, with what is asked of all it loads.
    with Session(session.connection()) as other:

        def ask(state: Any) -> None:
            if state.is_select and not state.is_column_load:
                made = world.twin.item
                state.statement = state.statement.options(
                    with_loader_criteria(made, made.tag > 20, include_aliases=True)
                )

        sa.event.listen(other, "do_orm_execute", ask)
        found = other.query(world.twin.item).filter(some).order_by(world.twin.item.tag)
        return [(one.tag, [c.tag for c in one.children]) for one in found]


QUERIES: dict[str, Callable[[World, Any, Any], Any]] = {
    "union": _union,
    "union where": _union_where,
    "from statement": _from_statement,
    "serialized": _serialized,
    "outer": _outer,
    "subquery": _of_subquery,
    "without eager": _enabled,
    "select from": _select_from,
    "update": _update_by_key,
    "criteria": _two,
    "lock": lambda world, query, some: query.filter(some).with_for_update().all(),
    "populate": lambda world, query, some: query.populate_existing().filter(some).all(),
    "yield": lambda world, query, some: query.filter(some).yield_per(2).all(),
    "exists": lambda world, query, some: query.session.query(query.filter(some).exists()).scalar(),
    "count": lambda world, query, some: query.filter(some).count(),
    "distinct count": lambda world, query, some: query.filter(some).distinct().count(),
    "one or none": lambda world, query, some: (
        query.filter(some, world.twin.item.tag < 60).order_by(world.twin.item.tag).limit(1).all()
    ),
    "filter by": lambda world, query, some: query.filter_by(tag=15).all(),
    "entities": lambda world, query, some: (
        query.filter(some).with_entities(sa.func.count(world.twin.item.tag)).scalar()
    ),
    "beside": lambda world, query, some: query.filter(some).add_columns(some.label("is")).count(),
    "except": lambda world, query, some: (
        query.except_all(query.filter(world.twin.item.tag < 30)).all()
        if world.engine.dialect.name == "postgresql"
        else None
    ),
}


ACCESS_STEPS: tuple[type[Step], ...] = (Access, OldQuery)
