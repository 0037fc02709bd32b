"""The stage of an adoption, as the database's triggers record it, and what remains at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, Table, inspect, text
from sqlalchemy.exc import NoSuchTableError

from encfields.adopt.adoption import Adoption, AdoptionError
from encfields.bulk.rows.catalog import without_primary_key
from encfields.bulk.rows.types_as_data import OF_APPLICATION
from encfields.databases import MYSQL_NAMES
from encfields.errors import DeclarationError
from encfields.key_template import KeyTemplate
from encfields.orm.adoption.trigger_notes import (
    CLOSED,
    STAGES,
    NotedAdoption,
    noted_columns,
    noted_indexes,
    noted_stage,
)
from encfields.orm.adoption.triggers import SUFFIXES, AdoptionInDatabase, WatchedColumn

if TYPE_CHECKING:
    from sqlalchemy import Connection

COMES_FIRST = {
    "adopt": "begin_adoption",
    "ensure_adopted": "begin_adoption",
    "close_plaintext": "ensure_adopted",
    "end_adoption": "close_plaintext",
    "reopen_plaintext": "begin_adoption",
    "refill_plaintext": "begin_adoption",
    "withdraw_adoption": "begin_adoption",
}


@dataclass(frozen=True, slots=True)
class AdoptionState:
    """The state of an adoption.

    :ivar table: the reflected table.
    :ivar stage: of its triggers; ``None`` if it has none.
    :ivar required: whether a row must have a value.
    :ivar left_at: the stage of the remaining triggers, if some are missing.
    :ivar has_sealed: whether the encrypted column exists. :ivar has_plain: the same of the
        plaintext column.
    :ivar latest: the latest stage of any trigger: they have two if a step was killed while it
        replaced them, and one that goes back has to replace them all the same.
    :ivar emptied: the blind index columns that the triggers empty with the sealed value; none if
        the triggers disagree.
    :ivar may_be_unseen: whether the triggers may only be hidden: MySQL and MariaDB show them to
        who has the right TRIGGER on the table.
    """

    table: Table
    stage: str | None
    required: bool
    has_sealed: bool
    has_plain: bool
    left_at: str | None = None
    emptied: frozenset[str] = frozenset()
    latest: str | None = None
    may_be_unseen: bool = False

    def knows_indexes_of(self, adoption: Adoption) -> bool:
        """Whether the triggers empty exactly the columns of the adoption's blind indexes."""
        return self.emptied == {index.name for index in adoption.indexes}

    def require_a_column(self, adoption: Adoption) -> None:
        """Check that the table has the plaintext column or the encrypted one: without either, a
        misspelt name would look like an adoption that has ended, or was withdrawn.

        :raises AdoptionError: it has neither.
        """
        if self.has_plain or self.has_sealed:
            return
        alike = alike_in(adoption.plain, self.table)
        raise AdoptionError(
            f"the database has neither this column nor {adoption.sealed}{alike}: name the table "
            "and the columns as they are there",
            table=adoption.table_name,
            column=adoption.plain,
            reason="column",
        )

    def require(self, verb: str, adoption: Adoption, *stages: str) -> None:
        """Check that an operation may run now.

        :raises AdoptionError: it may not; the message says what comes first.
        """
        if self.stage in stages:
            self._require_indexes(verb, adoption)
            return
        where = (
            f"its triggers are in the stage {self.stage!r}"
            if self.stage
            else ("the table lacks triggers of the adoption")
        )
        first = "begin_adoption" if self.left_at else COMES_FIRST[verb]
        if self.stage is None and first != "begin_adoption":
            first = "begin_adoption, then ... " + first if not self.has_sealed else first
        later = (
            self.stage is not None
            and stages
            and STAGES.index(self.stage) > max(map(STAGES.index, stages))
        )
        then = f"run {first} first"
        if later:
            then = "it is past that stage: the way back is refill_plaintext"
        if self.may_be_unseen:
            where += ", or this database user does not see them"
            then += f", or GRANT TRIGGER ON {adoption.table_name} to the user"
        raise AdoptionError(
            f"{verb} cannot be done yet: {where}; {then}",
            table=adoption.table_name,
            column=adoption.plain,
            reason="adoption-order",
        )

    def _require_indexes(self, verb: str, adoption: Adoption) -> None:
        """
        :raises AdoptionError: a blind index was declared later, and the triggers would not empty
            its column when a row's plaintext changes: look-ups would find the row by its old value.
        """
        unknown = sorted({index.name for index in adoption.indexes} - self.emptied)
        if unknown and self.stage != CLOSED:
            raise AdoptionError(
                f"{verb} cannot be done yet: the triggers do not know the blind index in "
                f"{', '.join(unknown)}; run begin_adoption again",
                table=adoption.table_name,
                column=adoption.plain,
                reason="adoption-order",
            )


