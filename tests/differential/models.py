"""Random models, and their twins: the same classes over plain columns and over encrypted ones."""

from __future__ import annotations

import datetime
import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, mapped_column, relationship

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.index.transforms import casefold
from tests.differential.values import KINDS, text_type

SLOTS = 5
TENANTS = {"integer": (1, 2), "text": ("a", "b/ä")}
KEY_KINDS = ("integer", "generated", "uuid", "text", "date", "composite", "foreign")
INDEXES = ("", "full", "truncated", "casefold", "unique")


@dataclass(frozen=True)
class Column:
    """A column that the twins hold plain and encrypted.

    :ivar kind: of its values, in ``KINDS``. :ivar index: one of ``INDEXES``.
    """

    name: str
    kind: str
    index: str = ""
    nullable: bool = True

    def draw(self, rng: random.Random) -> Any:
        """A value for it."""
        return None if self.nullable and rng.random() < 0.15 else KINDS[self.kind].draw(rng)

    def drawn_index(self, key: str) -> BlindIndex | None:
        """The index that the encrypted twin has."""
        why: dict[str, Any] = {"accept_leakage": "the values are drawn"}
        match self.index:
            case "full":
                return BlindIndex(**why)
            case "truncated":
                return BlindIndex(bits=8, **why)
            case "casefold":
                return BlindIndex(casefold)
            case "unique":
                return BlindIndex(unique=True, **why)
        return None


@dataclass(frozen=True)
class Schema:
    """What a pair of twins looks like; its ``repr`` makes it again.

    :ivar key: one of ``KEY_KINDS``. :ivar tenant: kind of the tenant's column, or ``""``.
    :ivar inherits: ``""``, ``"single"`` or ``"joined"``. :ivar compound: columns looked up
        together. :ivar versioned: whether rows have a version counter.
    """

    key: str
    columns: tuple[Column, ...]
    tenant: str = ""
    inherits: str = ""
    compound: tuple[str, ...] = ()
    versioned: bool = False

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Names of the primary key's columns."""
        return ("left", "right") if self.key == "composite" else ("id",)

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(c for c in self.columns if c.name == name)

    def key_of(self, slot: int) -> tuple[Any, ...]:
        """The primary key that the program chooses for a slot."""
        match self.key:
            case "uuid":
                return (UUID(int=slot + 1),)
            case "text":
                return (f"k{slot}",)
            case "date":
                return (datetime.date(2024, 1, slot + 1),)
            case "composite":
                return slot // 2, f"b{slot % 2}"
            case "generated":
                return (900 + slot,)
        return (slot + 1,)

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
    inherits = rng.choice(("", "", "single", "joined"))
    own = columns[:-1] if inherits == "joined" else columns
    return Schema(
        key=rng.choice(KEY_KINDS),
        columns=columns,
        tenant=rng.choice(("", "", *TENANTS)),
        inherits=inherits,
        compound=("c0", "c1") if _compounds(own) and rng.random() < 0.5 else (),
        versioned=rng.random() < 0.4,
    )


def _compounds(columns: tuple[Column, ...]) -> bool:
    return len(columns) > 1 and all(KINDS[c.kind].compares for c in columns[:2])


def _draw_column(rng: random.Random, name: str) -> Column:
    kind = rng.choice(tuple(KINDS))
    fitting = [i for i in INDEXES if i != "casefold" or kind == "text"]
    index = rng.choice(fitting) if KINDS[kind].compares else ""
    return Column(name, kind, index, nullable=rng.random() < 0.7)


