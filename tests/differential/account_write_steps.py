"""Statements that name an account by another unique key than the one that values are bound to."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Session

from tests.differential.account_steps import AccountStep, key_values, seen_rows
from tests.differential.accounts import ENCRYPTED, POOLS, SLOTS, TENANTS, Accounts, draw_account
from tests.differential.models import Schema
from tests.differential.stage import MYSQLS

HOWS = (
    "excluded", "excluded", "keep", "plain", "nothing", "null", "value", "columns", "compare",
)  # fmt: skip
Row = tuple[int, int, int, dict[str, Any]]


@dataclass(frozen=True)
class UpsertAccounts(AccountStep):
    """Rows that may be there already, found by their key, a plain column, or an encrypted one."""

    rows: tuple[Row, ...]
    names: tuple[str, ...]
    target: str
    how: str
    where: str
    form: str
    returning: str
    core: bool
    keys: bool
    weight = 24

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        given = rng.sample(ENCRYPTED[:4], rng.randint(2, 4))
        rows = []
        for slot in rng.choices(range(SLOTS), k=rng.choice((1, 1, 2, 3))):
            number = slot if rng.random() < 0.6 else rng.randrange(SLOTS)
            values = {n: rng.choice(POOLS[n]) for n in given}
            rows.append((slot, number, rng.choice(TENANTS), values))
        return {
            **super().draw_rest(rng, schema, tag),
            "rows": tuple(rows),
            "names": tuple(rng.sample(given, rng.randint(1, 2))),
            "target": rng.choice(("serial", "serial", "mail", "mail", "key", "any", "constraint")),
            "how": rng.choice(HOWS),
            "where": rng.choice(("", "", "", "visits", "secret", "mail")),
            "form": rng.choice(("values", "list", "one")),
            "returning": rng.choice(("", "", "entity", "columns", "populate")),
            "core": rng.random() < 0.4,
            "keys": rng.random() < 0.2,
        }

    def do(self, world: Any, accounts: Accounts) -> Any:
        account, shape = accounts.account, accounts.shape
        session = world.sessions[self.session]
        made = sa.inspect(account).local_table if self.core else account
        rows = [self._row(accounts, row) for row in self.rows]
        if self.form == "one" or (self.how == "value" and len(rows) > 1):
            rows = rows[:1]
        dialect = world.engine.dialect.name
        if dialect in MYSQLS:
            statement = self._mysql(accounts, made)
            if statement is None:
                return None
            # PyMySQL takes a name with a percent sign for a parameter in a list's ON DUPLICATE KEY.
            if self.form == "list" and self.how != "value" and shape.names != "odd":
                session.execute(statement, rows)
            else:
                session.execute(statement.values(rows if self.form == "values" else rows[0]))
            return None
        insert = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[dialect](made)
        statement = self._on_conflict(accounts, insert)
        listed = self.form == "list"
        if not listed:
            statement = statement.values(rows if self.form == "values" else rows[0])
        if not self.returning:
            result = session.execute(statement, rows) if listed else session.execute(statement)
            return None if listed or shape.is_generated else result.rowcount
        statement = statement.returning(*self._returned(accounts, made))
        options = {"populate_existing": self.returning == "populate"}
        rows_ = (
            session.execute(statement, rows, execution_options=options)
            if listed
            else session.execute(statement, execution_options=options)
        )
        return sorted(map(repr, seen_rows(world, rows_)))

    def _row(self, accounts: Accounts, row: Row) -> dict[str, Any]:
        slot, number, tenant, values = row
        made = {"serial": f"s{slot}", "tenant": tenant, **key_values(accounts.shape, number)}
        if accounts.shape.key in ("integer", "identity") and self.keys:
            made["id"] = 1000 + number
        made |= {"visits": sa.func.abs(-slot)} if self.keys and self.form != "list" else {}
        made |= values | ({"version": 1} if accounts.shape.versioned else {})
        return self._named(accounts, made)

    def _named(self, accounts: Accounts, values: dict[str, Any]) -> dict[str, Any]:
        """The same by what a statement on the class, or on the table, calls the columns."""
        if not self.core or accounts.shape.mapping == "imperative":
            return values
        return {accounts.shape.stored(n): v for n, v in values.items()}

    def _returned(self, accounts: Accounts, made: Any) -> list[Any]:
        if self.core:
            names = self._named(accounts, dict.fromkeys(("serial", "visits", *self.names)))
            return [made.c[n] for n in names]
        if self.returning == "columns":
            return [getattr(made, n) for n in ("serial", "visits", *self.names)]
        return [made]

    def _set(self, accounts: Accounts, given: Any) -> dict[str, Any]:
        """What SET says; `given` is what the row brings."""
        table = sa.inspect(accounts.account).local_table
        keys = self._keys(accounts)
        visits = {keys["visits"]: table.c[keys["visits"]] + 1}
        match self.how:
            case "plain":
                return visits
            case "null":
                return {keys[n]: sa.null() for n in self.names}
            case "compare":
                is_so: Any = sa.true()
                if not accounts.shape.tenant:  # whose hashes are those of one tenant
                    is_so = given[keys["flag"]] if "flag" in self.rows[0][3] else is_so
                    if "mail" in self.rows[0][3]:
                        is_so = sa.or_(is_so, given[keys["mail"]] != table.c[keys["mail"]])
                return {keys["visits"]: sa.case((is_so, table.c[keys["visits"]] + 1), else_=9)}
            case "value":
                return {keys[n]: self.rows[0][3][n] for n in self.names} | visits
            case "keep":
                return {
                    keys[n]: sa.func.coalesce(given[keys[n]], table.c[keys[n]]) for n in self.names
                }
        return {keys[n]: given[keys[n]] for n in self.names} | visits

    def _keys(self, accounts: Accounts) -> dict[str, str]:
        """What the table calls its columns, by attribute."""
        shape = accounts.shape
        names = ("id", "part", "tenant", "serial", "visits", *ENCRYPTED)
        if shape.mapping == "imperative":
            return dict(zip(names, names, strict=True))
        return {n: shape.stored(n) for n in names}

    def _on_conflict(self, accounts: Accounts, insert: Any) -> Any:
        shape, keys = accounts.shape, self._keys(accounts)
        table = sa.inspect(accounts.account).local_table
        own = [keys["tenant"]] if shape.tenant else []
        target: dict[str, Any] = {
            "serial": [*own, keys["serial"]],
            "mail": [*own, keys["mail"]],
            "key": [c.key for c in table.primary_key],
        }
        target["constraint"] = target["mail"]
        if self.how == "nothing" or self.target == "any":
            some = target.get(self.target)
            elements = None if some is None else [table.c[n] for n in some]
            return insert.on_conflict_do_nothing(index_elements=elements)
        where = {
            "": None,
            "visits": table.c[keys["visits"]] < 3,
            "secret": table.c[keys["secret"]].is_not(None),
            "mail": table.c[keys["mail"]] == "a@x",
        }[self.where if not (shape.tenant and self.where == "mail") else ""]
        if shape.tenant and self.target == "key":
            same = table.c[keys["tenant"]] == insert.excluded[keys["tenant"]]
            where = same if where is None else sa.and_(same, where)
        by_name = not shape.names and not self.core
        elements = target[self.target] if by_name else [table.c[n] for n in target[self.target]]
        set_: dict[Any, Any] = self._set(accounts, insert.excluded)
        if self.how == "columns":
            set_ = {table.c[n]: value for n, value in set_.items()}
        # A name does not tell that the tenant is a part of the constraint.
        by_constraint = self.target == "constraint" and not shape.tenant
        if by_constraint and isinstance(insert, postgresql.Insert):
            name = f"{accounts.prefix} one mail"
            return insert.on_conflict_do_update(constraint=name, set_=set_, where=where)
        return insert.on_conflict_do_update(index_elements=elements, set_=set_, where=where)

    def _mysql(self, accounts: Accounts, made: Any) -> Any:
        is_given = self.keys or accounts.shape.key not in ("integer", "identity")
        if is_given or accounts.shape.tenant:
            return None  # nothing tells which row it is
        insert = mysql.insert(made)
        if self.how == "nothing":
            return insert.prefix_with("IGNORE")
        return insert.on_duplicate_key_update(self._set(accounts, insert.inserted))


@dataclass(frozen=True)
class WriteAccount(AccountStep):
    """UPDATE or DELETE of the account that a unique value names, and what is loaded follows."""

    values: dict[str, Any]
    mail: str
    by: str
    way: str
    more: str
    synchronize: Any
    weight = 24

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        bys = ("serial", "mail", "in", "filter_by", "both", "key", "bind")
        ways = ("orm", "orm", "core", "query", "entity", "columns", "ordered", "list", "core list",
                "delete", "delete columns", "query delete")  # fmt: skip
        return {
            **super().draw_rest(rng, schema, tag),
            "values": draw_account(rng, whole=False),
            "mail": rng.choice([m for m in POOLS["mail"] if m is not None]),
            "by": rng.choice(bys),
            "way": rng.choice(ways),
            "more": rng.choice(("", "", "visits", "flag", "self", "serial")),
            "synchronize": rng.choice(("auto", "evaluate", "fetch", False)),
        }

    def do(self, world: Any, accounts: Accounts) -> Any:
        account, session = accounts.account, world.sessions[self.session]
        table, keys = sa.inspect(account).local_table, self._keys(accounts)
        where = self._where(accounts)
        values = {n: v for n, v in self.values.items() if n != "words"}
        values |= {"words": None} if "words" in self.values else {}
        values |= {"visits": account.visits + 1} if self.more == "visits" else {}
        values |= {"serial": f"n{self.slot}"} if self.more == "serial" else {}
        # SQLAlchemy evaluates no value that comes with the execution.
        options = {"synchronize_session": False if self.by == "bind" else self.synchronize}
        stored = {table.c[keys[n]]: v for n, v in values.items()}
        match self.way:
            case "core":
                done = session.connection().execute(sa.update(table).where(*where).values(stored))
                return done.rowcount
            case "query":
                return session.query(account).filter(*where).update(values, **options)
            case "query delete":
                return session.query(account).filter(*where).delete(**options)
            case "ordered":
                pairs = [(getattr(account, n), v) for n, v in values.items()]
                change: Any = sa.update(account).where(*where).ordered_values(*pairs)
            case "list" | "core list":
                return self._list(world, accounts, table, keys)
            case "delete" | "delete columns":
                change = sa.delete(account).where(*where)
            case _:
                change = sa.update(account).where(*where).values(values)
        dialect = world.engine.dialect.name
        returns = dialect not in MYSQLS or (dialect == "mariadb" and "delete" in self.way)
        if returns and self.way == "entity":
            change = change.returning(account)
        elif returns and "columns" in self.way:
            change = change.returning(account.serial, account.mail, account.secret)
        else:
            given = {"asked": self.mail} if self.by == "bind" else {}
            return session.execute(change, given, execution_options=options).rowcount
        given = {"asked": self.mail} if self.by == "bind" else {}
        return seen_rows(world, session.execute(change, given, execution_options=options))

    def _keys(self, accounts: Accounts) -> dict[str, str]:
        mapper = sa.inspect(accounts.account)
        return {a.key: a.columns[0].key for a in mapper.column_attrs if a.key != "first_title"}

    def _where(self, accounts: Accounts) -> list[Any]:
        account, shape = accounts.account, accounts.shape
        own = [account.tenant == self.tenant] if shape.tenant else []
        more = {"flag": account.flag.is_not(True), "self": account.visits >= 1}.get(self.more)
        own += [] if more is None else [more]
        match self.by:
            case "mail":
                return [account.mail == self.mail, *own]
            case "in":
                return [account.mail.in_([self.mail]), *own]
            case "both":
                return [account.serial == self.serial, account.mail == self.mail, *own]
            case "bind" if self.way not in ("core", "query", "query delete", "list", "core list"):
                return [account.mail == sa.bindparam("asked"), *own]
            case "key" if not shape.is_generated:
                row = key_values(shape, self.slot)
                return [*(getattr(account, n) == v for n, v in row.items()), *own]
        return [account.serial == self.serial, *own]

    def _list(self, world: Any, accounts: Accounts, table: Any, keys: dict[str, str]) -> Any:
        """A row for each of several serials."""
        session: Session = world.sessions[self.session]
        where = [table.c[keys["serial"]] == sa.bindparam("of serial")]
        if accounts.shape.tenant:
            where.append(table.c[keys["tenant"]] == sa.bindparam("of tenant"))
        own = {"of tenant": self.tenant} if accounts.shape.tenant else {}
        rows = [
            {"of serial": f"s{slot}", **own, "to": self.values.get("secret", f"to {slot}")}
            for slot in sorted({self.slot, 0})
        ]
        change = sa.update(table).where(*where)
        change = change.values({table.c[keys["secret"]]: sa.bindparam("to")})
        if self.way == "core list":
            return session.connection().execute(change, rows).rowcount
        return session.connection().execute(change, rows[0]).rowcount


ACCOUNT_WRITE_STEPS = (UpsertAccounts, WriteAccount)
