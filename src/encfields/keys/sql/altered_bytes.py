"""The driver asyncmy, which alters bytes in one of the server's modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from encfields.errors import ConfigurationError
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import Connection

ASYNCMY = "asyncmy"
"""Its name in SQLAlchemy."""

_NO_BACKSLASH_ESCAPES = 512
"""A bit of the server's status, which each response contains."""


@leaves_no_trace
def refuse_altered_bytes(connection: Connection) -> None:
    """SQLAlchemy's event ``engine_connect``, for asyncmy.

    It escapes bytes with backslashes even in ``sql_mode`` NO_BACKSLASH_ESCAPES, so altered bytes
    would be stored, of a value or of a wrapped key, which nobody could ever open.

    :raises ConfigurationError: the session is in that mode.
    """
    status = getattr(connection.connection.driver_connection, "server_status", 0)
    if status & _NO_BACKSLASH_ESCAPES:
        connection.close()
        raise ConfigurationError(
            "asyncmy alters bytes if sql_mode has NO_BACKSLASH_ESCAPES, so that no encrypted "
            "value and no key could be stored: take the mode out of sql_mode for this "
            "application's sessions, or use PyMySQL, mysqlclient or MySQL Connector/Python",
            reason="driver",
        )
