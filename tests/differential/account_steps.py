"""Steps about single accounts: what a session does with them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.differential.accounts import (
    POOLS,
    SLOTS,
    TENANTS,
    Accounts,
    AccountShape,
    draw_account,
)
from tests.differential.models import Schema
from tests.differential.step import Step
from tests.differential.world import World


@dataclass(frozen=True)
class AccountStep(Step):
    """A step about one account, by what tells it from the others.

    :ivar slot: of which account, by its `serial`. :ivar tenant: whose.
    """

    slot: int
    tenant: int
    weight = 10

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {"slot": rng.randrange(SLOTS), "tenant": rng.choice(TENANTS)}

    def run(self, world: World) -> Any:
        accounts: Accounts | None = world.twin.accounts
        return None if accounts is None else self.do(world, accounts)

    def do(self, world: World, accounts: Accounts) -> Any:
        """The same, where there are accounts."""
        raise NotImplementedError

    @property
    def serial(self) -> str:
        """The account's."""
        return f"s{self.slot}"

    def is_it(self, account: Any, shape: AccountShape) -> list[Any]:
        """The conditions that name the account."""
        own = [account.tenant == self.tenant] if shape.tenant else []
        return [account.serial == self.serial, *own]

    def find(self, world: World, accounts: Accounts) -> Any:
        """The account, or ``None``."""
        account, session = accounts.account, world.sessions[self.session]
        found = sa.select(account).where(*self.is_it(account, accounts.shape))
        return world.keep(session.scalars(found).one_or_none())


def key_values(shape: AccountShape, number: int) -> dict[str, Any]:
    """A key of the application's own, if it is not the database that gives keys."""
    if shape.is_generated:
        return {}
    own = {"part": f"p{number % 2}"} if shape.key == "pair" else {}
    return {"id": number + 1, **own}


def see(world: World, account: Any) -> Any:
    """What an application sees of an account: all but a key that was generated."""
    if account is None:
        return None
    world.keep(account)
    names = [a.key for a in sa.inspect(type(account)).column_attrs]
    return {n: shown(world, n, getattr(account, n)) for n in names}


def shown(world: World, name: str, value: Any) -> Any:
    """A value of an account, but a generated key only as what it is."""
    shape = world.schema.accounts
    if name == "id" and shape is not None and shape.is_generated and value is not None:
        return "generated"
    return world.shown("", value)


def seen_rows(world: World, result: Any) -> list[Any]:
    """The rows of a result, accounts among them."""
    account = _accounts(world).account
    return [
        [see(world, v) if isinstance(v, account) else shown(world, n, v) for n, v in pairs]
        for pairs in (zip(result.keys(), row, strict=True) for row in result)
    ]


@dataclass(frozen=True)
class AddAccount(AccountStep):
    """A new one: added, merged, or inserted in bulk."""

    number: int
    values: dict[str, Any]
    way: str
    weight = 16

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = super().draw_rest(rng, schema, tag)
        number = rest["slot"] if rng.random() < 0.7 else rng.randrange(SLOTS)
        ways = ("add", "add", "add", "merge", "bulk", "mappings", "nulls", "insert", "nested")
        return {**rest, "number": number, "values": draw_account(rng), "way": rng.choice(ways)}

    def do(self, world: World, accounts: Accounts) -> Any:
        session, account = world.sessions[self.session], accounts.account
        row = {**key_values(accounts.shape, self.number), **self.values}
        row |= {"serial": self.serial, "tenant": self.tenant}
        row["words"] = _words(accounts, row["words"])
        version = {"version": 1} if accounts.shape.versioned else {}
        match self.way:
            case "add":
                session.add(world.keep(account(**row)))
            case "merge":
                return see(world, session.merge(account(**row)))
            case "bulk":
                session.bulk_save_objects([account(**row)])
            case "mappings":
                session.bulk_insert_mappings(sa.inspect(account), [{**row, **version}])
            case "nulls":
                options = {"render_nulls": True}
                rows = [{**row, **version, "boss_serial": None}]
                session.execute(sa.insert(account), rows, execution_options=options)
            case "insert":
                session.execute(sa.insert(account).values({**row, **version}))
            case _:
                return self._nested(world, account, row)
        return None

    def _nested(self, world: World, account: Any, row: dict[str, Any]) -> Any:
        session = world.sessions[self.session]
        session.flush()
        point = session.begin_nested()
        session.add(world.keep(account(**row)))
        session.flush()
        inner = session.begin_nested()
        session.add(world.keep(account(**{**row, **key_values(_accounts(world).shape, 9)})))
        try:
            session.flush()
        except sa.exc.IntegrityError:
            inner.rollback()
        if self.tenant == 1:
            point.rollback()
        else:
            point.commit()


def _words(accounts: Accounts, value: Any) -> Any:
    """A value that the column's mutable type takes."""
    made = dict if accounts.shape.names else list
    return value if value is None or isinstance(value, made) else made()


def _set(step: ChangeAccount, world: World, one: Any) -> Any:
    for name, value in step.values.items():
        setattr(one, name, _words(_accounts(world), value) if name == "words" else value)
    return world.sessions[step.session].is_modified(one)


def _accounts(world: World) -> Accounts:
    assert world.twin.accounts is not None
    return world.twin.accounts


