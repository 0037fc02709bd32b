"""MySQL and MariaDB: conditions under which an INSERT that is rolled back leaves nothing behind."""

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
    """What the server reports about a table.

    :ivar takes_blocks: whether one row can take the numbers of many: the table is not partitioned,
        and no other server assigns numbers for it.
    :ivar is_innodb: whether it is known to be a table of InnoDB, and no view or temporary table.
    :ivar is_undone: whether everything that an INSERT writes can be undone, as far as is known.
    """

    takes_blocks: bool
    is_innodb: bool = False
    is_undone: bool = True


class InnodbTables:
    """The tables that one engine has inserted into; the server is queried once about each."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Table, dict[str | None, InnodbTable]] = (
            weakref.WeakKeyDictionary()
        )

    def require(self, connection: Connection, insert: KeylessInsert) -> InnodbTable:
        """What is known about the table.

        :raises UnknownIdentityError: an INSERT into it could not be undone.
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
        """Remember that INSERTs into a table cannot be undone, so that none is tried again."""
        schema = connection.schema_for_object(insert.table)
        self._known[insert.table][schema] = InnodbTable(takes_blocks=False, is_undone=False)


def _ask(connection: Connection, insert: KeylessInsert, schema: str | None) -> InnodbTable:
    values = {"schema": schema, "name": insert.table.name}
    row: Any = connection.execute(_TELL, values).first()
    if row is None:  # a temporary or nonexistent table
        return InnodbTable(takes_blocks=False)
    engine, options, step = row
    if isinstance(engine, bytes):  # under SET NAMES binary
        engine, options = engine.decode(), (options or b"").decode()
    if engine is not None and engine.upper() != "INNODB":
        raise insert.unknown(
            f"its storage engine {engine} has no transactions, so the key that it generates cannot "
            "be learnt before the row is stored: use InnoDB, or give the key a value or a "
            "Python-side default"
        )
    is_partitioned = "partitioned" in (options or "")
    return InnodbTable(
        takes_blocks=step == 1 and not is_partitioned and not _is_in_cluster(connection),
        is_innodb=engine is not None,
    )


def _is_in_cluster(connection: Connection) -> bool:
    """Whether other nodes of a Galera cluster assign numbers too."""
    row = connection.exec_driver_sql("SHOW VARIABLES LIKE 'wsrep_on'").first()
    return row is not None and str(row[1]).upper() in ("ON", "1")


class InnodbTransaction(NamedTuple):
    """What the server reports about the open transaction.

    :ivar keeps_locks: whether it keeps the lock on a row whose INSERT it undid, as REPEATABLE READ
        does.
    :ivar database: the current database.
    """

    keeps_locks: bool
    database: str | None


def ask_transaction(connection: Connection) -> InnodbTransaction:
    """Query the server about the open transaction."""
    sql = "SELECT @@transaction_isolation, DATABASE()"
    isolation, database = connection.exec_driver_sql(sql).one()
    return InnodbTransaction(isolation in ("REPEATABLE-READ", "SERIALIZABLE"), database)


def require_transaction(connection: Connection, insert: KeylessInsert) -> None:
    """Refuse an INSERT under AUTOCOMMIT, even if SQLAlchemy does not know of it.

    :raises UnknownIdentityError: says so.
    """
    autocommit = _known_autocommit(connection)
    if autocommit is None:
        autocommit = bool(connection.exec_driver_sql("SELECT @@autocommit").scalar_one())
    if autocommit:
        raise insert.unknown(_AUTOCOMMIT)


def _known_autocommit(connection: Connection) -> bool | None:
    """The autocommit status in the server's last response, if the driver keeps it.

    Every response contains it, so that a ``SET autocommit`` sent directly to the driver counts too.
    """
    tell = getattr(connection.connection.driver_connection, "get_autocommit", None)
    return None if tell is None else bool(tell())


def refuse_autocommit(insert: KeylessInsert) -> Exception:
    """The error for an INSERT under AUTOCOMMIT whose key the database generates."""
    return insert.unknown(_AUTOCOMMIT)


def first_number(connection: Connection, result: Any) -> int | None:
    """The number of the first row of an INSERT that was just executed.

    With MariaDB Connector/Python, SQLAlchemy knows it only for a single row.
    """
    number: int | None = result.lastrowid
    if number is None:
        number = connection.exec_driver_sql("SELECT LAST_INSERT_ID()").scalar()
    return number
