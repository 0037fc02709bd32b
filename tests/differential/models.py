"""Random models, and their twins: the same classes over plain columns and over encrypted ones."""

from __future__ import annotations

import datetime
import random
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.associationproxy import association_proxy
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import (
    DeclarativeBase,
    column_property,
    composite,
    foreign,
    mapped_column,
    query_expression,
    relationship,
    remote,
    synonym,
)
from sqlalchemy.types import NullType

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.index.transforms import casefold
from tests.differential import pickled
from tests.differential.accounts import Accounts, AccountShape, draw_shape
from tests.differential.events import note_mapper_events
from tests.differential.leaves import LEAVES, add_leaves
from tests.differential.values import KINDS, Guid, text_type, transformed

SLOTS = 5


class Both:
    """Two values of one row, as one."""

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second

    def __composite_values__(self) -> tuple[Any, Any]:
        return self.first, self.second

    def __repr__(self) -> str:
        return f"Both({self.first!r}, {self.second!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Both) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


class Concrete(ConcreteBase):
    """A class for each table; the oldest SQLAlchemy asks those that were disposed, too."""

    @classmethod
    def __declare_first__(cls) -> None:
        if hasattr(cls, "__mapper__"):
            super().__declare_first__()


TENANTS = {"integer": (1, 2), "text": ("a", "b/ä")}
KEY_KINDS = (
    "integer", "generated", "big", "uuid", "text", "spelt", "bytes", "date", "composite", "pair",
    "foreign", "guid", "owned", "owned", "char", "text uuid", "triple",
)  # fmt: skip
COMPOSED = {
    "composite": ("left", "right"), "pair": ("left", "right"), "owned": ("tenant", "id"),
    "triple": ("left", "middle", "right"),
}  # fmt: skip
"""Names of the columns of keys that have several."""
INHERITS = ("", "", "", "single", "single own", "joined", "joined", "under")
GENERATED = ("generated", "big")
KEY_TYPES: dict[str, Any] = {
    "uuid": sa.Uuid, "guid": Guid, "date": sa.Date, "char": sa.CHAR(4),
    "text uuid": sa.Uuid(as_uuid=False),
}  # fmt: skip
"""Types of keys of one column that are declared in no other way."""
INDEXES = {
    "": "", "full": "", "truncated": "", "unique": "", "both": "text",
    "casefold": "text", "digits": "text", "last": "text", "last digits": "text", "year": "date",
}  # fmt: skip
"""Kinds of indexes, each with the kind of values that it wants, if it does."""
ROTATION = ((1,), (1, 2), (2, 1), (2,))
"""The versions of an index in the phases of its rotation."""
EXACT = ("full", "unique", "both")
DEFAULTS = ("", "", "", "", "insert", "row", "update")
EXTRAS = (
    "server", "expression", "count", "note", "hybrid", "synonym", "composite", "history", "hook",
    "setter", "namesakes", "group", "asked", "told", "one by one",
)  # fmt: skip
"""Attributes that are more than columns: of a plain column with a server default, of an expression,
of a count and of an encrypted column in another table; ways to look at the first column; whether
the first column's old values are always loaded; whether events set it to something else: when
a row is written, or when it is set; and a relation to the rows that have the same value in it.
Columns that are loaded only as a group; an expression that a query gives, or the mapping, which
compares; and whether a flush writes row by row."""


