"""The savepoint of a rehearsal, and the check that rolling back to it undid everything.

On MySQL and MariaDB a view or trigger may write to a table without transactions, which no rollback
undoes. The server reports that in a warning after the ROLLBACK; before it, not every role can find
out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, tuple_
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from encfields.databases import MYSQL_NAMES

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.errors import UnknownIdentityError
    from encfields.orm.write.generated_keys.keyless import KeylessInsert

NAME = "encfields_keys"
"""Its name; SQLAlchemy's own savepoints are called ``sa_savepoint_1`` and so on."""


def begin(connection: Connection) -> None:
    """Set it."""
    connection.exec_driver_sql(f"SAVEPOINT {NAME}")


def undo(connection: Connection) -> Any:
    """Roll back to it; it stays set.

    :returns: the execution that did it.
    """
    return connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {NAME}").context


@contextmanager
def set_for_rehearsal(connection: Connection) -> Iterator[None]:
    """Set it; it is rolled back to if the block raises anything, an interrupt or a time limit of
    the application's included. Who catches that, and commits, stores none of the random bytes."""
    begin(connection)
    try:
        yield
    except BaseException:
        _try_to_undo(connection)
        raise


def _try_to_undo(connection: Connection) -> None:
    """Roll back to it if it still exists.

    A deadlock ends the whole transaction, and an interrupt the connection. On PostgreSQL a failed
    transaction stays failed, as after any other INSERT: there the query fails as well.
    """
    with suppress(SQLAlchemyError):
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT 1")
        undo(connection)


def release(connection: Connection) -> None:
    """Release it. MySQL and MariaDB do so when the next one of its name is set."""
    if connection.dialect.name not in MYSQL_NAMES:
        connection.exec_driver_sql(f"RELEASE SAVEPOINT {NAME}")


_NOT_UNDONE = 1196
"""ER_WARNING_NOT_COMPLETE_ROLLBACK."""

REASON = "not-undone"
"""The ``reason`` of the error for an INSERT that could not be undone."""


def refuse_what_stayed(
    connection: Connection, insert: KeylessInsert, keys: list[tuple[Any, ...]], undone: Any
) -> None:
    """Check that a rehearsed INSERT was undone as a whole.

    :param keys: of the rows that it inserted.
    :param undone: the execution that undid it, the connection's last.
    :raises UnknownIdentityError: it was not. If the table itself has no transactions, its rows are
        deleted; what a trigger wrote elsewhere stays, but is random bytes.
    """
    if connection.dialect.name not in MYSQL_NAMES or not _is_warned(connection, undone):
        return
    primary = set(insert.table.primary_key.columns)
    # A partial key would match other rows too.
    if primary.issubset(insert.missing):
        among = tuple_(*insert.missing).in_(keys)
        with suppress(DBAPIError):  # the role may lack the right
            connection.execute(delete(insert.table).where(among))
    raise refusal(insert)


def refusal(insert: KeylessInsert) -> UnknownIdentityError:
    """The error for an INSERT that cannot be undone as a whole."""
    error = insert.unknown(
        "what the INSERT writes beneath a view, or by a trigger, goes into a table that has no "
        "transactions, so the key that the database generates cannot be learnt before the row is "
        "stored: use InnoDB there, and start the application again, or give the key a value or a "
        "Python-side default"
    )
    error.reason = REASON
    return error


def _is_warned(connection: Connection, undone: Any) -> bool:
    if _warnings(connection, undone) == 0:
        return False
    return any(row[1] == _NOT_UNDONE for row in connection.exec_driver_sql("SHOW WARNINGS"))


def _warnings(connection: Connection, undone: Any) -> int | None:
    """Number of warnings, if the driver still knows it for a closed cursor."""
    if connection.dialect.driver == "pymysql":
        return int(undone.cursor.warning_count)
    if connection.dialect.driver == "mysqldb":  # of the connection's last statement
        driver_connection: Any = connection.connection.driver_connection
        return int(driver_connection.warning_count())
    return None
