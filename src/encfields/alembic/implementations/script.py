"""Comments and guards that the operations write into a ``--sql`` script.

A script cannot encrypt. It can stop before it writes the version number, until a migration with
keys or ``encfields reencrypt`` has done the work.

A guard is SQL that raises while work is left. It checks a value's header as far as SQL can (at the
offsets in :mod:`encfields.message.header`): format and suite, logical name, names of the identity
columns, and active key version. It does not compare the identity; ``encfields verify`` does.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from alembic.operations import Operations
from sqlalchemy import Table

from encfields.alembic.environment import settings_of
from encfields.alembic.errors import MigrationError
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.runs.run_row import FINISHED
from encfields.bulk.runs.tables import runs
from encfields.context import COLUMN_KEY, ROW_KEY_PREFIX
from encfields.databases import MYSQL_NAMES, dollar_quoted
from encfields.key_template import KeyTemplate
from encfields.keys.sql.rows import BEACON
from encfields.keys.sql.store_name import NAME_PURPOSE
from encfields.message.header import CONTEXT_OFFSET, MAGIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Dialect

    from encfields.bulk.rows.spec import SealedColumn
    from encfields.orm.adoption.triggers import AdoptionInDatabase


def write_run_guard(operations: Operations, verb: str, job: Job, *, queue: bool) -> bool:
    """In ``--sql`` mode, write a guard in place of the run; return whether in that mode."""
    if not operations.migration_context.as_sql:
        return False
    columns = columns_text(job.spec)
    if queue:
        write_comment(operations, f"Record op.{verb}() of {columns} by running the migration.")
        message = f"{columns}: the run of op.{verb}() is not recorded: run the migration once"
        write_recorded_guard(operations, Guard.no_run, job.fingerprint(), message=message)
        return True
    write_comment(
        operations,
        f"A script cannot encrypt: do op.{verb}() of {columns} before the script continues, by "
        "running the migration or `encfields reencrypt`.",
    )
    message = f"{columns}: values of another format, name or key version: re-encrypt them first"
    table = key_table_of(operations)
    write_guard(operations, Guard.not_current, job.spec, table, message=message)
    if job.spec.indexes:
        write_index_guard(operations, job.spec)
    return True


def write_index_guard(operations: Operations, spec: TableSpec) -> None:
    """Make the script stop while a row has its values but no blind index."""
    names = ", ".join(index.name for index in spec.indexes)
    message = f"{spec.table}.{names}: rows have a value but no blind index: fill it first"
    write_guard(operations, Guard.not_indexed, spec, message=message)


def write_guard(
    operations: Operations, condition: Callable[..., str], *arguments: Any, message: str
) -> None:
    """Make the script stop with `message` while a condition is true.

    :param condition: a method of :class:`Guard`; its arguments follow.
    """
    guard = Guard(operations.migration_context.dialect)
    impl = operations.migration_context.impl
    if operations.migration_context.dialect.name == "sqlite":
        write_comment(operations, "Run this script with `sqlite3 -bail`, which stops at an error.")
    for statement in guard.raising(condition(guard, *arguments), message):
        impl.static_output(statement + impl.command_terminator)


def write_recorded_guard(
    operations: Operations, condition: Callable[..., str], *arguments: Any, message: str
) -> None:
    """Have the script end with `message` while a condition of the recorded runs is true.

    The first run makes the tables that runs are kept in: without them, none was recorded.

    :param condition: a method of :class:`Guard`, of that table; its further arguments follow.
    """
    write_guard(operations, Guard.no_table, runs, message=message)
    write_guard(operations, condition, runs, *arguments, message=message)


def write_comment(operations: Operations, text: str) -> None:
    """Write a comment line into the script."""
    operations.migration_context.impl.static_output("-- encfields: " + " ".join(text.split()))


def key_table_of(operations: Operations) -> Table:
    """The key table.

    :raises MigrationError: keys are not in a table.
    """
    table = settings_of(operations.migration_context).key_table()
    if table is None:
        raise MigrationError(
            "a script cannot check key versions, because they are not stored in this database: run "
            "this revision online",
            reason="no-key-table",
        )
    return table


def columns_text(spec: TableSpec) -> str:
    """The columns of a run, for messages."""
    return f"{spec.table}.{', '.join(c.name for c in spec.columns)}"


GUARDED_HEAD_BYTES = 4096
"""Bytes of a value to search. A longer header, from a long row key, counts as undone."""

MAX_GUARD_TEXT_CHARS = 128
"""Most characters in the message of a ``SIGNAL``; 200 in an error that names a value."""

_FIRST_PAIR = CONTEXT_OFFSET + 2 + 1
"""Position of the context's first pair, counted from 1 as in SQL."""