@dataclass(frozen=True)
class Column:
    """A column that the twins hold plain and encrypted.

    :ivar kind: of its values, in ``KINDS``. :ivar index: one of ``INDEXES``.
    :ivar default: one of ``DEFAULTS``. :ivar versions: of its index. :ivar guard: whether the
        database refuses values that are not messages.
    """

    name: str
    kind: str
    index: str = ""
    nullable: bool = True
    default: str = ""
    deferred: bool = False
    versions: tuple[int, ...] = (1,)
    guard: bool = False

    def draw(self, rng: random.Random) -> Any:
        """A value for it."""
        return None if self.nullable and rng.random() < 0.15 else KINDS[self.kind].draw(rng)

    @property
    def is_found_exactly(self) -> bool:
        """Whether rows are found by its whole value, and no others."""
        return self.index in EXACT

    def blind_indexes(self) -> list[BlindIndex]:
        """The indexes that the encrypted twin has."""
        why: Any = {"accept_leakage": "the values are drawn", "versions": self.versions}
        match self.index:
            case "":
                return []
            case "full":
                return [BlindIndex(domain=self.kind, **why)]
            case "truncated":
                return [BlindIndex(bits=8, **why)]
            case "unique":
                return [BlindIndex(unique=True, **why)]
            case "both":
                return [BlindIndex(casefold, bits=64, **why), BlindIndex(**why)]
        return [BlindIndex(transformed(self.index)[0], name="some", **why)]

    @property
    def options(self) -> dict[str, Any]:
        """What both twins' columns are declared with."""
        value = KINDS[self.kind].pool[0]
        defaults: dict[str, Any] = {}
        if self.default == "row":
            defaults["default"] = lambda context: value if _tells_row(context) else None
        elif self.default:
            defaults["default"] = lambda: value
        if self.default == "update":
            defaults["onupdate"] = lambda: value
        return {"nullable": self.nullable, "deferred": self.deferred, **defaults}


def _tells_row(context: Any) -> bool:
    """Whether a default is told the values of its own row, by the names of the columns."""
    return not any("_m" in name for name in context.get_current_parameters())