def state_of(connection: Connection, adoption: Adoption) -> AdoptionState:
    """The state of an adoption in a database.

    :raises DeclarationError: there is no such table.
    """
    spec = adoption.spec
    try:
        table = _columns_and_key(connection, spec.table, spec.schema)
    except NoSuchTableError:
        raise DeclarationError(
            "the database has no such table", table=adoption.table_name, reason="no-table"
        ) from None
    has_plain = adoption.plain in table.c
    required = has_plain and not table.c[adoption.plain].nullable
    adopted = adopted_in(connection, adoption, table, required=required)
    texts = _trigger_texts(connection, adopted)
    notes = [found for text in texts if (found := noted_stage(text)) is not None]
    expected = {"postgresql": 1, "sqlite": 3}.get(connection.dialect.name, 2)
    # They have two stages if a process was killed while replacing them.
    earliest = min((noted for noted, _ in notes), key=STAGES.index, default=None)
    latest = max((noted for noted, _ in notes), key=STAGES.index, default=None)
    noted = any(is_required for _, is_required in notes)
    stage, left_at = (earliest, None) if len(notes) == expected else (None, earliest)
    has_sealed = adoption.sealed in table.c
    emptied = {noted_indexes(text) for text in texts}
    return AdoptionState(
        table,
        stage,
        required or noted,
        has_sealed,
        has_plain,
        left_at,
        emptied.pop() if len(emptied) == 1 else frozenset(),
        latest,
        has_sealed and not notes and connection.dialect.name in MYSQL_NAMES,
    )


def _columns_and_key(connection: Connection, name: str, schema: str | None) -> Table:
    """The reflected table without its other rules: SQLAlchemy warns of a CHECK that PostgreSQL has
    not validated yet, as there is one while a step makes a column NOT NULL.

    :raises NoSuchTableError: there is none.
    """
    inspector = inspect(connection)
    columns = [
        Column(
            column["name"],
            getattr(column["type"], "data_type", column["type"]),  # of a domain of PostgreSQL
            nullable=column["nullable"],
            server_default=None if (default := column["default"]) is None else text(default),
        )
        for column in inspector.get_columns(name, schema=schema)
    ]
    key = inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]
    return Table(name, MetaData(), *columns, PrimaryKeyConstraint(*key), schema=schema)


def adopted_in(
    connection: Connection, adoption: Adoption, table: Table, *, required: bool
) -> AdoptionInDatabase:
    """The adoption for the triggers, with the table's columns."""
    sealed = adoption.spec.columns[0]
    key = tuple(column.name for column in table.primary_key)
    keys = [sealed.key, *(index.key for index in adoption.indexes if index.key)]
    templated = [name for key in keys for name in KeyTemplate(key).columns]
    bound_to = dict.fromkeys([*(sealed.bind_to or key), *templated])
    missing = [name for name in bound_to if name not in table.c]
    if not key:
        raise without_primary_key(table, connection)
    if missing:
        raise DeclarationError(
            f"the table has no column {', '.join(missing)}, to which values are bound",
            table=adoption.table_name,
            reason="column",
        )
    dialect = connection.dialect

    def compared(name: str) -> WatchedColumn:
        column: Any = table.c.get(name)
        return (
            WatchedColumn(name) if column is None else WatchedColumn.of(name, column.type, dialect)
        )

    return AdoptionInDatabase(
        adoption.spec.table,
        adoption.spec.schema,
        compared(adoption.plain),
        adoption.sealed,
        tuple(index.name for index in adoption.indexes),
        tuple(map(compared, bound_to)),
        key,
        required,
        _type_of_application(adoption),
    )


def _type_of_application(adoption: Adoption) -> str | None:
    """Name of the type that reads the plaintext, if only the models have it."""
    data = adoption.plain_type or adoption.type
    if data.get("type") != OF_APPLICATION:
        return None
    return str(data["name"] or "a type of the application's own")


def _trigger_texts(connection: Connection, adopted: AdoptionInDatabase) -> list[str]:
    """The SQL of the adoption's enabled triggers."""
    names = [adopted.name(suffix) for suffix in SUFFIXES]
    triggers = _triggers(connection, adopted.table, adopted.schema)
    return [body for name, body, fires in triggers if fires and name in names]


def adoptions_in(connection: Connection, table: str, schema: str | None) -> set[NotedAdoption]:
    """The adoptions recorded in a table's triggers."""
    triggers = _triggers(connection, table, schema)
    return {noted for _, body, _ in triggers if (noted := noted_columns(body)) is not None}


def emptied_in(connection: Connection, table: str, schema: str | None) -> set[str]:
    """The blind index columns that a table's adoption triggers empty."""
    triggers = _triggers(connection, table, schema)
    return {name for _, body, _ in triggers for name in noted_indexes(body)}