class Twin:
    """The mapped classes of one side.

    :ivar item: the class. :ivar sub: its subclass, or the same. :ivar child: a class that refers
        to it. :ivar audit: the table that triggers write. :ivar touches: how often ``onupdate``
        was asked for a value.
    """

    def __init__(self, schema: Schema, *, encrypted: bool) -> None:
        self.schema, self.encrypted = schema, encrypted
        self.prefix = "e" if encrypted else "p"
        base: Any = type("Base", (DeclarativeBase,), {})
        self.base = base
        self.touches = 0
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
        self.sub = self._sub() if schema.inherits else self.item
        self.child = self._child()
        self.base.registry.configure()

    def _touch(self) -> int:
        self.touches += 1
        return self.touches

    def stored(self, column: Column, key: str = "default") -> Any:
        """The column as this side holds it."""
        inner = KINDS[column.kind].inner()
        if self.encrypted:
            kind: Any = EncryptedType(inner, key=key, index=column.drawn_index(key))
            return mapped_column(column.name, kind, nullable=column.nullable)
        return mapped_column(column.name, inner, nullable=column.nullable)

    def _item(self) -> Any:
        schema = self.schema
        body: dict[str, Any] = {"__tablename__": f"{self.prefix}_item", **self._key()}
        body["tag"] = mapped_column(sa.Integer, nullable=False)
        body["touched"] = mapped_column(sa.Integer, default=0, onupdate=self._touch, nullable=False)
        if schema.tenant:
            kind = sa.Integer() if schema.tenant == "integer" else text_type()
            body["tenant"] = mapped_column(kind, nullable=False)
        key = "tenant/{tenant}" if schema.tenant else "default"
        own = schema.columns[:-1] if schema.inherits == "joined" else schema.columns
        body |= {c.name: self.stored(c, key) for c in own}
        body["__table_args__"] = tuple(self._table_arguments(own))
        body["__mapper_args__"] = mapping = {}
        if schema.versioned:
            body["version"] = mapped_column(sa.Integer, nullable=False)
            mapping["version_id_col"] = body["version"]
        if schema.inherits:
            body["kind"] = mapped_column(sa.String(4), nullable=False)
            mapping |= {"polymorphic_on": "kind", "polymorphic_identity": "item"}
        body["children"] = relationship(
            "Child",
            order_by="Child.tag",
            back_populates="item",
            cascade="all, delete-orphan",
            passive_updates=False,
        )
        return type("Item", (self.base,), body)

    def _table_arguments(self, own: tuple[Column, ...]) -> Any:
        names = {c.name for c in own}
        if self.encrypted:
            if self.schema.compound and names.issuperset(self.schema.compound):
                why = "the values are drawn"
                yield CompoundBlindIndex("who", *self.schema.compound, accept_leakage=why)
            return
        tenant = ("tenant",) if self.schema.tenant else ()
        for column in own:
            if column.index == "unique":
                yield sa.UniqueConstraint(*tenant, column.name)

    def _key(self) -> dict[str, Any]:
        match self.schema.key:
            case "generated":
                return {"id": mapped_column(sa.Integer, primary_key=True)}
            case "uuid":
                return {"id": mapped_column(sa.Uuid, primary_key=True)}
            case "text":
                return {"id": mapped_column(text_type(), primary_key=True)}
            case "date":
                return {"id": mapped_column(sa.Date, primary_key=True)}
            case "composite":
                left = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
                return {"left": left, "right": mapped_column(text_type(), primary_key=True)}
            case "foreign":
                owner = sa.ForeignKey(f"{self.prefix}_owner.id")
                return {"id": mapped_column(owner, primary_key=True)}
        return {"id": mapped_column(sa.Integer, primary_key=True, autoincrement=False)}

    def _references(self, prefix: str, **options: Any) -> tuple[dict[str, Any], Any]:
        """Columns that hold an item's key, and the foreign key over them."""
        table = self.item.__table__
        names = self.schema.key_columns
        columns = {prefix + n: mapped_column(prefix + n, table.c[n].type, **options) for n in names}
        return columns, sa.ForeignKeyConstraint(list(columns), [table.c[n] for n in names])

    def _sub(self) -> Any:
        body: dict[str, Any] = {"__mapper_args__": {"polymorphic_identity": "sub"}}
        if self.schema.inherits == "joined":
            columns, constraint = self._references("", primary_key=True)
            last = self.schema.columns[-1]
            own = self.stored(last)
            arguments = [constraint]
            if last.index == "unique" and not self.encrypted:
                arguments.append(sa.UniqueConstraint(last.name))
            body |= {**columns, last.name: own, "__table_args__": tuple(arguments)}
            body["__tablename__"] = f"{self.prefix}_sub"
        return type("Sub", (self.item,), body)

    def _child(self) -> Any:
        columns, constraint = self._references("item_", nullable=True)
        body: dict[str, Any] = {"__tablename__": f"{self.prefix}_child", **columns}
        body["id"] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
        body["tag"] = mapped_column(sa.Integer, nullable=False)
        body["note"] = self.stored(Column("note", "text"))
        body["__table_args__"] = (constraint,)
        body["item"] = relationship("Item", back_populates="children")
        return type("Child", (self.base,), body)


def twins(schema: Schema) -> SimpleNamespace:
    """Both sides of a schema."""
    return SimpleNamespace(
        plain=Twin(schema, encrypted=False), encrypted=Twin(schema, encrypted=True)
    )