@dataclass(frozen=True)
class Schema:
    """What a pair of twins looks like; its ``repr`` makes it again.

    :ivar key: one of ``KEY_KINDS``; of an ``"owned"`` one the tenant is a part.
    :ivar tenant: kind of the tenant's column, or ``""``.
    :ivar inherits: one of ``INHERITS``: the subclass has no column of its own, or the last one in
        the table of all or in its own; or a class between has it. :ivar compound: columns looked up
        together. :ivar versioned: whether rows have a version, ``"counter"``, ``"text"``, or
        ``"own"``, which SQLAlchemy only compares.
        :ivar renamed: whether columns have other names than attributes. :ivar eager: whether a
        flush fetches defaults, or ``"auto"``. :ivar leaves: how an item has its leaves, if it does.
        :ivar loads: how an item's children are loaded, and their item, if nobody says it.
    :ivar accounts: how accounts are mapped, if there are some.
    """

    key: str
    columns: tuple[Column, ...]
    tenant: str = ""
    inherits: str = ""
    compound: tuple[str, ...] = ()
    versioned: str = ""
    renamed: bool = False
    eager: bool | str = False
    kin: str = ""
    extras: tuple[str, ...] = ()
    joins: str = ""
    rotates: bool = False
    leaves: str = ""
    loads: str = ""
    accounts: AccountShape | None = None

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Names of the primary key's columns."""
        return COMPOSED.get(self.key, ("id",))

    @property
    def own_columns(self) -> tuple[Column, ...]:
        """Those of the class; the subclass may have one of its own."""
        return self.columns[:-1] if self.inherits not in ("", "single") else self.columns

    @property
    def has_two_tables(self) -> bool:
        """Whether the subclass has columns in a table of its own."""
        return self.inherits in ("joined", "under")

    @property
    def is_possible(self) -> bool:
        """Whether there is such a schema: a key that has the tenant in it needs one."""
        return self.key != "owned" or bool(self.tenant)

    @property
    def tenant_columns(self) -> tuple[str, ...]:
        """The tenant's column, where it is beside the key."""
        return ("tenant",) if self.tenant and "tenant" not in self.key_columns else ()

    def at(self, phase: int) -> Schema:
        """The schema in a phase of the rotation of its indexes, if they are rotated."""
        if not self.rotates:
            return self
        columns = tuple(replace(c, versions=ROTATION[phase]) for c in self.columns)
        return replace(self, columns=columns)

    @property
    def first_version(self) -> Any:
        """What a new row's version is."""
        return "1" if self.versioned == "text" else 1

    @property
    def has_namesakes(self) -> bool:
        """Whether items refer to those with the same value in the first column."""
        is_exact = self.columns[0].is_found_exactly
        return "namesakes" in self.extras and is_exact and not self.tenant

    @property
    def is_generated(self) -> bool:
        """Whether the database gives the keys."""
        return self.key in GENERATED

    def stored_name(self, name: str) -> str:
        """The name of an attribute's column."""
        is_own = any(c.name == name for c in self.columns)
        return f"The {name}: 100%" if self.renamed and is_own else name

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(c for c in self.columns if c.name == name)

    def key_of(self, slot: int) -> tuple[Any, ...]:
        """The primary key that the program chooses for a slot."""
        match self.key:
            case "owned":
                return TENANTS[self.tenant][slot % 2], slot // 2
            case "triple":
                return slot // 4, f"m{slot // 2 % 2}", UUID(int=slot % 2)
            case "composite":
                return slot // 2, f"b{slot % 2}"
            case "pair":
                return UUID(int=slot // 2), datetime.date(2024, 1, slot % 2 + 1)
        return (self._key_value_of(slot),)

    def _key_value_of(self, slot: int) -> Any:
        match self.key:
            case "uuid" | "guid":
                return UUID(int=slot + 1)
            case "text uuid":
                return str(UUID(int=slot + 1))
            case "text":
                return f"k{slot}"
            case "spelt":
                return ("k0", "k1", "k2", "K0", "K1 ")[slot]
            case "char":
                return ("k0cc", "k1cc", "k2cc", "K0cc", "key")[slot]
            case "bytes":
                return bytes([0, slot])
            case "date":
                return datetime.date(2024, 1, slot + 1)
            case "generated" | "big":
                return -1 - slot  # which no database gives
        return slot + 1

    def draw_values(self, rng: random.Random, *, whole: bool) -> dict[str, Any]:
        """Values of all columns, or of some."""
        chosen = self.columns if whole else rng.sample(self.columns, rng.randint(1, 2))
        return {c.name: c.draw(rng) for c in chosen}

    def draw_tenant(self, rng: random.Random) -> Any:
        """A tenant, or ``None`` where rows have none."""
        return rng.choice(TENANTS[self.tenant]) if self.tenant else None


def draw_schema(rng: random.Random) -> Schema:
    """A random schema of two to four columns."""
    columns = tuple(_draw_column(rng, f"c{i}") for i in range(rng.randint(2, 4)))
    inherits, key = rng.choice(INHERITS), rng.choice(KEY_KINDS)
    own = columns[:-1] if inherits not in ("", "single") else columns
    if inherits == "single own":
        # Items have none, and share no unique constraint with it.
        last = columns[-1]
        index = "full" if last.index == "unique" else last.index
        columns = (*own, replace(last, index=index, nullable=True))
    return Schema(
        key=key,
        columns=columns,
        tenant=rng.choice(tuple(TENANTS) if key == "owned" else ("", "", *TENANTS)),
        inherits=inherits,
        compound=("c0", "c1") if _compounds(own) and rng.random() < 0.5 else (),
        versioned=rng.choice(("", "", "", "counter", "text", "own")),
        renamed=rng.random() < 0.3,
        eager=rng.choice((False, True, "auto")),
        kin=rng.choice(("", "", "", "parent", "friends")),
        extras=tuple(e for e in EXTRAS if rng.random() < 0.2),
        joins=rng.choice(("", "", "*", "selectin")) if inherits else "",
        rotates=rng.random() < 0.3,
        leaves=rng.choice(("", "", "", *LEAVES)),
        loads=rng.choice(("", "", "", "selectin", "subquery", "immediate", "joined")),
        accounts=draw_shape(rng) if rng.random() < 0.6 else None,
    )


def _compounds(columns: tuple[Column, ...]) -> bool:
    fitting = [KINDS[c.kind].compares and c.default != "update" for c in columns[:2]]
    return len(fitting) == 2 and all(fitting)


def _draw_column(rng: random.Random, name: str) -> Column:
    kind = rng.choice(tuple(KINDS))
    fitting = [i for i, of in INDEXES.items() if of in ("", kind)]
    index = rng.choice(fitting) if KINDS[kind].compares else ""
    return Column(
        name,
        kind,
        index,
        nullable=rng.random() < 0.7,
        default=rng.choice(DEFAULTS),
        deferred=rng.random() < 0.1,
        versions=rng.choice(((1,), (1,), (1, 2), (2, 1), (2,))),
        guard=rng.random() < 0.1,
    )


class Twin:
    """The mapped classes of one side.

    :ivar item: the class. :ivar sub: its subclass, or the same. :ivar child: a class that refers
        to it. :ivar leaf: another, whose key has the item's in it. :ivar audit: the table that
        triggers write. :ivar step: number of the step that is under way, which ``onupdate`` gives:
        a row that nothing changed keeps an older one.
    :param like: another one that notes in the same lists.
    :ivar events: what happened to instances. :ivar held: every instance, see
        :func:`~tests.differential.events.note_mapper_events`.
    """

    def __init__(self, schema: Schema, *, encrypted: bool, like: Twin | None = None) -> None:
        self.schema, self.encrypted = schema, encrypted
        self.prefix = "e" if encrypted else "p"
        base: Any = type("Base", (DeclarativeBase,), {})
        self.base = base
        self.step = 0
        self.events: list[Any] = like.events if like is not None else []
        self.held: list[Any] = like.held if like is not None else []
        self.audit = sa.Table(
            f"{self.prefix}_audit",
            self.base.metadata,
            sa.Column("verb", sa.String(6)),
            sa.Column("tag", sa.Integer),
        )
        if schema.key == "foreign":
            owner = sa.Table(f"{self.prefix}_owner", self.base.metadata)
            owner.append_column(sa.Column("id", sa.Integer, primary_key=True))
        self.item = self._item()
        self.leaf: Any = self._leaf() if schema.leaves else None
        self.sub = self._sub() if schema.inherits else self.item
        self.child = self._child()
        self.plant, self.tree = self._plants()
        shape = schema.accounts
        made = Accounts(shape, self.base, self.prefix, encrypted=encrypted) if shape else None
        self.accounts: Accounts | None = made
        self._proxied = 0
        self._add_expressions()
        self.base.registry.configure()
        note_mapper_events(self, self.events, self.held)
        self._add_hooks()

    def begin(self) -> None:
        """Start to count anew, for another program."""
        self.step = self._proxied = 0

    def _touch(self) -> int:
        return self.step

    def stored(self, column: Column, key: str = "default") -> Any:
        """The column as this side holds it."""
        kind = KINDS[column.kind]
        type_ = kind.type(encrypted=self.encrypted)
        if self.encrypted:
            index = column.blind_indexes()
            type_ = EncryptedType(type_, key=key, index=index, guard=column.guard)
        if kind.mutable:
            type_ = MutableDict.as_mutable(type_)
        group = {}
        if "group" in self.schema.extras and column.nullable and column.name != "note":
            group = {"deferred": True, "deferred_group": "some"}
        options = {**column.options, **group}
        return mapped_column(self.schema.stored_name(column.name), type_, **options)

    def _item(self) -> Any:
        schema = self.schema
        body: dict[str, Any] = {"__tablename__": f"{self.prefix}_item", **self._key()}
        body |= pickled.body()
        body["tag"] = mapped_column(sa.Integer, nullable=False)
        body["touched"] = mapped_column(sa.Integer, default=0, onupdate=self._touch, nullable=False)
        if schema.tenant_columns:
            body["tenant"] = mapped_column(self._tenant_type(), nullable=False)
        key = "tenant/{tenant}" if schema.tenant else "default"
        own = schema.own_columns
        body |= {c.name: self.stored(c, key) for c in own}
        body |= self._extras(body["c0"], own)
        body["__table_args__"] = tuple(self._table_arguments(own))
        mapping: dict[str, Any] = {"eager_defaults": schema.eager}
        if "one by one" in schema.extras:
            mapping["batch"] = False
        body["__mapper_args__"] = mapping
        if schema.versioned:
            is_text = self.schema.versioned == "text"
            type_ = text_type() if is_text else sa.Integer()
            default: dict[str, Any] = {"default": 1} if schema.versioned == "own" else {}
            body["version"] = mapped_column(type_, nullable=False, **default)
            mapping["version_id_col"] = body["version"]
            if schema.versioned == "own":
                mapping["version_id_generator"] = False
            if is_text:
                mapping["version_id_generator"] = lambda version: str(int(version or 0) + 1)
        if schema.inherits:
            body["kind"] = mapped_column(sa.String(4), nullable=False)
            mapping |= {"polymorphic_on": "kind", "polymorphic_identity": "item"}
            if schema.joins == "*":
                mapping["with_polymorphic"] = "*"
        body |= self._kin(body)
        body["all_notes"] = association_proxy("children", "note", creator=self._note_of_proxy)
        loads: Any = {"lazy": schema.loads} if schema.loads not in ("", "joined") else {}
        body["children"] = relationship(
            "Child",
            **loads,
            order_by="Child.tag",
            back_populates="item",
            cascade="all, delete-orphan",
            passive_updates=False,
        )
        return pickled.show(type("Item", (self.base,), body))

    def _extras(self, first: Any, own: tuple[Column, ...]) -> dict[str, Any]:
        extras: dict[str, Any] = {}
        if "server" in self.schema.extras:
            extras["stamp"] = mapped_column(sa.Integer, server_default="3", nullable=False)
        if "hybrid" in self.schema.extras:
            extras["hybrid"] = hybrid_property(lambda self: self.c0)
            # Nobody asks for it but SQLAlchemy, in bulk writes.
            extras["doubled"] = hybrid_property(lambda self: self.c0 + self.c0)
        if "synonym" in self.schema.extras:
            extras["other_name"] = synonym("c0")
        if "composite" in self.schema.extras:
            extras["both"] = composite(Both, "c0", "c1" if len(own) > 1 else "tag")
        if "asked" in self.schema.extras:
            extras["asked"] = query_expression()
        if "history" in self.schema.extras:
            extras["c0"] = column_property(first.column, active_history=True)
        if self.schema.has_namesakes:
            extras["namesakes"] = relationship(
                "Item",
                primaryjoin=lambda: foreign(remote(self.item.c0)) == self.item.c0,
                order_by=lambda: self.item.tag,
                viewonly=True,
            )
        return extras

    def _kin(self, body: dict[str, Any]) -> dict[str, Any]:
        """Relations of items to items."""
        names = self.schema.key_columns
        if not self.schema.kin:
            return {}
        own = f"{self.prefix}_item"
        keys = [self._key()[n].column for n in names]
        if self.schema.kin == "parent":
            refers = {
                f"parent_{n}": mapped_column(_same_type(k), nullable=True)
                for n, k in zip(names, keys, strict=True)
            }
            constraint = sa.ForeignKeyConstraint(list(refers), [f"{own}.{n}" for n in names])
            body["__table_args__"] += (constraint,)
            remote = [body[n] for n in names]
            kin = relationship(
                "Item", remote_side=remote, back_populates="kin", passive_updates=False
            )
            return {
                **refers,
                "parent": kin,
                "kin": relationship(
                    "Item", back_populates="parent", order_by=body["tag"], passive_updates=False
                ),
            }
        table = sa.Table(f"{self.prefix}_friends", self.base.metadata)
        for side in ("from", "to"):
            columns = [
                sa.Column(f"{side}_{n}", _same_type(k), primary_key=True)
                for n, k in zip(names, keys, strict=True)
            ]
            for column in columns:
                table.append_column(column)
            targets = [f"{own}.{n}" for n in names]
            table.append_constraint(sa.ForeignKeyConstraint([c.name for c in columns], targets))
        why = sa.String(50)
        encrypted: Any = EncryptedType(why) if self.encrypted else why
        table.append_column(sa.Column("why", encrypted, default="met"))
        first, second = (
            sa.and_(*(table.c[f"{side}_{n}"] == body[n].column for n in names))
            for side in ("from", "to")
        )
        return {
            "kin": relationship(
                "Item",
                secondary=table,
                primaryjoin=first,
                secondaryjoin=second,
                order_by=body["tag"],
                passive_updates=False,
            )
        }

    def _add_expressions(self) -> None:
        item, child = self.item, self.child
        names = self.schema.key_columns
        of_item = [getattr(child, f"item_{n}") == getattr(item, n) for n in names]
        if "expression" in self.schema.extras:
            item.tag_and_more = column_property(item.tag + item.touched)
        if "count" in self.schema.extras:
            counted = sa.select(sa.func.count(child.note)).where(*of_item)
            item.notes = column_property(counted.correlate(item.__table__).scalar_subquery())
        if "note" in self.schema.extras:
            first = sa.select(child.note).where(*of_item).order_by(child.tag).limit(1)
            item.first_note = column_property(
                first.correlate(item.__table__).scalar_subquery(), deferred=True
            )

        first_one = self.schema.columns[0]
        if "told" in self.schema.extras and first_one.is_found_exactly and not self.schema.tenant:
            told = item.c0 == KINDS[first_one.kind].pool[0]
            item.told = column_property(sa.case((told, 1), else_=0))

    def _add_hooks(self) -> None:
        values = KINDS[self.schema.columns[0].kind].pool
        if "hook" in self.schema.extras:
            for name in ("before_insert", "before_update"):
                event.listen(self.item, name, _hook(values[-1]), propagate=True)
        if "setter" in self.schema.extras:

            def chosen(target: Any, value: Any, old: Any, initiator: Any) -> Any:
                return values[0] if value == values[-1] else value

            event.listen(self.item.c0, "set", chosen, retval=True, propagate=True)

    def _table_arguments(self, own: tuple[Column, ...]) -> Any:
        names = {c.name for c in own}
        if self.encrypted:
            if self.schema.compound and names.issuperset(self.schema.compound):
                why = "the values are drawn"
                names_ = [self.schema.stored_name(n) for n in self.schema.compound]
                yield CompoundBlindIndex("who", *names_, accept_leakage=why)
            return
        tenant = ("tenant",) if self.schema.tenant else ()
        for column in own:
            if column.index == "unique":
                yield sa.UniqueConstraint(*tenant, self.schema.stored_name(column.name))

    def _key(self) -> dict[str, Any]:
        if plain := KEY_TYPES.get(self.schema.key):
            return {"id": mapped_column(plain, primary_key=True)}
        match self.schema.key:
            case "generated":
                return {"id": mapped_column(sa.Integer, primary_key=True)}
            case "big":
                big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
                return {"id": mapped_column(big, sa.Identity(), primary_key=True)}
            case "owned":
                tenant = mapped_column(self._tenant_type(), primary_key=True, autoincrement=False)
                own = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
                return {"tenant": tenant, "id": own}
            case "triple":
                return {
                    "left": mapped_column(sa.Integer, primary_key=True, autoincrement=False),
                    "middle": mapped_column(text_type(), primary_key=True),
                    "right": mapped_column(Guid, primary_key=True),
                }
            case "spelt":
                return {"id": mapped_column(sa.String(20), primary_key=True)}
            case "bytes":
                bounded = mysql.VARBINARY(16)
                some = sa.LargeBinary().with_variant(bounded, "sqlite", "mysql", "mariadb")
                return {"id": mapped_column(some, primary_key=True)}
            case "pair":
                left = mapped_column(sa.Uuid, primary_key=True)
                return {"left": left, "right": mapped_column(sa.Date, primary_key=True)}
            case "text":
                return {"id": mapped_column(text_type(), primary_key=True)}
            case "composite":
                left = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
                return {"left": left, "right": mapped_column(text_type(), primary_key=True)}
            case "foreign":
                owner = sa.ForeignKey(f"{self.prefix}_owner.id")
                return {"id": mapped_column(owner, primary_key=True)}
        return {"id": mapped_column(sa.Integer, primary_key=True, autoincrement=False)}

    def _tenant_type(self) -> Any:
        return sa.Integer() if self.schema.tenant == "integer" else text_type()

    def _references(self, prefix: str, **options: Any) -> tuple[dict[str, Any], Any]:
        """Columns that hold an item's key, and the foreign key over them."""
        table = self.item.__table__
        names = self.schema.key_columns
        columns = {prefix + n: mapped_column(prefix + n, table.c[n].type, **options) for n in names}
        return columns, sa.ForeignKeyConstraint(list(columns), [table.c[n] for n in names])

    def _sub(self) -> Any:
        body: dict[str, Any] = {"__mapper_args__": {"polymorphic_identity": "sub"}}
        body |= pickled.body()
        if self.schema.joins == "selectin":
            body["__mapper_args__"]["polymorphic_load"] = "selectin"
        last = self.schema.columns[-1]
        match self.schema.inherits:
            case "joined":
                body |= self._own_table()
            case "single own":
                key = "tenant/{tenant}" if self.schema.tenant else "default"
                body[last.name] = self.stored(last, key)
            case "under":
                between: dict[str, Any] = {"__mapper_args__": {"polymorphic_identity": "midl"}}
                between |= pickled.body() | self._own_table()
                middle = pickled.show(type("Middle", (self.item,), between))
                return pickled.show(type("Sub", (middle,), body))
        return pickled.show(type("Sub", (self.item,), body))

    def _own_table(self) -> dict[str, Any]:
        """The table that a subclass has beside that of its class."""
        columns, constraint = self._references("", primary_key=True)
        last = self.schema.columns[-1]
        arguments = [constraint]
        if last.index == "unique" and not self.encrypted:
            arguments.append(sa.UniqueConstraint(self.schema.stored_name(last.name)))
        body = {**columns, last.name: self.stored(last), "__table_args__": tuple(arguments)}
        return {**body, "__tablename__": f"{self.prefix}_sub"}

    def _child(self) -> Any:
        columns, constraint = self._references("item_", nullable=True)
        body: dict[str, Any] = {"__tablename__": f"{self.prefix}_child", **columns}
        body["id"] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
        body["tag"] = mapped_column(sa.Integer, nullable=False)
        body["note"] = self.stored(Column("note", "text", "full"))
        body["__table_args__"] = (constraint,)
        loads: Any = {"lazy": self.schema.loads} if self.schema.loads else {}
        body["item"] = relationship("Item", back_populates="children", **loads)
        body |= pickled.body()
        return pickled.show(type("Child", (self.base,), body))

    def _leaf(self) -> Any:
        word = self.stored(Column("word", "text", "full"))
        names, how = self.schema.key_columns, self.schema.leaves
        return add_leaves(self.item, self.base, names, how, word)

    def _note_of_proxy(self, note: str) -> Any:
        """A child for a note that is added to those of its item."""
        self._proxied += 1
        return self.child(id=10_000 + self._proxied, tag=self._proxied, note=note)

    def _plants(self) -> tuple[Any, Any]:
        """A concrete hierarchy."""
        column = self.schema.columns[0]
        index = column.index if column.is_found_exactly else ""
        of = replace(
            column, name="value", index="full" if index else "", default="", deferred=False
        )

        def body(name: str) -> dict[str, Any]:
            return {
                "__tablename__": f"{self.prefix}_{name}",
                "__mapper_args__": {"polymorphic_identity": name, "concrete": True},
                "id": mapped_column(sa.Integer, primary_key=True, autoincrement=False),
                "value": self.stored(of),
            }

        plant = type("Plant", (Concrete, self.base), body("plant"))
        return plant, type("Tree", (plant,), body("tree"))


def _hook(value: Any) -> Any:
    def change(mapper: Any, connection: Any, target: Any) -> None:
        if target.tag % 3 == 0:
            target.c0 = value

    return change


def _same_type(key: Any) -> Any:
    """The type of a column that refers to a key."""
    foreign = isinstance(key.type, NullType)
    return sa.Integer() if foreign else key.type