def _triggers(
    connection: Connection, table: str, schema: str | None
) -> Iterator[tuple[str, str, bool]]:
    """A table's triggers: name, text, and whether it fires for every writer."""
    if connection.dialect.name == "postgresql":
        sql = (
            "SELECT t.tgname, p.prosrc, t.tgenabled = 'A' FROM pg_trigger t"
            " JOIN pg_proc p ON p.oid = t.tgfoid"
            " JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relname = :table AND n.nspname = COALESCE(:schema, current_schema())"
        )
    elif connection.dialect.name in MYSQL_NAMES:
        sql = (
            "SELECT TRIGGER_NAME, ACTION_STATEMENT, 1 FROM information_schema.TRIGGERS"
            " WHERE EVENT_OBJECT_TABLE = :table"
            " AND TRIGGER_SCHEMA = COALESCE(:schema, DATABASE())"
        )
    else:
        prefix = f'"{schema}".' if schema else ""
        sql = (
            f"SELECT name, sql, 1 FROM {prefix}sqlite_master WHERE type = 'trigger'"  # noqa: S608
            " AND tbl_name = :table AND :schema IS :schema"
        )
    for *words, fires in connection.execute(text(sql), {"table": table, "schema": schema}):
        name, body = (word.decode() if isinstance(word, bytes) else str(word) for word in words)
        yield name, body, bool(fires)


def last_trigger(connection: Connection, table: Table) -> str | None:
    """A trigger that changes rows after ours, if there is one. Not on SQLite."""
    if connection.dialect.name == "postgresql":
        sql = (
            "SELECT t.tgname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_trigger t ON t.tgrelid = c.oid"
            " OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid))"
            " WHERE c.relname = :table"
            " AND n.nspname = COALESCE(:schema, current_schema()) AND NOT t.tgisinternal"
            " AND t.tgtype & 2 = 2 AND t.tgtype & 16 = 16 AND t.tgname > 'zzz_encfields~'"
        )
    elif connection.dialect.name in MYSQL_NAMES:
        sql = (
            "SELECT other.TRIGGER_NAME FROM information_schema.TRIGGERS other"
            " JOIN information_schema.TRIGGERS ours ON LEFT(ours.TRIGGER_NAME, 13) ="
            " 'zzz_encfields' AND ours.EVENT_OBJECT_SCHEMA = other.EVENT_OBJECT_SCHEMA"
            " AND ours.EVENT_OBJECT_TABLE = other.EVENT_OBJECT_TABLE"
            " AND ours.EVENT_MANIPULATION = other.EVENT_MANIPULATION"
            " AND ours.ACTION_TIMING = other.ACTION_TIMING"
            " AND ours.ACTION_ORDER < other.ACTION_ORDER"
            " WHERE other.EVENT_OBJECT_TABLE = :table AND other.EVENT_OBJECT_SCHEMA ="
            " COALESCE(:schema, DATABASE()) AND LEFT(other.TRIGGER_NAME, 13) <> 'zzz_encfields'"
        )
    else:
        return None
    result = connection.execute(text(sql), {"table": table.name, "schema": table.schema})
    name: str | None = result.scalars().first()
    return name


_POSTGRESQL = (
    "the table's file: VACUUM FULL {table}; (or pg_repack, which locks less)",
    "statistics: they went with the column; ANALYZE {table}; VACUUM FULL pg_statistic; removes "
    "dead copies",
    "the write-ahead log: CHECKPOINT; SELECT pg_switch_wal(); its archives last until they expire",
    "replicas, base backups and dumps, and the server's log if it logs statements: delete them, or "
    "wait until they expire",
)
_MYSQL = (
    "the table's file: ALTER TABLE {table} FORCE;",
    "persistent statistics: ANALYZE TABLE {table} PERSISTENT FOR ALL; (MariaDB)",
    "redo log and undo tablespace: they are overwritten in time",
    "the binary log: PURGE BINARY LOGS BEFORE NOW(); when every replica has it; logs of queries",
    "replicas, backups and dumps: delete them, or wait until they expire",
)
_SQLITE = (
    "the database's file: VACUUM;",
    "its write-ahead log: PRAGMA wal_checkpoint(TRUNCATE);",
    "statistics of ANALYZE: ANALYZE {table};",
    "copies and backups of the file: delete them, or wait until they expire",
)


def what_remains(adoption: Adoption, dialect_name: str) -> tuple[str, ...]:
    """Where plaintext remains, with the commands that remove it."""
    lines = {"postgresql": _POSTGRESQL, "sqlite": _SQLITE}.get(dialect_name, _MYSQL)
    assert dialect_name in {"postgresql", "sqlite", *MYSQL_NAMES}  # noqa: S101 - attach() sees to it
    return tuple(line.format(table=adoption.table_name) for line in lines)


def alike_in(name: str, table: Table) -> str:
    """A column of a similar name, in words; empty if there is none."""
    for other in (column.name for column in table.c):
        if other.lower() == name.lower():
            return f", but one named {other!r}: name it as the database does"
        if "`" in name and other == name.replace("`", "``"):
            return ": SQLAlchemy misreads its name in the catalog for the backtick. Rename it first"
    return ""
