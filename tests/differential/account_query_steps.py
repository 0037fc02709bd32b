"""Questions about accounts: by truth values, across tenants, with other statements' parts."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased, selectinload, with_loader_criteria

from tests.differential.account_steps import AccountStep, seen_rows
from tests.differential.accounts import POOLS, Accounts
from tests.differential.models import Schema

Condition = tuple[Any, ...]


def _more(made: Any) -> Any:
    """Another alias, the same each time."""
    mapper = sa.inspect(made).mapper
    if not hasattr(mapper, "one_more"):
        mapper.one_more = aliased(mapper.class_, name="one_more")
    return mapper.one_more


TRUTHS: dict[str, Callable[[Any, Any], Any]] = {
    "itself": lambda made, value: made.flag,
    "not": lambda made, value: ~made.flag,
    "not_": lambda made, value: sa.not_(made.flag),
    "is true": lambda made, value: made.flag.is_(True),
    "is false": lambda made, value: made.flag.is_(sa.false()),
    "is not true": lambda made, value: made.flag.is_not(True),
    "null": lambda made, value: made.flag.is_(None),
    "not null": lambda made, value: made.flag.is_not(None),
    "equal": lambda made, value: made.flag == True,  # noqa: E712
    "unequal": lambda made, value: made.flag != True,  # noqa: E712
    "equal true": lambda made, value: made.flag == sa.true(),
    "in": lambda made, value: made.flag.in_([True, False]),
    "distinct": lambda made, value: made.flag.is_distinct_from(True),
    "hybrid": lambda made, value: made.is_active,
    "not hybrid": lambda made, value: ~made.is_active,
    "mail": lambda made, value: made.mail == value,
    "other mail": lambda made, value: made.mail != value,
    "address": lambda made, value: made.address.in_([value, "other"]),
    "visits": lambda made, value: made.visits > 1,
    "true": lambda made, value: sa.true(),
    "false": lambda made, value: sa.false(),
    "case": lambda made, value: sa.case((made.flag, 1), else_=2) == 1,
    "case of value": lambda made, value: (
        sa.case({True: "y", False: "n"}, value=made.flag, else_="o") != "n"
    ),
    "beside true": lambda made, value: sa.and_(True, made.flag),
    "or false": lambda made, value: sa.or_(made.flag, sa.false()),
    "true is": lambda made, value: sa.true() == made.flag,
    "not equal": lambda made, value: sa.not_(made.flag == True),  # noqa: E712
    "in one": lambda made, value: made.flag.in_([True]),
    "not in": lambda made, value: made.flag.not_in([True]),
    "of another": lambda made, value: sa.exists().where(
        _more(made).flag == made.flag, _more(made).serial != made.serial
    ),
    "mails": lambda made, value: made.mail.in_(
        sa.select(_more(made).mail).where(_more(made).visits > 1)
    ),
    "not distinct": lambda made, value: made.mail.is_not_distinct_from(value),
}
JOINED: dict[str, Callable[..., Any]] = {
    "and": sa.and_, "or": sa.or_, "&": operator.and_, "|": operator.or_,
}  # fmt: skip


OF_ROWS = ("of another", "mails")
"""What compares columns with columns, which those of several tenants cannot be."""


def _draw(rng: random.Random, schema: Schema, depth: int = 2) -> Condition:
    if depth and rng.random() < 0.55:
        how = rng.choice((*JOINED, "~"))
        count = 1 if how == "~" else 2
        return (how, *(_draw(rng, schema, depth - 1) for _ in range(count)))
    mails = [m for m in POOLS["mail"] if m is not None]
    is_shared = schema.accounts is not None and schema.accounts.tenant
    kinds = [k for k in TRUTHS if k not in OF_ROWS or not is_shared]
    return rng.choice(kinds), rng.choice(mails)


EVALUATED = (
    "null",
    "not null",
    "equal",
    "unequal",
    "in",
    "mail",
    "other mail",
    "address",
    "visits",
)
"""What SQLAlchemy finds objects by without asking the database; more so of encrypted columns."""


def _is_evaluated(tree: Condition) -> bool:
    if tree[0] in (*JOINED, "~"):
        return tree[0] != "~" and all(map(_is_evaluated, tree[1:]))
    return tree[0] in EVALUATED


def condition(made: Any, tree: Condition) -> Any:
    """The condition of a tree, about a class or an alias of it."""
    if tree[0] == "~":
        return ~condition(made, tree[1])
    if tree[0] in JOINED:
        return JOINED[tree[0]](*(condition(made, part) for part in tree[1:]))
    return TRUTHS[tree[0]](made, tree[1])


def _case(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    flag = sa.case((some, "yes"), (made.flag.is_(None), "maybe"), else_="no")
    return sa.select(made.serial, flag.label("is"), made.mail)


def _value(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    return sa.select(made.serial, some.label("found"))


def _sorted(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    return sa.select(made.serial).order_by(sa.case((some, 0), else_=1))


def _sum(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    flag = sa.case((some, 1), else_=0)
    counted = sa.func.count(made.flag), sa.func.count(sa.case((some, 1))).label("found")
    return sa.select(sa.func.coalesce(sa.func.sum(flag), 0) + 0, *counted)


def _on(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    on = sa.and_(other.boss_serial == made.serial, other.tenant == made.tenant, theirs)
    return sa.select(made.serial, other.serial.label("other")).join(other, on)


def _outer(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    on = sa.and_(other.boss_serial == made.serial, other.tenant == made.tenant, theirs)
    return sa.select(made, other.serial.label("other")).outerjoin(other, on)


def _exists(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    own = (other.serial != made.serial, other.tenant == made.tenant)
    return sa.select(made).where(sa.exists().where(*own, theirs))


def _not_in(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    inner = sa.select(other.serial).where(theirs, other.serial.is_not(None))
    return sa.select(made.serial).where(made.serial.not_in(inner))


def _cte(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    few = sa.select(made.serial, made.tenant).where(some).cte("few")
    on = sa.and_(few.c.serial == other.serial, few.c.tenant == other.tenant)
    return sa.select(other.serial, other.mail).join(few, on)


def _recursive(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    start = sa.select(made.serial, made.tenant, sa.literal(0).label("depth")).where(some)
    tree = start.cte("tree", recursive=True)
    on = sa.and_(other.boss_serial == tree.c.serial, other.tenant == tree.c.tenant)
    step = sa.select(other.serial, other.tenant, tree.c.depth + 1).join(tree, on)
    tree = tree.union_all(step.where(tree.c.depth < 3))
    return sa.select(tree.c.serial, tree.c.depth)


def _recursive_values(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    """The values themselves go through the recursion, each with its row's key."""
    names = [c.key for c in sa.inspect(sa.inspect(made).mapper.class_).primary_key]
    mapper = sa.inspect(made).mapper
    names = [mapper.get_property_by_column(c).key for c in mapper.primary_key]
    own = [getattr(made, n) for n in (*names, "tenant", "serial", "mail")]
    tree = sa.select(*own, sa.literal(0).label("depth")).where(some).cte("tree", recursive=True)
    columns = list(tree.c)
    serial, tenant = columns[-3], columns[-4]
    on = sa.and_(other.boss_serial == serial, other.tenant == tenant)
    theirs_ = [getattr(other, n) for n in (*names, "tenant", "serial", "mail")]
    step = sa.select(*theirs_, tree.c.depth + 1).join(tree, on).where(tree.c.depth < 3)
    tree = tree.union_all(step)
    columns = list(tree.c)
    return sa.select(columns[-3].label("serial"), columns[-2].label("mail"), tree.c.depth)


