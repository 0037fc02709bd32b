"""The savepoint of a rehearsal, under a name of its own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from encfields.orm.declare.row_keys import MYSQL_NAMES

if TYPE_CHECKING:
    from sqlalchemy import Connection

NAME = "encfields_keys"
"""SQLAlchemy's own are called ``sa_savepoint_1`` and so on."""


def begin(connection: Connection) -> None:
    """Set it."""
    connection.exec_driver_sql(f"SAVEPOINT {NAME}")


def undo(connection: Connection) -> Any:
    """Undo what was done since; it stays set.

    :returns: the execution that did it.
    """
    return connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {NAME}").context


def try_to_undo(connection: Connection) -> None:
    """The same, if there is still something to undo: a deadlock ends the whole transaction."""
    with suppress(DBAPIError):
        undo(connection)


def release(connection: Connection) -> None:
    """Forget it. MySQL and MariaDB do so when the next one of its name is set."""
    if connection.dialect.name not in MYSQL_NAMES:
        connection.exec_driver_sql(f"RELEASE SAVEPOINT {NAME}")