class Guard:
    """Writes guards in one database's SQL.

    :param dialect: of the database.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._preparer = dialect.identifier_preparer
        self._doubles_percents = "%%" in self._preparer.quote("%")
        self._name = "mysql" if dialect.name in MYSQL_NAMES else dialect.name

    # -- conditions --------------------------------------------------------------------------

    def not_current(self, spec: TableSpec, keys: Table) -> str:
        """True while some value is not a message bound as described, under an active version."""
        undone = " OR ".join(
            f"({self._quoted(c.name)} IS NOT NULL AND NOT ({self._is_current(spec, c, keys)}))"
            for c in spec.columns
        )
        return _exists(self._table_of(spec), undone)

    def not_decrypted(self, spec: TableSpec, into: dict[str, str]) -> str:
        """True while some value has no plaintext."""
        undone = " OR ".join(
            f"({self._quoted(sealed)} IS NOT NULL AND {self._quoted(plain)} IS NULL)"
            for sealed, plain in into.items()
        )
        return _exists(self._table_of(spec), undone)

    def not_adopted(self, spec: TableSpec, plain: str, sealed: str) -> str:
        """True while some row has only plaintext."""
        undone = f"{self._quoted(plain)} IS NOT NULL AND {self._quoted(sealed)} IS NULL"
        return _exists(self._table_of(spec), undone)

    def not_in_stage(self, adopted: AdoptionInDatabase, stages: Sequence[str] | None) -> str:
        """True unless an adoption's triggers are in one of the stages.

        :param adopted: only its names matter. :param stages: ``None`` for no triggers.
        """
        table, column, text = {
            "postgresql": ("pg_proc", "proname", "prosrc"),
            "mysql": ("information_schema.TRIGGERS", "TRIGGER_NAME", "ACTION_STATEMENT"),
        }.get(self._name, ("sqlite_master", "name", "sql"))
        name = adopted.name("row" if self._name == "postgresql" else "upd")
        named = f"{column} = {self._text(name)}"
        if stages is None:
            return _exists(table, named)
        noted = " OR ".join(f"{text} LIKE {self._text(_noted(stage))}" for stage in stages)
        return f"NOT {_exists(table, f'{named} AND ({noted})')}"

    def not_indexed(self, spec: TableSpec) -> str:
        """True while some row has its values but no blind index."""
        undone = " OR ".join(
            f"({' AND '.join(f'{self._quoted(name)} IS NOT NULL' for name in index.columns)}"
            f" AND {self._quoted(index.name)} IS NULL)"
            for index in spec.indexes
        )
        return _exists(self._table_of(spec), undone)

    def no_key(self, keys: Table, key_id: str) -> str:
        """True while the key is missing."""
        return f"NOT {self._key_exists(keys, self._has_id(key_id))}"

    def no_key_since(self, keys: Table, key_id: str, when: dt.datetime) -> str:
        """True while the key's active version is older than `when`."""
        since = f"k.created_at >= {self._moment(when)}"
        return f"NOT {self._key_exists(keys, self._has_id(key_id), since)}"

    def no_beacon(self, keys: Table, key_id: str, version: int) -> str:
        """True while the key has no beacon key of this version or later."""
        return f"NOT {self._beacon_exists(keys, key_id, f'k.active >= {version}')}"

    def beacon(self, keys: Table, key_id: str, version: int) -> str:
        """True while this version of the key's beacon key is active."""
        return self._beacon_exists(keys, key_id, f"k.active = {version}")

    def older_version(self, keys: Table, key_id: str) -> str:
        """True while a version of the key besides the newest is active."""
        older = f"k.active < {self._newest(keys)}"
        wanted = f"k.purpose = 'branch-key' AND {self._has_id(key_id)} AND {older}"
        return _exists(f"{self._format(keys)} k", wanted)

    def any_key(self, keys: Table) -> str:
        """True while the key table holds a key."""
        return _exists(self._format(keys), f"purpose <> {self._text(NAME_PURPOSE)}")

    def no_table(self, table: Table) -> str:
        """True while a table is not there."""
        name = self._format(table)
        if self._name == "postgresql":
            return f"to_regclass({self._text(name)}) IS NULL"
        if self._name == "mysql":
            of_database = f"table_schema = DATABASE() AND table_name = {self._text(table.name)}"
            return f"NOT {_exists('information_schema.tables', of_database)}"
        return f"NOT {_exists('sqlite_master', f'name = {self._text(table.name)}')}"

    def no_run(self, runs: Table, fingerprint: str) -> str:
        """True while no run with this description was recorded."""
        table = self._format(runs)
        return f"NOT {_exists(table, f'fingerprint = {self._text(fingerprint)}')}"

    def no_finished_run(self, runs: Table, fingerprint: str, when: dt.datetime) -> str:
        """True while no run with this description has finished since `when`."""
        table = self._format(runs)
        finished = f"state = {self._text(FINISHED)} AND ended_at >= {self._moment(when)}"
        return f"NOT {_exists(table, f'fingerprint = {self._text(fingerprint)} AND {finished}')}"

    # -- statements --------------------------------------------------------------------------

    def raising(self, condition: str, message: str) -> list[str]:
        """Statements that raise while a condition is true.

        :param condition: SQL.
        :param message: the database's error, at most :data:`MAX_GUARD_TEXT_CHARS` characters.
        """
        message = message[:MAX_GUARD_TEXT_CHARS]
        if self._name == "postgresql":
            raising = f"RAISE EXCEPTION USING MESSAGE = {self._text(message)};"
            return [f"DO {dollar_quoted(f'BEGIN IF {condition} THEN {raising} END IF; END')}"]
        if self._name == "mysql":
            # Works without a stored program or DELIMITER. MySQL cannot prepare SIGNAL, and a script
            # does not know which of the two runs it: so MySQL sets a variable to the message, and
            # its error quotes it.
            text = self._text(message)
            signal = self._text(f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = {text}")
            refused = self._text(f"SET completion_type = {text}")
            raising = f"IF(VERSION() LIKE '%MariaDB%', {signal}, {refused})"
            return [
                f"SET @encfields_guard = IF({condition}, {raising}, 'DO 0')",
                "PREPARE encfields_guard FROM @encfields_guard",
                "EXECUTE encfields_guard",
                "DEALLOCATE PREPARE encfields_guard",
            ]
        # The message is a constraint's name, which SQLite's error quotes.
        name = '"' + message.replace('"', "'") + '"'
        guard = f"encfields_guard_{uuid.uuid4().hex[:12]}"
        return [
            f"CREATE TEMP TABLE {guard} (undone INTEGER CONSTRAINT {name} CHECK (undone = 0))",
            f"INSERT INTO {guard} SELECT {condition}",
            f"DROP TABLE {guard}",
        ]

    # -- parts -------------------------------------------------------------------------------

    def _is_current(self, spec: TableSpec, column: SealedColumn, keys: Table) -> str:
        value = self._quoted(column.name)
        pair = _field(COLUMN_KEY) + _field(column.logical_name or f"{spec.full_name}.{column.name}")
        template = KeyTemplate(column.key)
        head = self._part(value, 1, GUARDED_HEAD_BYTES)
        parts = [
            f"{self._part(value, 1, len(MAGIC))} = {self._bytes(MAGIC)}",
            f"{self._part(value, _FIRST_PAIR, len(pair))} = {self._bytes(pair)}",
        ]
        identity = (*(column.bind_to or ()), *template.columns)
        parts += [
            self._holds(head, self._bytes(_field(ROW_KEY_PREFIX + n)))
            for n in dict.fromkeys(identity)
        ]
        version = self._holds_version(head)
        key = () if template.columns else (self._has_id(column.key),)
        parts.append(self._key_exists(keys, *key, version))
        return " AND ".join(parts)

    def _key_exists(self, keys: Table, *conditions: str) -> str:
        wanted = ("k.purpose = 'branch-key'", f"k.active = {self._newest(keys)}", *conditions)
        return _exists(f"{self._format(keys)} k", " AND ".join(wanted))

    def _newest(self, keys: Table) -> str:
        """The number of the newest version of the branch key in row ``k``."""
        same = "n.key_id = k.key_id AND n.purpose = k.purpose"
        return f"(SELECT MAX(n.active) FROM {self._format(keys)} n WHERE {same})"  # noqa: S608

    def _beacon_exists(self, keys: Table, key_id: str, condition: str) -> str:
        wanted = (f"k.purpose = {self._text(BEACON)}", self._has_id(key_id), condition)
        return _exists(f"{self._format(keys)} k", " AND ".join(wanted))

    def _has_id(self, key_id: str) -> str:
        return f"k.key_id = {self._text(key_id)}"

    def _holds_version(self, head: str) -> str:
        digits = "REPLACE(k.version, '-', '')"
        if self._name == "postgresql":
            return f"position(decode({digits}, 'hex') in {head}) > 0"
        if self._name == "mysql":
            return f"LOCATE(UNHEX({digits}), {head}) > 0"
        return f"instr(hex({head}), upper({digits})) > 0"  # many SQLite versions lack unhex()

    def _holds(self, head: str, sought: str) -> str:
        if self._name == "postgresql":
            return f"position({sought} in {head}) > 0"
        return f"instr({head}, {sought}) > 0"

    def _part(self, value: str, start: int, count: int) -> str:
        if self._name == "postgresql":
            return f"substring({value} from {start} for {count})"
        return f"substr({value}, {start}, {count})"

    def _moment(self, when: dt.datetime) -> str:
        moment = when.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        return self._text(f"{moment}+00:00" if self._name == "postgresql" else moment)

    def _bytes(self, data: bytes) -> str:
        return (
            f"decode('{data.hex()}', 'hex')" if self._name == "postgresql" else f"X'{data.hex()}'"
        )

    def _text(self, text: str) -> str:
        if self._name == "mysql":
            text = text.replace("\\", "\\\\")
        return "'" + text.replace("'", "''") + "'"

    def _quoted(self, name: str) -> str:
        return self._as_written(self._preparer.quote(name))

    def _table_of(self, spec: TableSpec) -> str:
        table = self._quoted(spec.table)
        if not spec.schema:
            return table
        return f"{self._as_written(self._preparer.quote_schema(spec.schema))}.{table}"

    def _format(self, table: Table) -> str:
        return self._as_written(self._preparer.format_table(table))

    def _as_written(self, quoted: str) -> str:
        """A quoted name as a script has it, which goes through no driver: many of them take %%
        for a %, and SQLAlchemy doubles it for those."""
        return quoted.replace("%%", "%") if self._doubles_percents else quoted


def _noted(stage: str) -> str:
    """A LIKE pattern for the stage in a trigger's text."""
    return f'%encfields-adoption {{"stage": "{stage}"%'


def _exists(table: str, condition: str) -> str:
    return f"EXISTS (SELECT 1 FROM {table} WHERE {condition})"  # noqa: S608 - quoted by Guard


def _field(text: str) -> bytes:
    """One string of an encryption context: two bytes of length, then UTF-8."""
    data = text.encode("utf-8")
    return len(data).to_bytes(2, "big") + data
