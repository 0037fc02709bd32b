"""Steps of statements about several tables or many rows: UPDATE .. FROM, upserts, RETURNING."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from tests.differential.models import EXACT, SLOTS, Schema
from tests.differential.step import RowStep, Step
from tests.differential.world import World

MYSQLS = ("mysql", "mariadb")


@dataclass(frozen=True)
class WriteJoined(RowStep):
    """Rows are changed or deleted by what rows of another table are."""

    way: str
    values: dict[str, Any]
    note: str
    tenant: Any
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("from", "from value", "delete", "core", "child", "child note", "cte", "scalar",
                "case", "returning")  # fmt: skip
        rest = {
            "way": rng.choice(ways),
            "values": schema.draw_values(rng, whole=False),
            "note": rng.choice(("x", "", "note")),
            "tenant": schema.draw_tenant(rng),
        }
        return {**super().draw_rest(rng, schema, tag), **rest}

    def run(self, world: World) -> Any:
        statement = self._statement(world)
        if statement is None:
            return None
        session: Any = world.sessions[self.session]
        options = {"synchronize_session": False}
        if self.way == "core":
            return session.connection().execute(statement).rowcount
        done = session.execute(statement, execution_options=options)
        return world.rows(done) if self.way == "returning" else done.rowcount

    def _statement(self, world: World) -> Any:
        item, child, dialect = world.twin.item, world.twin.child, world.engine.dialect.name
        names = world.schema.key_columns
        of_item = [getattr(child, f"item_{n}") == getattr(item, n) for n in names]
        has_note = child.note == self.note
        is_slot = [world.is_slot(self.slot)]
        if world.schema.tenant:
            is_slot.append(item.tenant == self.tenant)
        values = world.own(self.values)
        match self.way:
            case "from":
                return sa.update(item).where(*of_item, has_note).values(touched=child.tag)
            case "from value":
                return sa.update(item).where(*of_item, *is_slot).values(**values)
            case "delete":
                # Children refer to items: their rows go, not the items.
                return sa.delete(child).where(*of_item, item.tag > 30, has_note)
            case "core":
                table, other = item.__table__, child.__table__
                of = [other.c[f"item_{n}"] == table.c[n] for n in names]
                return sa.update(table).where(*of).values(touched=3)
            case "child":
                return sa.update(child).where(*of_item, *is_slot).values(tag=child.tag + 1)
            case "child note":
                return sa.update(child).where(child.id == self.slot * 10).values(note=self.note)
            case "cte" if dialect not in MYSQLS:
                some = sa.select(item.tag).where(item.tag > 20).cte("some")
                where = item.tag.in_(sa.select(some.c.tag))
                return sa.update(item).where(where).values(touched=2)
            case "scalar" if dialect not in MYSQLS:
                last = sa.select(sa.func.max(child.tag)).where(*of_item).scalar_subquery()
                return sa.update(item).values(touched=sa.func.coalesce(last, 1))
            case "case":
                value = sa.case((item.tag > 50, item.touched + 1), else_=item.touched)
                return sa.update(item).where(*is_slot).values({**values, "touched": value})
            case "returning" if dialect == "postgresql":
                changed = sa.update(item).where(*of_item, has_note).values(touched=4)
                return changed.returning(item.tag, child.note)
        return None


@dataclass(frozen=True)
class UpsertMany(Step):
    """Several rows that may be there already: as VALUES or as a list, with RETURNING or without."""

    rows: tuple[tuple[int, dict[str, Any], Any, int], ...]
    way: str
    how: str
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rows = tuple(
            (slot, schema.draw_values(rng, whole=True), schema.draw_tenant(rng), tag + n)
            for n, slot in enumerate(rng.sample(range(SLOTS), rng.randint(1, 3)))
        )
        ways = ("values", "list", "list returning", "core list", "core returning")
        hows = ("excluded", "given", "plain", "nothing", "where", "constraint", "along", "along")
        choosing = ("keep", "changed", "value")
        return {"rows": rows, "way": rng.choice(ways), "how": rng.choice((*hows, *choosing))}

    def run(self, world: World) -> Any:
        session: Any = world.sessions[self.session]
        core = self.way.startswith("core")
        if self.how == "along" and world.schema.inherits == "single own":
            return None  # a row of the subclass would go without its own value
        made = world.twin.item.__table__ if core else world.twin.item
        rows = [self._row(world, row, core=core) for row in self.rows]
        if world.engine.dialect.name in MYSQLS:
            return self._mysql(world, made, rows, core=core)
        insert = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[
            world.engine.dialect.name
        ](made)
        statement = self._on_conflict(world, insert, rows, core=core)
        run = session.connection().execute if core else session.execute
        if self.way == "values":
            # SQLAlchemy wants rows of a list to be returned in order or not at all.
            return session.execute(statement.values(rows)).rowcount
        if self.way == "list returning":
            entity = statement.returning(world.twin.item)
            return sorted(repr(world.see(i)) for i in session.scalars(entity, rows))
        if self.way == "core returning":
            stored = [made.c[n] for n in ("tag", *self._own(world, core=True))]
            return sorted(map(repr, world.rows(run(statement.returning(*stored), rows))))
        run(statement, rows)
        return None

    def _row(self, world: World, row: Any, *, core: bool) -> dict[str, Any]:
        made = world.base_row(*row)
        made |= dict(zip(world.schema.key_columns, world.key(row[0]), strict=True))
        return world.core(made) if core else made

    def _own(self, world: World, *, core: bool) -> list[str]:
        names = world.own({c.name: None for c in world.schema.columns})
        return list(world.core(names)) if core else list(names)

    def _indexed(self, world: World, stored: list[str], kinds: tuple[str, ...]) -> list[str]:
        """The names of the columns that have an index of such a kind, in the table."""
        columns = [column for column in world.schema.columns if column.index in kinds]
        names = [world.schema.stored_name(column.name) for column in columns]
        return [name for name in names if name in stored]

    def _on_conflict(self, world: World, insert: Any, rows: Any, *, core: bool) -> Any:
        keys = list(world.schema.key_columns)
        stored = list(world.core(dict.fromkeys(self._own(world, core=False))))
        excluded = {n: insert.excluded[n] for n in stored}
        if world.schema.tenant_columns and self.how == "along":
            excluded["tenant"] = insert.excluded.tenant
        table = world.twin.item.__table__
        exact = self._indexed(world, stored, EXACT)
        unique = [] if world.schema.tenant else self._indexed(world, stored, ("unique",))
        match self.how:
            case "keep":
                kept = {n: sa.func.coalesce(value, table.c[n]) for n, value in excluded.items()}
                return insert.on_conflict_do_update(index_elements=keys, set_=kept)
            case "changed":
                changes = [table.c[n].is_distinct_from(insert.excluded[n]) for n in exact]
                where = sa.or_(sa.false(), *changes)
                touched = {"touched": 9}
                return insert.on_conflict_do_update(index_elements=keys, set_=touched, where=where)
            case "value" if unique:
                touched = {"touched": 9}
                return insert.on_conflict_do_update(index_elements=unique[:1], set_=touched)
            case "nothing":
                return insert.on_conflict_do_nothing()
            case "plain":
                return insert.on_conflict_do_update(index_elements=keys, set_={"touched": 9})
            case "given":
                set_: dict[str, Any] = {stored[0]: rows[0][self._own(world, core=core)[0]]}
                return insert.on_conflict_do_update(index_elements=keys, set_=set_)
            case "where":
                where = table.c.tag > 60
                return insert.on_conflict_do_update(index_elements=keys, set_=excluded, where=where)
            case "constraint":
                set_ = {**excluded, "touched": insert.excluded.tag}
                return insert.on_conflict_do_update(
                    index_elements=[world.twin.item.__table__.c[k] for k in keys], set_=set_
                )
        return insert.on_conflict_do_update(index_elements=keys, set_=excluded)

    def _mysql(self, world: World, made: Any, rows: Any, *, core: bool) -> Any:
        insert = mysql.insert(made)
        stored = list(world.core(dict.fromkeys(self._own(world, core=False))))
        match self.how:
            case "plain" | "nothing":
                statement = insert.on_duplicate_key_update(touched=9)
            case "given":
                value = rows[0][self._own(world, core=core)[0]]
                statement = insert.on_duplicate_key_update({stored[0]: value})
            case "keep":
                table = world.twin.item.__table__
                values = {n: sa.func.coalesce(insert.inserted[n], table.c[n]) for n in stored}
                statement = insert.on_duplicate_key_update(values)
            case _:
                if self.how == "along":
                    tenant = list(world.schema.tenant_columns)
                    stored += [*world.schema.key_columns, *tenant]
                statement = insert.on_duplicate_key_update({n: insert.inserted[n] for n in stored})
        session: Any = world.sessions[self.session]
        if self.way == "values":
            session.execute(statement.values(rows))
        elif self.how == "given" and len(rows) > 1:
            return None  # PyMySQL and asyncmy have no parameters there for a list of rows
        elif core:
            session.connection().execute(statement, rows)
        else:
            session.execute(statement, rows)
        return None


@dataclass(frozen=True)
class InsertPages(Step):
    """Rows in pages of two, returned in order or in any, as entities or as columns."""

    rows: tuple[tuple[int, dict[str, Any], Any, int], ...]
    way: str
    sub: bool
    weight = 4

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rows = tuple(
            (slot, schema.draw_values(rng, whole=True), schema.draw_tenant(rng), tag + n)
            for n, slot in enumerate(rng.sample(range(SLOTS), rng.randint(2, SLOTS)))
        )
        ways = ("entity", "columns", "core", "keys", "none", "unsorted", "add all")
        return {"rows": rows, "way": rng.choice(ways), "sub": rng.random() < 0.3}

    def run(self, world: World) -> Any:
        made: Any = world.twin.sub if self.sub else world.twin.item
        session: Any = world.sessions[self.session]
        options = {"insertmanyvalues_page_size": 2}
        if self.sub and world.schema.inherits:
            rows = [world.new_row(*row) for row in self.rows]
            rows = (
                [{**r, "version": world.schema.first_version} for r in rows]
                if world.schema.versioned
                else rows
            )
        else:
            rows = [world.base_row(*row) for row in self.rows]
        ordered = self.way != "unsorted"
        names = [c.name for c in world.schema.columns if hasattr(made, c.name)]
        match self.way:
            case "entity" | "unsorted":
                statement = sa.insert(made).returning(made, sort_by_parameter_order=ordered)
                found = session.scalars(statement, rows, execution_options=options)
                seen = [world.see(i) for i in found]
                return seen if ordered else sorted(map(repr, seen))
            case "columns" if not (self.sub and world.schema.has_two_tables):
                returned = [made.tag, *(getattr(made, n) for n in names)]
                statement = sa.insert(made).returning(*returned, sort_by_parameter_order=True)
                return world.rows(session.execute(statement, rows, execution_options=options))
            case "core" if not (self.sub and world.schema.inherits):
                table = world.twin.item.__table__
                stored = [table.c[n] for n in world.core(world.own(dict.fromkeys(names)))]
                statement = sa.insert(table).returning(
                    table.c.tag, *stored, sort_by_parameter_order=True
                )
                core = [world.core(row) for row in rows]
                done = session.connection().execute(statement, core, execution_options=options)
                return world.rows(done)
            case "keys" if not (self.sub and world.schema.has_two_tables):
                keys = [getattr(made, n) for n in world.schema.key_columns]
                statement = sa.insert(made).returning(*keys, sort_by_parameter_order=True)
                return world.rows(session.execute(statement, rows, execution_options=options))
            case "add all":
                rows = [{n: v for n, v in r.items() if n not in ("version", "kind")} for r in rows]
                columns = sa.inspect(made).column_attrs.keys()
                session.add_all(
                    [world.keep(made(**{n: v for n, v in r.items() if n in columns})) for r in rows]
                )
                return session.flush()
        session.execute(sa.insert(made), rows, execution_options=options)
        return None


@dataclass(frozen=True)
class Beside(Step):
    """A subquery beside each row: LATERAL where there is one, else correlated."""

    name: str
    way: str

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        ways = ("lateral", "outer lateral", "correlated", "window", "last", "two levels", "values")
        return {"name": rng.choice(schema.columns).name, "way": rng.choice(ways)}

    def run(self, world: World) -> Any:
        item, child, session = world.twin.item, world.twin.child, world.sessions[self.session]
        if not hasattr(item, self.name):
            return None
        names = world.schema.key_columns
        of_item = [getattr(child, f"item_{n}") == getattr(item, n) for n in names]
        column, is_mysql = getattr(item, self.name), world.engine.dialect.name in MYSQLS
        first: Any
        match self.way:
            case "lateral" | "outer lateral" if world.engine.dialect.name == "postgresql":
                notes = sa.select(child.id, child.note).where(*of_item).order_by(child.tag).limit(1)
                first = notes.lateral("first")
                joined = sa.select(item.tag, column, first.c.note).order_by(item.tag)
                is_outer = self.way == "outer lateral"
                return world.rows(session.execute(joined.join(first, sa.true(), isouter=is_outer)))
            case "correlated":
                first = sa.select(child.note).where(*of_item).order_by(child.tag).limit(1)
                some = sa.select(item.tag, first.scalar_subquery().label("note"), column)
                return world.rows(session.execute(some.order_by(item.tag)))
            case "window":
                rank = sa.func.rank().over(partition_by=item.touched, order_by=item.tag)
                some = sa.select(
                    item.tag,
                    column,
                    rank.label("rank"),
                    sa.func.sum(item.tag).over(order_by=item.tag, rows=(None, 0)).label("sum"),
                )
                return world.rows(session.execute(some.order_by(item.tag)))
            case "last":
                last = sa.select(sa.func.max(item.tag)).scalar_subquery()
                return world.rows(
                    session.execute(sa.select(item.tag, column).where(item.tag == last))
                )
            case "two levels":
                keys = [getattr(item, n) for n in names]
                tenant = [getattr(item, n) for n in world.schema.tenant_columns]
                inner = sa.select(*keys, *tenant, item.tag, column.label("value")).cte("inner_one")
                outer = sa.select(inner).where(inner.c.tag < 200).subquery("outer_one")
                some = sa.select(outer.c.tag, outer.c.value).join(item, item.tag == outer.c.tag)
                return world.rows(session.execute(some.order_by(outer.c.tag)))
            case "values" if not is_mysql:
                given = sa.values(sa.column("tag", sa.Integer), name="given").data(
                    [(10 * n,) for n in range(1, 9)]
                )
                some = sa.select(item.tag, column).join(given, given.c.tag == item.tag)
                return world.rows(session.execute(some.order_by(item.tag)))
        return None


TABLE_STEPS = (WriteJoined, UpsertMany, InsertPages, Beside)
