"""Finds tables with triggers or rules that may store a row under another key than given, or with
unique indexes by which an upsert may hit a row spelt differently.

The database is queried every few seconds for each table that encrypted values are written to. On
MySQL and MariaDB a role without the TRIGGER right sees no triggers: there the first write to a
table is checked, too, whatever the server says.
"""

from __future__ import annotations

import enum
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from encfields.databases import MYSQL_NAMES
from encfields.errors import UnknownIdentityError
from encfields.orm import internals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection, Table

Kinds = tuple[bool, ...]
"""Whether a write to a row is an UPDATE; an upsert may be either, and fires both triggers."""

KNOWN_SECONDS = 10.0
"""Seconds to trust an answer: a trigger may be created while the application runs."""

_POSTGRESQL = text("""
WITH RECURSIVE tree AS (
  SELECT c.oid AS root, n.oid AS schema, c.oid, c.relkind
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relname = CAST(:name AS text) AND c.relkind IN ('r', 'p', 'v', 'f')
    AND (CAST(:schema AS text) IS NULL OR n.nspname = CAST(:schema AS text))
  UNION
  SELECT tree.root, tree.schema, c.oid, c.relkind FROM tree
  JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
), changed AS (
  SELECT root, schema, bool_or(relkind IN ('v', 'f')) AS is_view, bit_or(changes) AS changes,
    bool_or(changes & 4 = 4 AND changes & 66 <> 0) AS before_insert,
    bool_or(changes & 16 = 16 AND changes & 66 <> 0) AS before_update
  FROM tree LEFT JOIN LATERAL (
    SELECT CAST(g.tgtype AS integer) AS changes FROM pg_catalog.pg_trigger g
    WHERE g.tgrelid = tree.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D'
    UNION ALL
    SELECT CASE r.ev_type WHEN '3' THEN 6 ELSE 18 END FROM pg_catalog.pg_rewrite r
    WHERE r.ev_class = tree.oid AND r.ev_type IN ('2', '3')
    UNION ALL
    SELECT 128 FROM pg_catalog.pg_index i
    WHERE i.indrelid = tree.oid AND i.indisunique AND EXISTS (
      SELECT 1 FROM pg_catalog.pg_collation p
      WHERE p.oid = ANY (i.indcollation) AND NOT p.collisdeterministic)
  ) c ON true
  GROUP BY root, schema
)
SELECT is_view OR changes & 4 = 4 AS inserts, is_view OR changes & 16 = 16 AS updates,
  before_insert AND has_schema_privilege(schema, 'USAGE')
    AND has_any_column_privilege(root, 'INSERT') AS before_insert,
  before_update AND has_schema_privilege(schema, 'USAGE')
    AND has_any_column_privilege(root, 'UPDATE') AS before_update,
  ARRAY(SELECT CAST(a.attname AS text) FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = root AND a.attnum > 0 AND NOT a.attisdropped
      AND NOT has_column_privilege(root, a.attnum, 'SELECT')) AS hidden,
  coalesce(changes & 128 = 128, false) AS upserts
FROM changed WHERE is_view OR changes & 148 <> 0
""")
# tgtype: 2 before, 4 insert, 16 update, 64 instead of; ev_type: 3 insert, 2 update; 128 is ours: a
# unique index in which different texts are equal, which a conflict target may match. Without a
# schema, tables of that name in any: search_path may change between transactions.

_MYSQL = text("""
SELECT SUM(EVENT_MANIPULATION = 'INSERT'), SUM(EVENT_MANIPULATION = 'UPDATE'),
  SUM(EVENT_MANIPULATION = 'INSERT' AND ACTION_TIMING = 'BEFORE'),
  SUM(EVENT_MANIPULATION = 'UPDATE' AND ACTION_TIMING = 'BEFORE'),
  (SELECT COUNT(*) FROM information_schema.TABLES
   WHERE TABLE_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :name
     AND TABLE_TYPE LIKE '%VIEW'),
  @@sql_mode
FROM information_schema.TRIGGERS
WHERE EVENT_OBJECT_SCHEMA = COALESCE(:schema, DATABASE()) AND EVENT_OBJECT_TABLE = :name
""")


