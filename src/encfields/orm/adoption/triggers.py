"""The triggers of an adoption, which keep a row's state consistent, whoever writes to it.

A row is *pending* (only plaintext), *both*, *sealed only*, or NULL. Each sealing has a message id
of its own, so if the sealed bytes are the same as before, the writer did not know of them. If the
plaintext, or what the value is bound to, changes and they do not, the trigger makes the row
pending: nothing outdated can be read or found.

There are three stages, each with its own triggers:

- ``open``: every row has plaintext; sealed-only rows are refused.
- ``ready``: every value is sealed, and was compared; rows may be sealed only.
- ``closed``: any further plaintext is refused. That, rather than a count, proves that no process of
  an earlier phase is left.

Values are compared byte by byte: under a collation, "ada@x" could equal "ADA@x".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import types as sa

from encfields.databases import MYSQL_NAMES, dollar_quoted, short_name
from encfields.orm.adoption.refusals import (
    MISSING,
    MOVED,
    SEALED_ALONE,
    TOO_EARLY,
    TOO_LATE,
    refusal_text,
)
from encfields.orm.adoption.trigger_notes import CLOSED, OPEN
from encfields.orm.declare.row_keys import stored_type

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine


PREFIX = "zzz_encfields"
"""Prefix of the triggers' names: PostgreSQL runs triggers in the order of their names, and ours
must see the changes of all others."""

_MAX_NAME = 60
"""Longest name, in bytes, as PostgreSQL counts."""


class WatchedColumn(NamedTuple):
    """A column whose changes a trigger notices.

    :param name: of the column.
    :param is_json: whether it is JSON, which MySQL casts in two steps.
    :param is_float: whether it is a float, which could lose its last digits as text.
    """

    name: str
    is_json: bool = False
    is_float: bool = False

    @classmethod
    def of(cls, name: str, type_: TypeEngine[Any], dialect: Dialect) -> WatchedColumn:
        """The column `name`, of type `type_`."""
        stored = stored_type(type_, dialect)
        is_json = isinstance(stored, sa.JSON)
        # SQLite makes a number of a JSON column's text that is one.
        may_be_float = is_json and dialect.name == "sqlite"
        is_float = isinstance(stored, sa.Float | sa.Numeric) or may_be_float
        return cls(name, is_json, is_float)


class AdoptionInDatabase(NamedTuple):
    """One adoption, as it is in the database.

    :param plain: the plaintext column. :param sealed: the encrypted one.
    :param indexes: columns of its blind indexes. :param bound_to: what its values are bound to.
    :param key: the primary key's columns.
    :param required: whether a row must have a value.
    :param through: name of another library's type through which the plaintext is read.
    """

    table: str
    schema: str | None
    plain: WatchedColumn
    sealed: str
    indexes: tuple[str, ...]
    bound_to: tuple[WatchedColumn, ...]
    key: tuple[str, ...]
    required: bool
    through: str | None = None

    def name(self, suffix: str) -> str:
        """Name of a trigger or function, which is unique in the schema on MySQL and SQLite."""
        whole = f"{PREFIX}_{self.table}_{self.plain.name}_{suffix}"
        return short_name(whole, _MAX_NAME, digits=10, end=f"_{suffix}")


SUFFIXES = ("ins", "upd", "row")
"""Suffixes of one adoption's triggers; not every database has all of them."""


