"""Accounts: rows that are known by more than their key, belong to a tenant and to each other, and
have names that want quotes. Their classes are mapped in several ways."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from types import new_class
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.associationproxy import association_proxy
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import (
    Mapped,
    MappedAsDataclass,
    aliased,
    column_property,
    foreign,
    mapped_column,
    relationship,
    remote,
)

from encfields import BlindIndex, EncryptedType
from tests.differential.values import json_type, text_type

WHY = "the values are drawn"
SLOTS = 4
NAMES = {
    "": {},
    "reserved": {
        "account": "order", "serial": "select", "mail": "user", "flag": "group", "secret": "where",
        "short": "key", "words": "values", "visits": "table", "boss_serial": "references",
    },
    "odd": {
        "account": "Größe of: 100%", "serial": "Straße", "mail": "e-mail (1)", "flag": "flag%s",
        "secret": "a.b", "short": "Kurz", "words": "x y", "visits": "%visits%", "id": "ID",
        "tenant": "Mändant", "boss_serial": "boss: 1",
    },
}  # fmt: skip
"""What the table and its columns are called."""
POOLS: dict[str, tuple[Any, ...]] = {
    "mail": ("a@x", "b@x", "c@x", "A@x", None),
    "flag": (True, False, None),
    "secret": ("", "x", "ä", None),
    "short": ("Ada", "Bob", "Cy", None),
    "words": ([], ["a"], {"a": 1}, None),
}
ENCRYPTED = tuple(POOLS)
TENANTS = (1, 2)
MAPPINGS = ("declarative", "declarative", "imperative", "dataclass")
KEYS = ("integer", "identity", "given", "uuid", "pair")


@dataclass(frozen=True)
class AccountShape:
    """How accounts are mapped; its ``repr`` makes it again.

    :ivar mapping: one of ``MAPPINGS``. :ivar names: one of ``NAMES``. :ivar key: one of ``KEYS``.
    :ivar tenant: whether the branch key is the tenant's. :ivar changes: whether an UPDATE that says
        nothing of it gives `secret` a value. :ivar computed: whether a column is computed.
    :ivar versioned: whether rows have a version. :ivar deferred: whether values are.
    """

    mapping: str = "declarative"
    names: str = ""
    key: str = "integer"
    tenant: bool = False
    changes: bool = False
    computed: bool = False
    versioned: bool = False
    deferred: bool = False
    eager: bool | str = "auto"

    @property
    def is_generated(self) -> bool:
        """Whether nobody may know a key before its row is stored."""
        return self.key in ("integer", "identity", "uuid")

    @property
    def unique(self) -> tuple[str, ...]:
        """The attributes that tell an account from the others, besides its key."""
        return ("tenant", "serial") if self.tenant else ("serial",)

    def stored(self, name: str) -> str:
        """What is called `name` here is so called in the database."""
        return NAMES[self.names].get(name, name)


def draw_shape(rng: random.Random) -> AccountShape:
    """A random one."""
    tenant, changes, computed, versioned, deferred = (
        rng.random() < p for p in (0.35, 0.2, 0.3, 0.25, 0.2)
    )
    return AccountShape(
        rng.choice(MAPPINGS), rng.choice(tuple(NAMES)), rng.choice(KEYS),
        tenant, changes, computed, versioned, deferred, rng.choice((False, True, "auto")),
    )  # fmt: skip


def draw_account(rng: random.Random, *, whole: bool = True) -> dict[str, Any]:
    """Values of an account's encrypted columns, or of some."""
    names = ENCRYPTED if whole else rng.sample(ENCRYPTED, rng.randint(1, 3))
    return {name: rng.choice(POOLS[name]) for name in names}


