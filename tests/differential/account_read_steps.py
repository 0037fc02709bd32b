"""Accounts read and looked up in ways that keep a statement, or ask for several tenants at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    Bundle,
    Session,
    aliased,
    contains_eager,
    defer,
    immediateload,
    joinedload,
    lazyload,
    load_only,
    raiseload,
    selectinload,
    subqueryload,
    undefer,
)
from sqlalchemy.util import await_only

from tests.differential.account_steps import AccountStep, see, seen_rows
from tests.differential.accounts import POOLS, SLOTS, TENANTS, Accounts
from tests.differential.models import Schema


def _of_tenant(step: ReadAccounts, made: Any, accounts: Accounts) -> list[Any]:
    return [made.tenant == step.tenant] if accounts.shape.tenant else []


def _lambda(step: ReadAccounts, accounts: Accounts) -> Any:
    for tenant in TENANTS:
        yield _in_lambdas(accounts, tenant, step.mail)


def _in_lambdas(accounts: Accounts, tenant: int, mail: str) -> Any:
    """A statement that is compiled only once, whatever it is called with."""
    account = accounts.account
    found = sa.lambda_stmt(lambda: sa.select(account), track_on=[account])
    if accounts.shape.tenant:
        found += lambda s: s.where(account.tenant == tenant)
    return found + (lambda s: s.where(account.mail == mail))


def _each_tenant(step: ReadAccounts, accounts: Accounts) -> Any:
    account = accounts.account
    for tenant in (*TENANTS, 1):
        for mail in (step.mail, "b@x"):
            yield sa.select(account).where(account.tenant == tenant, account.mail == mail)


def _expanding(step: ReadAccounts, accounts: Accounts) -> Any:
    account = accounts.account
    mails: Any = sa.bindparam("mails", [step.mail, "b@x"], expanding=True)
    tenants: Any = sa.bindparam("tenants", list(TENANTS), expanding=True)
    yield sa.select(account).where(account.mail.in_(mails), account.tenant.in_(tenants))


def _literal(step: ReadAccounts, accounts: Accounts) -> Any:
    account = accounts.account
    visits: Any = sa.bindparam("v", 1, literal_execute=True)
    found = sa.select(account).where(account.visits == visits, account.secret.is_not(None))
    yield found.limit(sa.bindparam("n", 2, literal_execute=True)).order_by(account.serial)
    listed: Any = sa.bindparam("s", ["s0", "s1"], expanding=True, literal_execute=True)
    yield sa.select(account.serial, account.mail).where(account.serial.in_(listed))


def _truncated(step: ReadAccounts, accounts: Accounts) -> Any:
    account, short = accounts.account, step.short
    yield sa.select(account).where(account.short == short, account.tenant.in_(TENANTS))
    if accounts.shape.tenant:
        some = [sa.and_(account.tenant == t, account.short.in_([short, "Bob"])) for t in TENANTS]
        yield sa.select(account).where(sa.or_(*some))
    yield sa.select(account).where(account.short.in_(["Ada", short]), account.tenant == step.tenant)
    yield sa.select(account.serial, account.short).where(
        account.tenant.in_([step.tenant]), account.short == short, account.visits > 0
    )


def _tuples(step: ReadAccounts, accounts: Accounts) -> Any:
    account = accounts.account
    asked = [(f"s{n}", step.mail) for n in range(SLOTS)]
    own = _of_tenant(step, account, accounts)
    yield sa.select(account).where(sa.tuple_(account.serial, account.mail).in_(asked), *own)


def _columns(step: ReadAccounts, accounts: Accounts) -> Any:
    account = accounts.account
    yield sa.select(account.serial, account.first_title, account.titles.any(account.visits > 0))
    yield sa.select(account.serial, Bundle("both", account.mail, account.secret).columns[0])
    yield sa.select(account.serial, account.address.label("to"), account.is_active)
    yield sa.select(account.serial, sa.func.count().over().label("all"), account.words)


def _teams(step: ReadAccounts, accounts: Accounts) -> Any:
    account, team, member = accounts.account, accounts.team, accounts.member
    title = f"t{step.slot + 1}"
    yield sa.select(account).where(account.titles == title)
    yield sa.select(account.serial).where(~account.teams.any(team.title == title))
    yield sa.select(account.mail, team.title).join(account.teams).where(team.title == title)
    yield (
        sa.select(account.serial, member.role, team.title)
        .join(account.memberships)
        .join(member.team)
    )
    yield sa.select(account.serial, account.roles.any().label("any"))


def _children(step: ReadAccounts, accounts: Accounts) -> Any:
    account = accounts.account
    other = aliased(account)
    joined = sa.select(account).join(account.staff.of_type(other))
    yield joined.options(contains_eager(account.staff.of_type(other)))
    yield sa.select(other, account.serial.label("mine")).join(account.boss.of_type(other))
    yield sa.select(account).where(account.boss.has(_mail(step, account, accounts)))
    yield sa.select(account.serial).where(account.favourite == None)  # noqa: E711


def _mail(step: ReadAccounts, account: Any, accounts: Accounts) -> Any:
    return sa.and_(account.mail == step.mail, *_of_tenant(step, account, accounts))


def _text(step: ReadAccounts, accounts: Accounts) -> Any:
    account = accounts.account
    table = sa.inspect(account).local_table
    if not accounts.shape.names:
        plain = sa.text(f"SELECT * FROM {accounts.name}")
        yield sa.select(account).from_statement(plain)
        yield sa.select(aliased(account, plain.columns(*table.c).subquery()))
    yield sa.select(account).from_statement(sa.select(account).where(account.visits > 0))


def _literals(step: ReadAccounts, accounts: Accounts) -> Any:
    account = accounts.account
    some = sa.select(account.serial, sa.literal("x").label("x"), sa.null(), account.mail)
    yield some.order_by(account.serial).limit(2).offset(1)
    yield sa.select(account).where(sa.literal(step.serial) == account.serial)
    yield sa.select(account.mail).where(account.serial.like("s%"), account.visits.between(0, 9))
    yield sa.select(account.serial, account.mail.is_(None).label("none"))
    yield sa.select(account.serial).where(account.mail.is_not_distinct_from(None))


STATEMENTS: dict[str, Callable[[ReadAccounts, Accounts], Any]] = {
    "lambda": _lambda, "each tenant": _each_tenant, "expanding": _expanding, "literal": _literal,
    "truncated": _truncated, "tuples": _tuples, "columns": _columns, "teams": _teams,
    "children": _children, "text": _text, "literals": _literals,
}  # fmt: skip


@dataclass(frozen=True)
class ReadAccounts(AccountStep):
    """Statements that are executed one after the other, of which many are compiled only once."""

    mail: str
    short: str
    way: str
    taken: str
    weight = 24

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        takes = ("", "", "yield", "stream", "partitions", "populate", "fresh", "frozen")
        return {
            **super().draw_rest(rng, schema, tag),
            "mail": rng.choice([m for m in POOLS["mail"] if m is not None]),
            "short": rng.choice([m for m in POOLS["short"] if m is not None]),
            "way": rng.choice(tuple(STATEMENTS)),
            "taken": rng.choice(takes),
        }

    def do(self, world: Any, accounts: Accounts) -> Any:
        session: Any = world.sessions[self.session]
        told = []
        for statement in STATEMENTS[self.way](self, accounts):
            options: dict[str, Any] = {}
            if self.taken in ("yield", "stream"):
                options = {"yield_per": 2}
            elif self.taken == "populate":
                options = {"populate_existing": True}
                session.flush()
            if self.taken == "stream" and world.settings.asynchronous:
                told.append(await_only(_streamed(world, session, statement)))
                continue
            if self.taken == "fresh":
                session.flush()
                with Session(session.connection()) as other:
                    rows = other.execute(statement).unique()
                    told.append(sorted(map(repr, seen_rows(world, rows))))
                continue
            result = session.execute(statement, execution_options=options)
            if self.taken == "frozen":
                result = result.freeze()()
            told.append(sorted(map(repr, seen_rows(world, result))))
        return told


async def _streamed(world: Any, session: Any, statement: Any) -> Any:
    made = AsyncSession(session.get_bind())
    async with AsyncSession(sync_session_class=Session, bind=made.bind) as other:
        result = await other.stream_scalars(statement)
        return sorted([repr(type(value).__name__) async for value in result])


LOADS: dict[str, Callable[[Any], list[Any]]] = {
    "joined": lambda a: [joinedload(a.boss).joinedload(a.staff), joinedload(a.teams)],
    "selectin": lambda a: [selectinload(a.staff, recursion_depth=2), selectinload(a.memberships)],
    "subquery": lambda a: [subqueryload(a.teams), lazyload(a.boss)],
    "immediate": lambda a: [immediateload(a.boss), immediateload(a.favourite)],
    "raise": lambda a: [raiseload(a.staff), defer(a.secret)],
    "defer raise": lambda a: [defer(a.mail, raiseload=True)],
    "only": lambda a: [load_only(a.serial, a.mail, raiseload=True)],
    "undefer": lambda a: [undefer(a.words), undefer(a.first_title), undefer("*")],
    "only of boss": lambda a: [joinedload(a.boss).load_only(a.mail)],
    "inner": lambda a: [selectinload(a.staff).joinedload(a.memberships)],
}


@dataclass(frozen=True)
class LoadAccounts(AccountStep):
    """Accounts with what belongs to them, in a session of its own or with what is there."""

    way: str
    limit: bool
    fresh: bool
    weight = 16

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        limit, fresh = (rng.random() < p for p in (0.3, 0.6))
        rest = {"way": rng.choice(tuple(LOADS)), "limit": limit, "fresh": fresh}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def do(self, world: Any, accounts: Accounts) -> Any:
        session: Any = world.sessions[self.session]
        if not self.fresh:
            return self._load(world, session, accounts)
        with Session(session.connection()) as other:
            return self._load(world, other, accounts)

    def _load(self, world: Any, session: Any, accounts: Accounts) -> Any:
        account = accounts.account
        found = sa.select(account).options(*LOADS[self.way](account))
        found = found.order_by(account.tenant, account.serial)
        found = found.limit(2) if self.limit else found
        told = []
        for one in session.scalars(found).unique():
            world.keep(one)
            about = [one.serial, sorted(sa.inspect(one).unloaded)]
            if self.way == "raise":
                told.append(about)
                continue
            about += [one.boss and one.boss.serial, [s.serial for s in one.staff]]
            about += [list(one.titles), list(one.roles), one.favourite and one.favourite.mail]
            if "only" not in self.way and "raise" not in self.way:
                about.append(see(world, one))
            told.append(about)
        return told


ACCOUNT_READ_STEPS = (ReadAccounts, LoadAccounts)