_SEES_TRIGGERS = text(
    """
SELECT EXISTS (
  SELECT 1 FROM information_schema.USER_PRIVILEGES
  WHERE PRIVILEGE_TYPE = 'TRIGGER' AND GRANTEE = :me
  UNION ALL SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES
  WHERE PRIVILEGE_TYPE = 'TRIGGER' AND GRANTEE = :me
    AND COALESCE(:schema, DATABASE()) LIKE TABLE_SCHEMA
  UNION ALL SELECT 1 FROM information_schema.TABLE_PRIVILEGES
  WHERE PRIVILEGE_TYPE = 'TRIGGER' AND GRANTEE = :me
    AND TABLE_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :name
)
""".replace(":me", "CONCAT('\\'', REPLACE(CURRENT_USER(), '@', '\\'@\\''), '\\'')")
)
# Rights that the user has through a role are not visible.


class Later(enum.Enum):
    """Says that the database is queried only after a write."""

    LATER = "later"


LATER = Later.LATER


class _Changed(NamedTuple):
    """A table about whose triggers or rules the database reports.

    :ivar inserts: whether INSERTs may change a row's key. :ivar updates: whether UPDATEs may.
    :ivar before_insert: whether they may do so to an INSERT of this role before the row is stored.
    :ivar before_update: the same for an UPDATE.
    :ivar hidden: columns that this role may not read.
    :ivar upserts: whether an upsert may hit a row whose key is spelt differently.
    :ivar cuts: whether the server cuts what does not fit its column.
    """

    inserts: bool
    updates: bool
    before_insert: bool = False
    before_update: bool = False
    hidden: frozenset[str] = frozenset()
    upserts: bool = False
    cuts: bool = False


@dataclass(slots=True, eq=False, repr=False)
class _Answer:
    """What a database reports about the tables of one name.

    :ivar made: number of statements before it that may have created a trigger.
    :ivar tried: the kinds of write, UPDATE or not, that were checked because it did not say.
    """

    changed: list[_Changed]
    until: float
    made: int
    tried: set[bool] = field(default_factory=set)


class TriggeredTables:
    """The tables of one engine that have such triggers, rules or indexes.

    :param on_asked: called for each such query, which no listener sees.
    """

    def __init__(self, on_asked: Callable[[Connection, str], None]) -> None:
        self._on_asked = on_asked
        self._made = 0
        self._known: weakref.WeakKeyDictionary[Table, dict[str | None, _Answer]] = (
            weakref.WeakKeyDictionary()
        )

    def note(self, statement: str) -> None:
        """Note a textual statement that may create a trigger, so that what is known may be
        outdated."""
        if statement.lstrip()[:5].upper() in ("CREAT", "ALTER", "DROP "):
            self._made += 1

    def may_move_before(
        self, connection: Connection, table: Table, columns: Iterable[str], kinds: Kinds
    ) -> bool | Later | None:
        """:meth:`may_move` before the write; :data:`LATER` if it must be called after it.

        A query before it would begin the transaction with a read. SQLite then immediately refuses a
        write that would have waited for another one, and MySQL's later reads show the state before
        the write waited for a lock.

        :param columns: those that show whether a row moved.
        :param kinds: what the write may do to a row.
        :raises UnknownIdentityError: one may, and this role cannot check it.
        """
        answer = self._current(connection, table)
        if answer is None and connection.dialect.name != "postgresql":
            return LATER
        return self.may_move(connection, table, columns, kinds, known=answer)

    def may_move(
        self,
        connection: Connection,
        table: Table,
        columns: Iterable[str],
        kinds: Kinds,
        *,
        known: _Answer | None = None,
    ) -> bool | None:
        """Whether a trigger or rule may give a row another key, so that a check is required.

        :param columns: those that show whether a row moved.
        :param kinds: what the write may do to a row.
        :param known: what the database reported a moment ago, if anything.
        :returns: ``False`` if only roles that may read the columns should check: the database
            reports a trigger that runs after the row is stored, or may hide some, and no write of
            this kind was checked yet. ``None`` if there is nothing to check.
        :raises UnknownIdentityError: one may, and this role cannot check it.
        """
        must_look: bool | None = None
        answer = known or self._answer(connection, table)
        for change in answer.changed:
            is_hit = change.upserts and len(kinds) > 1
            may_be = (change.updates if is_update else change.inserts for is_update in kinds)
            if not is_hit and not any(may_be):
                continue
            is_before = is_hit or any(
                change.before_update if is_update else change.before_insert for is_update in kinds
            )
            if change.hidden.isdisjoint(columns):
                must_look = bool(must_look or is_before)
            elif is_before:
                raise cannot_look(table.fullname)
        if must_look is None and connection.dialect.name in MYSQL_NAMES:
            if answer.tried.issuperset(kinds):
                return None
            answer.tried.update(kinds)
            return False
        return must_look

    def may_cut(self, connection: Connection, table: Table) -> bool:
        """Whether the server cuts what does not fit its column."""
        return any(change.cuts for change in self._answer(connection, table).changed)

    def _current(self, connection: Connection, table: Table) -> _Answer | None:
        answer = self._known.get(table, {}).get(connection.schema_for_object(table))
        if answer is None or time.monotonic() >= answer.until or answer.made != self._made:
            return None
        return answer

    def _answer(self, connection: Connection, table: Table) -> _Answer:
        answer = self._current(connection, table)
        if answer is None:
            schema = connection.schema_for_object(table)
            known, made = self._known.setdefault(table, {}), self._made
            changed = _ask(internals.without_listeners(connection), table, schema)
            self._on_asked(connection, str(_MYSQL))
            before = known.get(schema)
            tried = before.tried if before is not None and before.made == made else set()
            answer = _Answer(changed, time.monotonic() + KNOWN_SECONDS, made, tried)
            known[schema] = answer
        return answer


