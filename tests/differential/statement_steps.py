"""Steps of what statements can do besides: DML in CTEs and from a SELECT, entities from DML,
values by column or in order, parameters of the application's own names."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Bundle, aliased

from tests.differential.models import SLOTS, Schema
from tests.differential.step import RowStep, Step, WholeRowStep
from tests.differential.world import World

MYSQLS = ("mysql", "mariadb")
NOT_FOLLOWED = {"synchronize_session": False}
NOTES = ("x", "", "note")


def rows_of(world: World, result: Any) -> Any:
    """The rows of a result, entities among them."""
    return [
        [world.see(v) if isinstance(v, world.twin.base) else world.shown(n, v) for n, v in pairs]
        for pairs in (zip(result.keys(), row, strict=True) for row in result)
    ]


@dataclass(frozen=True)
class Within(RowStep):
    """Rows that DML within a statement returns, or that a SELECT gives an INSERT."""

    name: str
    values: dict[str, Any]
    tenant: Any
    note: str
    way: str
    tag: int
    weight = 6

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("update", "update key", "delete", "insert", "add", "update join", "delete found",
                "from select", "from select", "from select values", "from select cte",
                "from select returning", "entities", "entities of insert", "entities of delete",
                "populated")  # fmt: skip
        return {
            **super().draw_rest(rng, schema, tag),
            "name": rng.choice(schema.columns).name,
            "values": schema.draw_values(rng, whole=False),
            "tenant": schema.draw_tenant(rng),
            "note": rng.choice(NOTES),
            "way": rng.choice(ways),
            "tag": tag,
        }

    def run(self, world: World) -> Any:
        item = world.twin.item
        if not hasattr(item, self.name) or not world.own({self.name: None}):
            return None
        if self.way.startswith("from select"):
            return self._from_select(world)
        if self.way in ("entities", "entities of insert", "entities of delete", "populated"):
            return self._entities(world)
        if world.engine.dialect.name != "postgresql":
            return None
        return self._cte(world)

    def _pinned(self, world: World) -> list[Any]:
        own = [world.twin.item.tenant == self.tenant] if world.schema.tenant_columns else []
        return [world.is_slot(self.slot), *own]

    def _cte(self, world: World) -> Any:
        item, child, session = world.twin.item, world.twin.child, world.sessions[self.session]
        column = getattr(item, self.name)
        keys = [getattr(item, n) for n in world.schema.key_columns]
        keys += [getattr(item, n) for n in world.schema.tenant_columns]
        session.flush()
        done: Any
        gone: Any
        match self.way:
            case "update":
                changed = sa.update(item).values(touched=item.touched + 2).where(item.tag > 20)
                done = changed.returning(*keys, item.tag, column.label("value")).cte("done")
            case "update key":
                values = world.own(self.values)
                changed = sa.update(item).values(**values).where(*self._pinned(world))
                done = changed.returning(*keys, item.tag, column.label("value")).cte("done")
            case "delete":
                gone = sa.delete(child).where(child.note == self.note)
                done = gone.returning(child.id, child.tag, child.note.label("value")).cte("done")
            case "insert":
                made = sa.insert(child).values(id=3000 + self.tag, tag=self.tag, note=self.note)
                done = made.returning(child.id, child.tag, child.note.label("value")).cte("done")
            case "add":
                gone = sa.update(child).values(tag=child.tag + 1).where(child.note == self.note)
                found = sa.select(item.tag, column).order_by(item.tag)
                return rows_of(world, session.execute(found.add_cte(gone.cte("gone"))))
            case "update join":
                names = world.schema.key_columns
                of_item = [getattr(child, f"item_{n}") == getattr(item, n) for n in names]
                changed = sa.update(child).where(*of_item).values(tag=child.tag)
                done = changed.returning(child.id, child.tag, child.note.label("value")).cte("done")
            case _:
                gone = sa.delete(child).where(child.note == self.note).returning(child.tag)
                tags = gone.cte("done")
                found = sa.select(item).where(item.tag + 2 == tags.c.tag).order_by(item.tag)
                return rows_of(world, session.execute(found))
        found = sa.select(done.c.value, done.c.tag).order_by(done.c.tag)
        return world.rows(session.execute(found))

    def _from_select(self, world: World) -> Any:
        item, child = world.twin.item, world.twin.child
        session: Any = world.sessions[self.session]
        names = [f"item_{n}" for n in world.schema.key_columns]
        keys = [getattr(item, n) for n in world.schema.key_columns]
        made: Any = sa.insert(child)
        new = item.tag + 4000 + self.tag  # by its tag, too, children are told apart
        found: Any = sa.select(new, new, *keys)
        columns = ["id", "tag", *names]
        match self.way:
            case "from select values":
                found = found.where(getattr(item, self.name).is_not(None))
            case "from select cte":
                some = sa.select(item.tag, *keys).where(item.tag > 20).cte("some")
                own = [some.c[n] for n in world.schema.key_columns]
                new = some.c.tag + 4000 + self.tag
                found = sa.select(new, new, *own)
            case "from select" if self.note == "x":
                other = aliased(child)
                theirs = [getattr(other, n) for n in names]
                new = other.id + 20_000 + self.tag
                found = sa.select(new, new, *theirs)
                found = found.where(other.note == self.note)
        made = made.from_select(columns, found)
        if self.way == "from select returning":
            if world.engine.dialect.name == "mysql":
                return None
            done = session.execute(made.returning(child.tag, child.note))
            return sorted(map(repr, rows_of(world, done)))
        return session.execute(made).rowcount

    def _entities(self, world: World) -> Any:
        item, child, session = world.twin.item, world.twin.child, world.sessions[self.session]
        dialect = world.engine.dialect.name
        if dialect == "mysql" or (dialect == "mariadb" and self.way in ("entities", "populated")):
            return None
        if world.schema.joins == "*" and world.schema.has_two_tables and "of" not in self.way:
            return None  # SQLAlchemy would return columns of a table that is not changed
        options = {**NOT_FOLLOWED, "populate_existing": self.way == "populated"}
        change: Any
        match self.way:
            case "entities of insert":
                row = {"id": 3000 + self.tag, "tag": self.tag, "note": self.note}
                change = sa.insert(child).values(**row).returning(child)
                found = sa.select(child).from_statement(change)
            case "entities of delete":
                change = sa.delete(child).where(child.note == self.note).returning(child)
                found = sa.select(child).from_statement(change)
            case _:
                values = world.own(self.values) if self.way == "populated" else {}
                change = sa.update(item).where(*self._pinned(world)).values(**values, touched=11)
                found = sa.select(item).from_statement(change.returning(item))
        done = session.scalars(found.execution_options(**options))
        return sorted(repr(world.see(one)) for one in done)


@dataclass(frozen=True)
class Spelt(WholeRowStep):
    """A write whose values are named by columns, come in order, or have names of their own."""

    way: str
    to: int
    weight = 6

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("columns", "attributes", "ordered", "binds", "binds of insert", "binds of list",
                "scalar", "bundle", "labels", "table", "prefixed", "results", "results of list",
                "where and list", "text bound", "core update list",
                "null", "positional", "twice")  # fmt: skip
        rest = {"way": rng.choice(ways), "to": rng.randrange(SLOTS)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        if self.way in ("binds of insert", "binds of list", "bundle", "labels", "table", "results",
                        "results of list", "positional", "twice"):  # fmt: skip
            return self._insert(world)
        return self._update(world)

    def _update(self, world: World) -> Any:
        item: Any = world.twin.item
        session: Any = world.sessions[self.session]
        table, own = item.__table__, world.own(self.values)
        is_it = [world.is_slot(self.slot)]
        if world.schema.tenant_columns:
            is_it.append(item.tenant == self.tenant)
        change: Any = sa.update(item).where(*is_it)
        parameters: Any = {}
        match self.way:
            case "columns":
                named = {table.c[n]: v for n, v in world.core(own).items()}
                change = sa.update(table).where(*is_it).values({**named, table.c.touched: 5})
                return session.connection().execute(change).rowcount
            case "attributes":
                change = change.values({getattr(item, n): v for n, v in own.items()})
            case "ordered":
                pairs = [(getattr(item, n), v) for n, v in reversed(own.items())]
                change = change.ordered_values((item.touched, item.touched + 1), *pairs)
            case "binds":
                change = change.values({n: sa.bindparam(f"my {n}") for n in own})
                parameters = {f"my {n}": v for n, v in own.items()}
            case "scalar":
                other = aliased(world.twin.child)
                last = sa.select(sa.func.coalesce(sa.func.max(other.tag), 0)).scalar_subquery()
                change = change.values(**own, touched=last)
            case "prefixed":
                change = change.values(**own).prefix_with("/* some */")
            case "null":
                change = change.values(dict.fromkeys(own, sa.null()))
            case "where and list":
                return self._where_and_list(world, own)
            case "core update list":
                return self._core_list(world, own)
            case _:
                change = change.values(**own).where(sa.text("tag > :least").bindparams(least=3))
        return session.execute(change, parameters, execution_options=NOT_FOLLOWED).rowcount

    def _where_and_list(self, world: World, own: dict[str, Any]) -> Any:
        item: Any = world.twin.item
        session: Any = world.sessions[self.session]
        rows = [
            dict(zip(world.schema.key_columns, world.key(slot), strict=True)) | own
            for slot in sorted({self.slot, self.to})
        ]
        change = sa.update(item).where(item.tag > 10)
        session.execute(change, rows, execution_options={"synchronize_session": None})

    def _core_list(self, world: World, own: dict[str, Any]) -> Any:
        table = world.twin.item.__table__
        names = (*world.schema.key_columns, *world.schema.tenant_columns)
        where = [table.c[n] == sa.bindparam(f"is {n}") for n in names]
        values: Any = {n: sa.bindparam(f"to {n}") for n in world.core(own)}
        more = (self.tenant,) * len(world.schema.tenant_columns)
        rows = [
            {f"is {n}": v for n, v in zip(names, (*world.key(slot), *more), strict=True)}
            | {f"to {n}": v for n, v in world.core(own).items()}
            for slot in sorted({self.slot, self.to})
        ]
        change = sa.update(table).where(*where).values(values)
        return world.sessions[self.session].connection().execute(change, rows).rowcount

    def _insert(self, world: World) -> Any:
        item: Any = world.twin.item
        session: Any = world.sessions[self.session]
        table, names = item.__table__, list(world.own(self.values))
        row = world.base_row(self.slot, self.values, self.tenant, self.tag)
        core, connection = world.core(row), session.connection()
        insert: Any = sa.insert(item).values(**row)
        columns, made = [getattr(item, n) for n in names], sa.insert(table).values(core)
        match self.way:
            case "binds of insert":
                bound = sa.insert(item).values({n: sa.bindparam(f"my {n}") for n in row})
                return session.execute(bound, {f"my {n}": v for n, v in row.items()}).rowcount
            case "binds of list":
                bound = sa.insert(table).values({n: sa.bindparam(f"my_{n}") for n in core})
                connection.execute(bound, [{f"my_{n}": v for n, v in core.items()}])
                return None
            case "bundle":
                return [
                    [world.shown("", v) for v in some]
                    for (some,) in session.execute(
                        insert.returning(Bundle("b", item.tag, *columns))
                    )
                ]
            case "labels":
                labels = [c.label(f"of {n}") for n, c in zip(names, columns, strict=True)]
                return rows_of(world, session.execute(insert.returning(item.tag, *labels)))
            case "table":
                stored = [c for c in table.c if "bidx" not in c.name]
                return rows_of(world, connection.execute(made.returning(*stored)))
            case "results":
                done = connection.execute(made)
                return [world.shown("id", v) for v in done.inserted_primary_key], done.is_insert
            case "results of list":
                many = sa.insert(table).return_defaults(sort_by_parameter_order=True)
                done = connection.execute(many, [core])
                keys = done.inserted_primary_key_rows
                return [[world.shown("id", v) for v in key] for key in keys]
            case "twice":
                with session.begin_nested():
                    connection.execute(made)
                return world.rows(connection.execute(sa.select(table.c.tag).order_by(table.c.tag)))
        return connection.execute(sa.insert(table), core).rowcount


STATEMENT_STEPS: tuple[type[Step], ...] = (Within, Spelt)
