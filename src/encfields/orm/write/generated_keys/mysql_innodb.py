"""MySQL and MariaDB: the conditions under which an INSERT that is undone leaves nothing behind."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Table, text

from encfields.orm import internals
from encfields.orm.write.generated_keys.savepoint import refusal

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.orm.write.generated_keys.keyless import KeylessInsert

_TELL = text(
    "SELECT ENGINE, CREATE_OPTIONS, @@auto_increment_increment FROM information_schema.TABLES"
    " WHERE TABLE_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :name"
)
_AUTOCOMMIT = (
    "the database generates the row's key, and under AUTOCOMMIT no transaction keeps the INSERT "
    "and the query for its key together: use a transaction, or give the key a Python-side default "
    "such as uuid.uuid4"
)


class InnodbTable(NamedTuple):
    """What the server tells of a table.

    :ivar takes_blocks: whether one row can take the numbers of many: the table is not
        partitioned, and no other server gives out numbers of it.
    :ivar is_undone: whether all that an INSERT writes can be undone, as far as is known.
    """

    takes_blocks: bool
    is_undone: bool = True


class InnodbTables:
    """The tables that one engine has inserted into; the server is asked about each once."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Table, dict[str | None, InnodbTable]] = (
            weakref.WeakKeyDictionary()
        )

    def require(self, connection: Connection, insert: KeylessInsert) -> InnodbTable:
        """What is known of the table.

        :raises UnknownIdentityError: what is inserted into it could not be undone.
        """
        if internals.is_autocommit(connection):
            raise insert.unknown(_AUTOCOMMIT)
        schema = connection.schema_for_object(insert.table)
        known = self._known.setdefault(insert.table, {})
        if schema not in known:
            known[schema] = _ask(connection, insert, schema)
        if not known[schema].is_undone:
            raise refusal(insert)
        return known[schema]

    def is_not_undone(self, connection: Connection, insert: KeylessInsert) -> None:
        """Remember of a table that INSERTs into it cannot be undone, so as to try none again."""
        schema = connection.schema_for_object(insert.table)
        self._known[insert.table][schema] = InnodbTable(takes_blocks=False, is_undone=False)


def _ask(connection: Connection, insert: KeylessInsert, schema: str | None) -> InnodbTable:
    values = {"schema": schema, "name": insert.table.name}
    row: Any = connection.execute(_TELL, values).first()
    if row is None:  # a temporary table, or none at all
        return InnodbTable(takes_blocks=False)
    engine, options, step = row
    if engine is not None and engine.upper() != "INNODB":
        raise insert.unknown(
            f"its storage engine {engine} has no transactions, so the key that it generates cannot "
            "be learnt before the row is stored: use InnoDB, or give the key a value or a "
            "Python-side default"
        )
    is_partitioned = "partitioned" in (options or "")
    return InnodbTable(
        takes_blocks=step == 1 and not is_partitioned and not _is_in_cluster(connection)
    )


def _is_in_cluster(connection: Connection) -> bool:
    """Whether other nodes of a Galera cluster give out numbers too."""
    row = connection.exec_driver_sql("SHOW VARIABLES LIKE 'wsrep_on'").first()
    return row is not None and str(row[1]).upper() in ("ON", "1")


class InnodbTransaction(NamedTuple):
    """What the server tells of the transaction that is open.

    :ivar keeps_locks: whether it keeps the lock of a row that it undid: REPEATABLE READ does.
    :ivar database: which database its names are of.
    """

    keeps_locks: bool
    database: str | None


def ask_transaction(connection: Connection) -> InnodbTransaction:
    """Ask the server of the transaction that is open."""
    sql = "SELECT @@transaction_isolation, DATABASE()"
    isolation, database = connection.exec_driver_sql(sql).one()
    return InnodbTransaction(isolation in ("REPEATABLE-READ", "SERIALIZABLE"), database)


def require_transaction(connection: Connection, insert: KeylessInsert) -> None:
    """Refuse an INSERT that commits by itself, whatever SQLAlchemy believes.

    :raises UnknownIdentityError: says so.
    """
    autocommit = _known_autocommit(connection)
    if autocommit is None:
        autocommit = bool(connection.exec_driver_sql("SELECT @@autocommit").scalar_one())
    if autocommit:
        raise insert.unknown(_AUTOCOMMIT)


def _known_autocommit(connection: Connection) -> bool | None:
    """What the server said of it in its last answer, where the driver keeps that.

    It says so in every answer, so that a ``SET autocommit`` that only the driver saw counts.
    """
    tell = getattr(connection.connection.driver_connection, "get_autocommit", None)
    return None if tell is None else bool(tell())


def refuse_autocommit(insert: KeylessInsert) -> Exception:
    """The error for an INSERT under AUTOCOMMIT whose key the database generates."""
    return insert.unknown(_AUTOCOMMIT)


def first_number(connection: Connection, result: Any) -> int | None:
    """The number of the first row of an INSERT that was just executed.

    Through MariaDB Connector/Python, SQLAlchemy knows that of a single row only.
    """
    number: int | None = result.lastrowid
    if number is None:
        number = connection.exec_driver_sql("SELECT LAST_INSERT_ID()").scalar()
    return number