def _ask(connection: Connection, table: Table, schema: str | None) -> list[_Changed]:
    values = {"name": table.name, "schema": schema}
    if connection.dialect.name == "postgresql":
        answer = connection.execute(_POSTGRESQL, values, execution_options=internals.UNTRANSLATED)
        rows = answer.mappings()
        return [_Changed(**{**row, "hidden": frozenset(row["hidden"])}) for row in rows]
    if connection.dialect.name in MYSQL_NAMES:
        events = connection.execute(_MYSQL, values, execution_options=internals.UNTRANSLATED).one()
        inserts, updates, before_insert, before_update, views, mode = events
        # A server that is not in strict mode truncates a key, and a value, that does not fit.
        cuts = "STRICT_" not in str(mode)
        may_cut = bool(views) or cuts
        return [
            _Changed(
                bool(inserts) or may_cut,
                bool(updates) or may_cut,
                bool(before_insert) or may_cut,
                bool(before_update) or may_cut,
                cuts=cuts,
            )
        ]
    has_any = _has_any_of_sqlite(connection, table, schema)
    upserts = _has_other_collation_of_sqlite(connection, table, schema)
    changed = _Changed(has_any, has_any, has_any, has_any, upserts=upserts)
    return [changed] if any(changed) else []


def may_alter_updates(connection: Connection, table: Table) -> bool:
    """Whether a trigger, a rule or a server that is not strict may store something other than an
    UPDATE assigns, as far as this role can know: MySQL and MariaDB hide triggers.

    :param connection: asked within its transaction. :param table: what is written to.
    """
    schema = connection.schema_for_object(table)
    if any(
        change.updates for change in _ask(internals.without_listeners(connection), table, schema)
    ):
        return True
    if connection.dialect.name not in MYSQL_NAMES:
        return connection.dialect.name not in ("postgresql", "sqlite")
    values = {"name": table.name, "schema": schema}
    return not connection.scalar(_SEES_TRIGGERS, values, execution_options=internals.UNTRANSLATED)


def cannot_look(table: str) -> UnknownIdentityError:
    """The error for a write whose row may have moved where this role cannot find it."""
    return UnknownIdentityError(
        "a trigger, a rule or a server that is not strict may store the row under another key than "
        "it is given, and this role may not check that: GRANT SELECT on the columns of the row's "
        "key and on the encrypted ones, or have the trigger run AFTER the statement",
        table=table,
        reason="trigger",
    )


def _has_any_of_sqlite(connection: Connection, table: Table, schema: str | None) -> bool:
    prefix = f"{connection.dialect.identifier_preparer.quote_schema(schema)}." if schema else ""
    is_trigger = "type = 'trigger' AND lower(tbl_name) = lower(:name)"
    sql = (
        f"SELECT EXISTS (SELECT 1 FROM {prefix}sqlite_master WHERE {is_trigger})"  # noqa: S608
        f" OR EXISTS (SELECT 1 FROM sqlite_temp_master WHERE {is_trigger})"
    )
    exists: Any = connection.exec_driver_sql(sql, {"name": table.name}).scalar()
    return bool(exists)


def _has_other_collation_of_sqlite(
    connection: Connection, table: Table, schema: str | None
) -> bool:
    """Whether a unique index, declared or not, has a collation other than BINARY."""
    sql = (
        "SELECT EXISTS (SELECT 1 FROM pragma_index_list(:name, :schema) AS i,"
        " pragma_index_xinfo(i.name, :schema) AS x"
        " WHERE i.\"unique\" AND x.key AND x.coll <> 'BINARY')"
    )
    exists: Any = connection.exec_driver_sql(
        sql, {"name": table.name, "schema": schema or "main"}
    ).scalar()
    return bool(exists)