def _filtered(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    return sa.select(sa.func.count(made.serial).filter(some))


def _counted(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    return sa.select(sa.func.count()).select_from(made).where(some)


def _having(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    grouped = sa.select(made.visits).group_by(made.visits)
    return grouped.having(sa.func.sum(sa.case((some, 1), else_=0)) > 0)


def _subquery(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    few = aliased(sa.inspect(made).mapper.class_, sa.select(made).where(some).subquery())
    return sa.select(few)


def _union(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    return sa.select(made.serial).where(some).union_all(sa.select(other.serial).where(theirs))


def _staff(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    return sa.select(made).where(made.staff.of_type(other).any(theirs))


def _boss(made: Any, other: Any, some: Any, theirs: Any) -> Any:
    return sa.select(made.serial, other.mail).join(made.boss.of_type(other)).where(theirs)


PLACES: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "case": _case, "value": _value, "sorted": _sorted, "sum": _sum, "on": _on, "outer": _outer,
    "exists": _exists, "not in": _not_in, "cte": _cte, "recursive": _recursive,
    "recursive values": _recursive_values, "filtered": _filtered, "counted": _counted,
    "having": _having, "subquery": _subquery, "union": _union, "staff": _staff, "boss": _boss,
}  # fmt: skip
"""Where a condition may be: a class, another alias of it, and the condition about each."""


@dataclass(frozen=True)
class AskAccounts(AccountStep):
    """Accounts by a tree of conditions, of which many are a truth value by itself."""

    tree: Condition
    where: str
    weight = 30

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        wheres = ("where", "where", "alias", "query", "filter", "criteria", "load", "update",
                  "update evaluated", "delete", "core", *PLACES)  # fmt: skip
        rest = {"tree": _draw(rng, schema), "where": rng.choice(wheres)}
        return {**super().draw_rest(rng, schema, tag), **rest}

    def do(self, world: Any, accounts: Accounts) -> Any:
        account, session = accounts.account, world.sessions[self.session]
        other = aliased(account, name="other")
        some, theirs = (self._asked(made, accounts) for made in (account, other))
        match self.where:
            case "alias":
                found: Any = sa.select(other).where(theirs)
            case "query" | "filter":
                query = session.query(account).filter(some)
                if self.where == "filter" and not accounts.shape.tenant:
                    query = query.filter_by(flag=True)
                found = query.with_entities(account.serial, account.mail).statement
            case "criteria":
                session.expire_all()
                found = sa.select(account).options(
                    with_loader_criteria(account, some, include_aliases=True)
                )
            case "load":
                return self._load(session, accounts, theirs)
            case "update" | "update evaluated" | "delete" | "core":
                return self._write(session, accounts, some)
            case "where":
                found = sa.select(account).where(some)
            case "not in" | "union" | "filtered" if accounts.shape.tenant:
                return None
            case "filtered" if world.engine.dialect.name not in ("sqlite", "postgresql"):
                return None
            case place:
                found = PLACES[place](account, other, some, theirs)
        return sorted(map(repr, seen_rows(world, session.execute(found))))

    def _asked(self, made: Any, accounts: Accounts) -> Any:
        asked = condition(made, self.tree)
        return sa.and_(made.tenant == self.tenant, asked) if accounts.shape.tenant else asked

    def _load(self, session: Any, accounts: Accounts, theirs: Any) -> Any:
        account = accounts.account
        session.flush()
        session.expire_all()
        some = selectinload(account.staff.and_(self._asked(account, accounts)))
        found = sa.select(account).order_by(account.tenant, account.serial).options(some)
        return [(one.serial, [s.serial for s in one.staff]) for one in session.scalars(found)]

    def _write(self, session: Any, accounts: Accounts, some: Any) -> Any:
        account = accounts.account
        if any(name in repr(self.tree) for name in OF_ROWS):
            return None  # MySQL reads no table that it writes
        how = {"update evaluated": "evaluate", "core": False}.get(self.where, "fetch")
        if how == "evaluate" and not _is_evaluated(self.tree):
            how = "fetch"
        options = {"synchronize_session": how}
        if self.where == "delete":
            return session.execute(
                sa.delete(account).where(some), execution_options=options
            ).rowcount
        values: dict[str, Any] = {"visits": account.visits + 1}
        values |= {"secret": None} if accounts.shape.changes else {}
        change = sa.update(account).where(some).values(values)
        return session.execute(change, execution_options=options).rowcount


ACCOUNT_QUERY_STEPS = (AskAccounts,)