class Triggers:
    """Writes the triggers of an adoption in one database's SQL.

    :param adopted: the adoption. :param dialect: of the database.
    """

    def __init__(self, adopted: AdoptionInDatabase, dialect: Dialect) -> None:
        self._adopted = adopted
        self._preparer = dialect.identifier_preparer
        self._name = "mysql" if dialect.name in MYSQL_NAMES else dialect.name
        self._replaces = bool(getattr(dialect, "is_mariadb", False))

    # -- whole statements ----------------------------------------------------------------------

    def create(self, stage: str) -> list[str]:
        """Statements that replace the triggers of any other stage by a stage's. At no time can
        anybody write to the table without triggers."""
        if self._name == "postgresql":
            return self._postgresql(stage)
        if self._name == "mysql":
            return self._mysql(stage)
        return [*self.drop(), *self._sqlite(stage)]

    def drop(self) -> list[str]:
        """Statements that drop the triggers of any stage."""
        if self._name == "postgresql":
            return [
                f"DROP TRIGGER IF EXISTS {self._trigger('row')} ON {self._table()}",
                f"DROP FUNCTION IF EXISTS {self._function()}()",
            ]
        return [f"DROP TRIGGER IF EXISTS {self._trigger(suffix)}" for suffix in SUFFIXES]

    # -- PostgreSQL ----------------------------------------------------------------------------

    def _postgresql(self, stage: str) -> list[str]:
        body = self._closed_body() if stage == CLOSED else self._open_body(stage)
        table, trigger = self._table(), self._trigger("row")
        declared = f"DECLARE is_new boolean := TG_OP = 'INSERT'; BEGIN {body} RETURN NEW; END"
        return [
            f"CREATE OR REPLACE FUNCTION {self._function()}() RETURNS trigger LANGUAGE plpgsql AS "
            f"{dollar_quoted(f'{self._note(stage)} {declared}')}",
            f"DROP TRIGGER IF EXISTS {trigger} ON {table}",
            f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {self._function()}()",
            # Otherwise whoever sets session_replication_role bypasses it.
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}",
        ]

    def _open_body(self, stage: str) -> str:
        new, old = self._sealed("NEW"), self._sealed("OLD")
        plain_new, plain_old = self._plain("NEW"), self._plain("OLD")
        blank = " ".join(f"NEW.{self._quoted(n)} := NULL;" for n in self._blanked())
        parts = [
            f"IF NOT is_new THEN IF {new} IS NOT NULL AND {new} = {old} AND ({self._changes()}) "
            f"THEN IF {plain_new} IS NULL AND {plain_old} IS NULL THEN {self._raise(MOVED)} "
            f"END IF; {blank} END IF; END IF;",
            f"IF octet_length({new}) = 0 THEN {self._raise(SEALED_ALONE)} END IF;",
        ]
        if stage == OPEN:
            parts.append(
                f"IF {plain_new} IS NULL AND {new} IS NOT NULL THEN IF is_new THEN "
                f"{self._raise(TOO_EARLY)} ELSIF {new} IS DISTINCT FROM {old} THEN "
                f"{self._raise(TOO_EARLY)} END IF; END IF;"
            )
        if self._adopted.required:
            parts.append(
                f"IF {plain_new} IS NULL AND {new} IS NULL THEN {self._raise(MISSING)} END IF;"
            )
        return " ".join(parts)

    def _closed_body(self) -> str:
        new, old = self._sealed("NEW"), self._sealed("OLD")
        plain = self._plain("NEW")
        missing = f"IF {plain} IS NULL AND {new} IS NULL THEN {self._raise(MISSING)} END IF;"
        return (
            f"IF octet_length({new}) = 0 THEN {self._raise(SEALED_ALONE)} END IF; "
            f"IF is_new THEN IF {plain} IS NOT NULL THEN {self._raise(TOO_LATE)} END IF; ELSE "
            f"IF {plain} IS NOT NULL AND ({self._changed(self._adopted.plain)}) THEN "
            f"{self._raise(TOO_LATE)} END IF; "
            f"IF {new} IS DISTINCT FROM {old} AND {new} IS NOT NULL THEN {plain} := NULL; END IF; "
            f"IF {new} IS NOT NULL AND {new} = {old} AND ({self._moves()}) THEN "
            f"{self._raise(MOVED)} END IF; END IF; " + (missing if self._adopted.required else "")
        )

    # -- MySQL and MariaDB ---------------------------------------------------------------------

    def _mysql(self, stage: str) -> list[str]:
        bodies = {"ins": self._mysql_insert(stage), "upd": self._mysql_update(stage)}
        events = {"ins": "INSERT", "upd": "UPDATE"}
        create = "CREATE OR REPLACE" if self._replaces else "CREATE"
        statements: list[str] = []
        for suffix, body in bodies.items():
            trigger = self._trigger(suffix)
            statements += [] if self._replaces else [f"DROP TRIGGER IF EXISTS {trigger}"]
            statements.append(
                f"{create} TRIGGER {trigger} BEFORE {events[suffix]} ON {self._table()} "
                f"FOR EACH ROW BEGIN {self._note(stage)} {body} END"
            )
        if self._replaces:
            return statements
        return [f"LOCK TABLES {self._table()} WRITE", *statements, "UNLOCK TABLES"]

    def _mysql_insert(self, stage: str) -> str:
        new, plain = self._sealed("NEW"), self._plain("NEW")
        parts = [self._mysql_missing()]
        if stage == OPEN:
            parts.append(self._if(f"{plain} IS NULL AND {new} IS NOT NULL", TOO_EARLY))
        if stage == CLOSED:
            parts.append(self._if(f"{plain} IS NOT NULL", TOO_LATE))
        return " ".join(parts) + " DO 0;"

    def _mysql_update(self, stage: str) -> str:
        new, old = self._sealed("NEW"), self._sealed("OLD")
        plain_new, plain_old = self._plain("NEW"), self._plain("OLD")
        kept = f"{new} IS NOT NULL AND {new} <=> {old}"
        alone = self._if(f"LENGTH({new}) = 0", SEALED_ALONE)
        if stage == CLOSED:
            return (
                f"{alone} "
                + self._if(
                    f"{plain_new} IS NOT NULL AND ({self._changed(self._adopted.plain)})",
                    TOO_LATE,
                )
                + f" IF {new} IS NOT NULL AND NOT ({new} <=> {old}) THEN SET {plain_new} = NULL;"
                f" END IF; {self._if(f'{kept} AND ({self._moves()})', MOVED)} "
                + self._mysql_missing()
            )
        blank = ", ".join(f"NEW.{self._quoted(n)} = NULL" for n in self._blanked())
        lost = self._if(f"{plain_new} IS NULL AND {plain_old} IS NULL", MOVED)
        parts = [f"{alone} IF {kept} AND ({self._changes()}) THEN {lost} SET {blank}; END IF;"]
        if stage == OPEN:
            early = f"{plain_new} IS NULL AND {new} IS NOT NULL AND NOT ({new} <=> {old})"
            parts.append(self._if(early, TOO_EARLY))
        return " ".join([*parts, self._mysql_missing()])

    def _mysql_missing(self) -> str:
        if not self._adopted.required:
            return ""
        return self._if(f"{self._plain('NEW')} IS NULL AND {self._sealed('NEW')} IS NULL", MISSING)

    def _if(self, condition: str, message: str) -> str:
        return f"IF {condition} THEN {self._raise(message)} END IF;"

    # -- SQLite --------------------------------------------------------------------------------

    def _sqlite(self, stage: str) -> list[str]:
        note, table = self._note(stage), self._table()
        inserts = " ".join(self._checks(self._sqlite_inserts(stage)))
        updates = " ".join(self._checks(self._sqlite_updates(stage)))
        when, columns = self._sqlite_correction(stage)
        sets = ", ".join(f"{self._quoted(name)} = NULL" for name in columns)
        key = map(self._quoted, self._adopted.key)
        same = " AND ".join(f"{name} IS NEW.{name}" for name in key)
        correct = f"UPDATE {self._bare()} SET {sets} WHERE {same};"  # noqa: S608 - quoted names
        return [
            f"CREATE TRIGGER {self._trigger('ins')} BEFORE INSERT ON {table} FOR EACH ROW "
            f"BEGIN {note} {inserts} END",
            f"CREATE TRIGGER {self._trigger('upd')} BEFORE UPDATE ON {table} FOR EACH ROW "
            f"BEGIN {note} {updates} END",
            f"CREATE TRIGGER {self._trigger('row')} AFTER UPDATE ON {table} FOR EACH ROW "
            f"WHEN {when} BEGIN {note} {correct} END",
        ]

    def _sqlite_inserts(self, stage: str) -> list[tuple[str, str]]:
        new, plain = self._sealed("NEW"), self._plain("NEW")
        checks = [(f"{plain} IS NULL AND {new} IS NULL", MISSING)]
        checks = checks if self._adopted.required else []
        if stage == OPEN:
            checks.append((f"{plain} IS NULL AND {new} IS NOT NULL", TOO_EARLY))
        if stage == CLOSED:
            checks.append((f"{plain} IS NOT NULL", TOO_LATE))
        return checks

    def _sqlite_updates(self, stage: str) -> list[tuple[str, str]]:
        """Unlike other databases' triggers, this one cannot see the result of its correction."""
        new, old = self._sealed("NEW"), self._sealed("OLD")
        plain_new, plain_old = self._plain("NEW"), self._plain("OLD")
        moved = f"{new} IS NOT NULL AND {new} IS {old} AND ({self._moves()})"
        checks = [(f"length({new}) = 0", SEALED_ALONE)]
        if stage == CLOSED:
            fence = f"{plain_new} IS NOT NULL AND ({self._changed(self._adopted.plain)})"
            missing = f"{plain_new} IS NULL AND {new} IS NULL"
            checks += [(fence, TOO_LATE), (moved, MOVED)]
        else:
            checks.append((f"{moved} AND {plain_new} IS NULL AND {plain_old} IS NULL", MOVED))
            blanked = f"({new} IS {old} AND {plain_old} IS NOT NULL)"
            missing = f"{plain_new} IS NULL AND ({new} IS NULL OR {blanked})"
        if stage == OPEN:
            early = f"{plain_new} IS NULL AND {new} IS NOT NULL AND {new} IS NOT {old}"
            checks.append((early, TOO_EARLY))
        return [*checks, (missing, MISSING)] if self._adopted.required else checks

    def _sqlite_correction(self, stage: str) -> tuple[str, tuple[str, ...]]:
        """When a row is corrected after an UPDATE, and the columns that are then set to NULL."""
        new, old = self._sealed("NEW"), self._sealed("OLD")
        if stage == CLOSED:
            rewritten = f"{new} IS NOT NULL AND {new} IS NOT {old}"
            return f"{rewritten} AND {self._plain('NEW')} IS NOT NULL", (self._adopted.plain.name,)
        return f"{new} IS NOT NULL AND {new} IS {old} AND ({self._changes()})", self._blanked()

    def _checks(self, checks: Sequence[tuple[str, str]]) -> list[str]:
        return [
            f"SELECT RAISE(ABORT, {self._text(message)}) WHERE {condition};"
            for condition, message in checks
        ] or ["SELECT 1;"]

    # -- conditions ----------------------------------------------------------------------------

    def _changes(self) -> str:
        """The plaintext, or what the value is bound to, has changed."""
        return f"{self._changed(self._adopted.plain)} OR {self._moves()}"

    def _moves(self) -> str:
        return " OR ".join(map(self._changed, self._adopted.bound_to))

    def _changed(self, column: WatchedColumn) -> str:
        name = self._quoted(column.name)
        if self._name == "postgresql":
            exact = f'NEW.{name}::text COLLATE "C" IS DISTINCT FROM OLD.{name}::text COLLATE "C"'
            also = f" OR NEW.{name} IS DISTINCT FROM OLD.{name}"
        elif self._name == "mysql":
            inner = "CAST({} AS CHAR)" if column.is_json else "{}"
            new, old = (f"CAST({inner.format(f'{r}.{name}')} AS BINARY)" for r in ("NEW", "OLD"))
            exact = f"NOT ({new} <=> {old})"
            also = f" OR NOT (NEW.{name} <=> OLD.{name})"
        else:
            exact = (
                f"CAST(NEW.{name} AS BLOB) IS NOT CAST(OLD.{name} AS BLOB) "
                f"OR typeof(NEW.{name}) <> typeof(OLD.{name})"
            )
            also = f" OR NEW.{name} IS NOT OLD.{name}"
        return f"({exact}{also if column.is_float else ''})"

    # -- parts ---------------------------------------------------------------------------------

    def _blanked(self) -> tuple[str, ...]:
        return (self._adopted.sealed, *self._adopted.indexes)

    def _sealed(self, row: str) -> str:
        return f"{row}.{self._quoted(self._adopted.sealed)}"

    def _plain(self, row: str) -> str:
        return f"{row}.{self._quoted(self._adopted.plain.name)}"

    def _raise(self, message: str) -> str:
        text = self._text(message)
        # A missing value is the error that NOT NULL raised: drivers call it one of integrity.
        if self._name == "postgresql":
            state = "not_null_violation" if message == MISSING else "check_violation"
            return f"RAISE EXCEPTION USING MESSAGE = {text}, ERRCODE = '{state}';"
        code = "'23000' SET MYSQL_ERRNO = 1048," if message == MISSING else "'45000' SET"
        return f"SIGNAL SQLSTATE {code} MESSAGE_TEXT = {text};"

    def _text(self, message: str) -> str:
        column = f"{self._adopted.table}.{self._adopted.plain.name}"
        text = refusal_text(message, column).replace("'", "''")
        return f"'{self._written(text)}'"

    def _note(self, stage: str) -> str:
        adopted = self._adopted
        note: dict[str, Any] = {"stage": stage, "required": adopted.required}
        note |= {"plain": adopted.plain.name, "sealed": adopted.sealed}
        note |= {"indexes": adopted.indexes} if adopted.indexes else {}
        note |= {"through": adopted.through} if adopted.through else {}
        # No slash can end the comment, or begin another in it.
        text = json.dumps(note).replace("/", "\\/")
        return f"/* encfields-adoption {self._written(text)} */"

    def _written(self, text: str) -> str:
        """A text for a statement, with % doubled if the driver uses %s for parameters."""
        return text.replace("%", "%%") if "%%" in self._preparer.quote("%") else text

    def _quoted(self, name: str) -> str:
        return self._preparer.quote(name)

    def _bare(self) -> str:
        return self._quoted(self._adopted.table)

    def _schema(self) -> str:
        schema = self._adopted.schema
        return f"{self._preparer.quote_schema(schema)}." if schema else ""

    def _table(self) -> str:
        return self._schema() + self._bare()

    def _trigger(self, suffix: str) -> str:
        """A trigger's name, on PostgreSQL without a schema."""
        schema = "" if self._name == "postgresql" else self._schema()
        return schema + self._quoted(self._adopted.name(suffix))

    def _function(self) -> str:
        return self._schema() + self._quoted(self._adopted.name("row"))
