"""Which tables have triggers or rules that may store a row under another key than a statement gave.

The database is asked every few seconds for each table that encrypted values are written to. A role
sees no triggers of MySQL and MariaDB without the right to make some: there the first write to a
table is looked at as well, whatever the server tells.
"""

from __future__ import annotations

import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from encfields.errors import UnknownIdentityError
from encfields.orm import internals
from encfields.orm.declare.row_keys import MYSQL_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Table

KNOWN_SECONDS = 10.0
"""For how long an answer is believed: a trigger may be made while the application runs."""

_POSTGRESQL = text("""
WITH RECURSIVE tree AS (
  SELECT c.oid, c.relkind, has_any_column_privilege(c.oid, 'SELECT') AS may_look
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relname = CAST(:name AS text) AND c.relkind IN ('r', 'p', 'v', 'f')
    AND (CAST(:schema AS text) IS NULL OR n.nspname = CAST(:schema AS text))
  UNION
  SELECT c.oid, c.relkind, tree.may_look FROM tree
  JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
)
SELECT bool_or(may_look AND (relkind IN ('v', 'f') OR changes & 4 = 4)) AS inserts,
  bool_or(may_look AND (relkind IN ('v', 'f') OR changes & 16 = 16)) AS updates,
  bool_or(NOT may_look AND changes & 4 = 4 AND changes & 66 <> 0) AS are_hidden
FROM tree LEFT JOIN LATERAL (
  SELECT CAST(g.tgtype AS integer) AS changes FROM pg_catalog.pg_trigger g
  WHERE g.tgrelid = tree.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D'
  UNION ALL
  SELECT CASE r.ev_type WHEN '3' THEN 6 ELSE 16 END FROM pg_catalog.pg_rewrite r
  WHERE r.ev_class = tree.oid AND r.ev_type IN ('2', '3')
) c ON true
""")
# tgtype: 2 before, 4 insert, 16 update, 64 instead of; ev_type: 3 insert, 2 update. Without a
# schema, tables of that name in any: search_path may change from one transaction to the next.

_MYSQL = text("""
SELECT
  (SELECT COUNT(*) FROM information_schema.TRIGGERS
   WHERE EVENT_OBJECT_SCHEMA = COALESCE(:schema, DATABASE()) AND EVENT_OBJECT_TABLE = :name
     AND EVENT_MANIPULATION = 'INSERT'),
  (SELECT COUNT(*) FROM information_schema.TRIGGERS
   WHERE EVENT_OBJECT_SCHEMA = COALESCE(:schema, DATABASE()) AND EVENT_OBJECT_TABLE = :name
     AND EVENT_MANIPULATION = 'UPDATE'),
  (SELECT COUNT(*) FROM information_schema.TABLES
   WHERE TABLE_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :name
     AND TABLE_TYPE LIKE '%VIEW'),
  @@sql_mode
""")


@dataclass(slots=True)
class _Answer:
    """What a database tells of one table.

    :ivar inserts: whether INSERTs may change a row's key. :ivar updates: whether UPDATEs may.
    :ivar are_hidden: whether INSERTs may, and this role may not read what they stored.
    :ivar tried: the kinds of write, UPDATE or not, that were looked at for want of an answer.
    """

    inserts: bool
    updates: bool
    are_hidden: bool = False
    until: float = 0.0
    tried: set[bool] = field(default_factory=set)


class TriggeredTables:
    """Those of one engine.

    :param on_asked: is told of each question, of which no listener hears.
    """

    def __init__(self, on_asked: Callable[[Connection, str], None]) -> None:
        self._on_asked = on_asked
        self._known: weakref.WeakKeyDictionary[Table, dict[str | None, _Answer]] = (
            weakref.WeakKeyDictionary()
        )

    def note(self, statement: str) -> None:
        """Take notice of a statement that may make a trigger: what is known may be so no more."""
        if statement.lstrip()[:5].upper() in ("CREAT", "ALTER", "DROP "):
            for known in list(self._known.values()):
                for answer in known.values():
                    answer.until = 0.0
                    answer.tried.clear()

    def are_told(self, connection: Connection, table: Table, *, is_update: bool) -> bool:
        """Whether the database tells of any that may give a row another key.

        :raises UnknownIdentityError: they may, and this role cannot look.
        """
        answer = self._answer(connection, table)
        if answer.are_hidden and not is_update:
            raise _cannot_look(table)
        return answer.updates if is_update else answer.inserts

    def is_untold(self, connection: Connection, table: Table, *, is_update: bool) -> bool:
        """Whether the database may hide some, and no write of this kind was looked at yet."""
        if connection.dialect.name not in MYSQL_NAMES:
            return False
        tried = self._answer(connection, table).tried
        if is_update in tried:
            return False
        tried.add(is_update)
        return True

    def _answer(self, connection: Connection, table: Table) -> _Answer:
        schema = connection.schema_for_object(table)
        known = self._known.setdefault(table, {})
        found, now = known.get(schema), time.monotonic()
        if found is None or now >= found.until:
            tried = set() if found is None else found.tried
            found = known[schema] = _ask(internals.unobserved(connection), table, schema)
            self._on_asked(connection, str(_MYSQL))
            found.until, found.tried = now + KNOWN_SECONDS, tried
        return found


def _ask(connection: Connection, table: Table, schema: str | None) -> _Answer:
    values = {"name": table.name, "schema": schema}
    if connection.dialect.name == "postgresql":
        inserts, updates, are_hidden = connection.execute(_POSTGRESQL, values).one()
        return _Answer(bool(inserts), bool(updates), bool(are_hidden))
    if connection.dialect.name in MYSQL_NAMES:
        inserts, updates, views, mode = connection.execute(_MYSQL, values).one()
        # A server that is not strict cuts a key that does not fit.
        may_cut = bool(views) or "STRICT_" not in str(mode)
        return _Answer(bool(inserts) or may_cut, bool(updates) or may_cut)
    has_any = _has_any_of_sqlite(connection, table, schema)
    return _Answer(has_any, has_any)


def _cannot_look(table: Table) -> UnknownIdentityError:
    return UnknownIdentityError(
        "a trigger or a rule may store the row under another key than it is given, and this role "
        "may not look: GRANT SELECT on the columns of the row's key and on the encrypted ones, or "
        "have the trigger run AFTER the INSERT",
        table=table.fullname,
        reason="trigger",
    )


def _has_any_of_sqlite(connection: Connection, table: Table, schema: str | None) -> bool:
    prefix = f"{connection.dialect.identifier_preparer.quote_schema(schema)}." if schema else ""
    there = "type = 'trigger' AND lower(tbl_name) = lower(:name)"
    sql = (
        f"SELECT EXISTS (SELECT 1 FROM {prefix}sqlite_master WHERE {there})"  # noqa: S608
        f" OR EXISTS (SELECT 1 FROM sqlite_temp_master WHERE {there})"
    )
    found: Any = connection.exec_driver_sql(sql, {"name": table.name}).scalar()
    return bool(found)