class Accounts:
    """The classes of one side.

    :ivar account: with a unique `serial`, a unique encrypted `mail`, a boss and a favourite.
    :ivar team: accounts are its members, each with a role.
    """

    def __init__(self, shape: AccountShape, base: Any, prefix: str, *, encrypted: bool) -> None:
        self.shape, self.base, self.prefix, self.encrypted = shape, base, prefix, encrypted
        self.name = f"{prefix} {shape.stored('account')}" if shape.names else f"{prefix}_account"
        self.account = self._account()
        self.team, self.member = self._teams()
        self._relate()

    def _sealed(self, type_: Any, *index: BlindIndex) -> Any:
        if not self.encrypted:
            return type_
        key = f"tenant/{{{self._tenant}}}" if self.shape.tenant else "default"
        return EncryptedType(type_, key=key, index=list(index))

    @property
    def _tenant(self) -> str:
        """What a template calls the tenant's column: as its table does."""
        is_by_attribute = self.shape.mapping == "imperative"
        return "tenant" if is_by_attribute else self.shape.stored("tenant")

    def _specified(self) -> Iterator[tuple[str, list[Any], dict[str, Any]]]:
        """The arguments of each column, by attribute."""
        shape, sealed = self.shape, self._sealed
        key: dict[str, Any] = {"primary_key": True}
        match shape.key:
            case "integer":
                yield "id", [sa.Integer], key
            case "identity":
                big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
                yield "id", [big, sa.Identity()], {**key, "nullable": False}
            case "uuid":
                yield "id", [sa.Uuid], {**key, "default": uuid.uuid4}
            case "pair":
                yield "id", [sa.Integer], {**key, "autoincrement": False}
                yield "part", [sa.String(4)], {**key, "default": "p"}
            case _:
                yield "id", [sa.Integer], {**key, "autoincrement": False}
        yield "tenant", [sa.Integer], {"nullable": False, "default": 1}
        yield "serial", [text_type()], {}
        yield "mail", [sealed(text_type(), BlindIndex())], {}
        yield "flag", [sealed(sa.Boolean(), BlindIndex(accept_leakage=WHY))], {}
        changes: dict[str, Any] = {"onupdate": lambda: "changed"} if shape.changes else {}
        yield "secret", [sealed(text_type())], {**changes, "deferred": shape.deferred}
        yield "short", [sealed(text_type(), BlindIndex(bits=8, accept_leakage=WHY))], {}
        yield "words", [self._mutable(sealed(json_type()))], {"deferred": shape.deferred}
        yield "visits", [sa.Integer], {"nullable": False, "default": 1}
        yield "stamp", [sa.Integer], {"nullable": False, "server_default": "3"}
        if shape.versioned:
            yield "version", [sa.Integer], {"nullable": False}
        for name in ("boss", "favourite"):
            yield f"{name}_serial", [text_type()], {}

    def _mutable(self, type_: Any) -> Any:
        return MutableDict.as_mutable(type_) if self.shape.names else MutableList.as_mutable(type_)

    def _account(self) -> Any:
        shape = self.shape
        mapping: dict[str, Any] = {"eager_defaults": shape.eager}
        if shape.mapping == "imperative":
            return self._imperative(mapping)
        body: dict[str, Any] = {"__tablename__": self.name, "__mapper_args__": mapping}
        annotations: dict[str, Any] = {}
        for name, given, options in self._specified():
            if shape.mapping == "dataclass":
                options = _of_dataclass(name, options, shape)
            body[name] = mapped_column(shape.stored(name), *given, **options)
            annotations[name] = Mapped[Any | None]
        if shape.versioned:
            mapping["version_id_col"] = body["version"]
        if shape.computed:
            double = sa.Computed(sa.literal_column("2") * body["visits"].column)
            init: Any = {"init": False} if shape.mapping == "dataclass" else {}
            body["doubled"] = mapped_column(sa.Integer, double, **init)
            annotations["doubled"] = Mapped[Any | None]
        body["__table_args__"] = tuple(
            sa.UniqueConstraint(*(shape.stored(n) for n in names), name=self._called(names))
            for names in self._together()
        )
        if shape.mapping == "declarative":
            return type("Account", (self.base,), body)
        body["__annotations__"] = annotations
        bases, how = (MappedAsDataclass, self.base), {"kw_only": True, "eq": False}
        return new_class("Account", bases, how, lambda space: space.update(body))

    def _together(self) -> list[tuple[str, ...]]:
        """What is unique only together, if it is not unique by itself."""
        own = ("tenant",) if self.shape.tenant else ()
        return [(*own, "serial"), (*own, "mail")]

    def _called(self, names: tuple[str, ...]) -> str:
        return f"{self.prefix} one {names[-1]}"

    def _imperative(self, mapping: dict[str, Any]) -> Any:
        shape = self.shape
        columns: dict[str, sa.Column[Any]] = {}
        deferred = set()
        for name, given, options in self._specified():
            deferred |= {name} if options.pop("deferred", False) else set()
            columns[name] = sa.Column(shape.stored(name), *given, key=name, **options)
        if shape.computed:
            double = sa.Computed(sa.literal_column("2") * columns["visits"])
            columns["doubled"] = sa.Column("doubled", sa.Integer, double)
        together = [sa.UniqueConstraint(*n, name=self._called(n)) for n in self._together()]
        table = sa.Table(self.name, self.base.metadata, *columns.values(), *together)
        if shape.versioned:
            mapping["version_id_col"] = table.c.version
        made = type("Account", (_Given,), {})
        properties = {name: column_property(table.c[name], deferred=True) for name in deferred}
        self.base.registry.map_imperatively(made, table, properties=properties, **mapping)
        return made

    def _teams(self) -> tuple[Any, Any]:
        name = f"{self.prefix}_team"
        table = sa.inspect(self.account).local_table
        role = EncryptedType(text_type()) if self.encrypted else text_type()
        title = EncryptedType(text_type(), index=BlindIndex()) if self.encrypted else text_type()
        team = type(
            "Team",
            (self.base,),
            {
                "__tablename__": name,
                "id": mapped_column(sa.Integer, primary_key=True, autoincrement=False),
                "title": mapped_column(title),
            },
        )
        keys = list(table.primary_key)
        names = [f"account_{c.key}" for c in keys]
        refers = sa.ForeignKeyConstraint(names, keys, ondelete="CASCADE")
        body: dict[str, Any] = {
            n: mapped_column(n, c.type, primary_key=True, autoincrement=False)
            for n, c in zip(names, keys, strict=True)
        }
        body |= {
            "__tablename__": f"{self.prefix}_member",
            "team_id": mapped_column(sa.ForeignKey(f"{name}.id"), primary_key=True),
            "role": mapped_column(role, default="guest"),
            "__table_args__": (refers,),
            "team": relationship("Team"),
        }
        return team, type("Member", (self.base,), body)

    def _relate(self) -> None:
        account, team, member = self.account, self.team, self.member
        mapper = sa.inspect(account)
        joins = {
            "boss": relationship(account, primaryjoin=self._refers("boss"), back_populates="staff"),
            "favourite": relationship(
                account, primaryjoin=self._refers("favourite"), post_update=True
            ),
            "staff": relationship(
                account,
                primaryjoin=sa.and_(
                    remote(foreign(account.boss_serial)) == account.serial,
                    remote(account.tenant) == account.tenant,
                ),
                back_populates="boss",
                order_by=account.serial,
            ),
            "memberships": relationship(
                member, cascade="all, delete-orphan", passive_deletes=True, order_by=member.team_id
            ),
            "teams": relationship(
                team, secondary=member.__table__, viewonly=True, order_by=team.id
            ),
        }
        for name, made in joins.items():
            mapper.add_property(name, made)
        account.titles = association_proxy("teams", "title")
        account.roles = association_proxy(
            "memberships", "role", creator=lambda role: member(team_id=1, role=role)
        )
        account.is_active = hybrid_property(lambda self: self.flag)
        account.address = hybrid_property(lambda self: self.mail)
        other = aliased(team, flat=True)
        of = [getattr(member, f"account_{c.key}") == c for c in mapper.local_table.primary_key]
        first = sa.select(other.title).where(*of, member.team_id == other.id).order_by(other.id)
        first = first.limit(1).correlate(mapper.local_table)
        mapper.add_property("first_title", column_property(first.scalar_subquery(), deferred=True))

    def _refers(self, name: str) -> Any:
        account = self.account
        own = foreign(getattr(account, f"{name}_serial"))
        return sa.and_(remote(account.serial) == own, remote(account.tenant) == account.tenant)


class _Given:
    """A class that knows nothing of the database."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


def _of_dataclass(name: str, options: dict[str, Any], shape: AccountShape) -> dict[str, Any]:
    """A column's options in a dataclass, whose own default is another one."""
    if (name == "id" and shape.is_generated) or name in ("version", "stamp"):
        made = {"insert_default": options.pop("default")} if "default" in options else {}
        return {**options, **made, "init": False}
    return options if name == "id" or "default" in options else {**options, "default": None}