def _mutate(step: ChangeAccount, world: World, one: Any) -> Any:
    if isinstance(one.words, dict):
        one.words["more"] = step.slot
    elif isinstance(one.words, list):
        one.words.append(step.slot)
    return see(world, one)


def _favour(step: ChangeAccount, world: World, one: Any) -> Any:
    other = _other(step, world)
    one.favourite, one.boss = other, other
    if other is not None and step.tenant == 1:
        other.favourite = one  # each the other's
    world.sessions[step.session].flush()
    return [see(world, one.boss), [s.serial for s in one.staff]]


def _other(step: ChangeAccount, world: World) -> Any:
    account, session = _accounts(world).account, world.sessions[step.session]
    found = sa.select(account).where(account.tenant == step.tenant, account.serial != step.serial)
    return world.keep(session.scalars(found.order_by(account.serial).limit(1)).first())


def _join(step: ChangeAccount, world: World, one: Any) -> Any:
    session, accounts = world.sessions[step.session], _accounts(world)
    for id_ in (1, 2):
        session.merge(accounts.team(id=id_, title=f"t{id_ + step.slot}"))
    one.memberships.append(world.keep(accounts.member(team_id=step.slot % 2 + 1)))
    session.flush()
    session.expire(one)
    return list(one.titles), list(one.roles), one.first_title


def _role(step: ChangeAccount, world: World, one: Any) -> Any:
    for member in one.memberships:
        member.role = step.values.get("secret") or "none"
    return list(one.roles)


def _leave(step: ChangeAccount, world: World, one: Any) -> Any:
    if one.memberships:
        one.memberships.pop()
    return list(one.roles)


def _delete(step: ChangeAccount, world: World, one: Any) -> Any:
    world.sessions[step.session].delete(one)
    world.sessions[step.session].flush()


def _lock(step: ChangeAccount, world: World, one: Any) -> Any:
    session, account = world.sessions[step.session], _accounts(world).account
    found = session.get(account, sa.inspect(one).identity, with_for_update=True)
    return see(world, found)


def _merge_unloaded(step: ChangeAccount, world: World, one: Any) -> Any:
    session = world.sessions[step.session]
    session.flush()
    with Session(session.connection()) as other:
        there = world.keep(other.get(type(one), sa.inspect(one).identity))
        return see(world, session.merge(there, load=False))


def _nested(step: ChangeAccount, world: World, one: Any) -> Any:
    session = world.sessions[step.session]
    with session.begin_nested() as point:
        _set(step, world, one)
        session.flush()
        before = see(world, one)
        point.rollback()
    return before, see(world, one)


def _refresh(step: ChangeAccount, world: World, one: Any) -> Any:
    session = world.sessions[step.session]
    session.flush()
    session.refresh(one, attribute_names=["mail", "secret"], with_for_update=True)
    return see(world, one)


def _renumber(step: ChangeAccount, world: World, one: Any) -> Any:
    if world.schema.accounts is not None and world.schema.accounts.key == "given":
        one.id = step.slot + 20
    one.serial = f"s{(step.slot + 1) % SLOTS}"
    world.sessions[step.session].flush()
    return see(world, one)


def _move(step: ChangeAccount, world: World, one: Any) -> Any:
    one.tenant = 3 - one.tenant
    world.sessions[step.session].flush()
    return see(world, one)


def _legacy(step: ChangeAccount, world: World, one: Any) -> Any:
    mapper, session = sa.inspect(type(one)), world.sessions[step.session]
    key = {c.key: v for c, v in zip(mapper.primary_key, sa.inspect(one).identity, strict=True)}
    by_name = {mapper.get_property_by_column(c).key: c.key for c in mapper.primary_key}
    row = {n: key[c] for n, c in by_name.items()}
    values = {n: v for n, v in step.values.items() if n != "words"}
    if world.schema.accounts is not None and world.schema.accounts.versioned:
        row["version"] = one.version
    session.bulk_update_mappings(mapper, [{**row, **values}])
    return None


WAYS: dict[str, Callable[[ChangeAccount, World, Any], Any]] = {
    "set": _set, "mutate": _mutate, "favour": _favour, "join": _join, "role": _role,
    "leave": _leave, "delete": _delete, "lock": _lock, "merge unloaded": _merge_unloaded,
    "nested": _nested, "refresh": _refresh, "renumber": _renumber, "move": _move,
    "legacy": _legacy,
}  # fmt: skip


@dataclass(frozen=True)
class ChangeAccount(AccountStep):
    """One that is there, as an object."""

    values: dict[str, Any]
    way: str
    weight = 20

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        rest = {"values": draw_account(rng, whole=False), "way": rng.choice(("set", *WAYS))}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def do(self, world: World, accounts: Accounts) -> Any:
        one = self.find(world, accounts)
        return None if one is None else WAYS[self.way](self, world, one)


@dataclass(frozen=True)
class AllAccounts(AccountStep):
    """Every account, and whatever belongs to it."""

    weight = 2

    def do(self, world: World, accounts: Accounts) -> Any:
        account = accounts.account
        with Session(world.sessions[self.session].connection()) as session:
            found = sa.select(account).order_by(account.tenant, account.serial, account.visits)
            return sorted(
                repr((see(world, one), list(one.titles), list(one.roles)))
                for one in session.scalars(found)
            )


ACCOUNT_STEPS = (AddAccount, ChangeAccount, AllAccounts)
ASKED = {name: POOLS[name] for name in ("mail", "flag", "short")}
