"""asyncmy in ``sql_mode`` NO_BACKSLASH_ESCAPES: it escapes bytes with backslashes all the same.

Other bytes would be stored than were sent, which nobody could ever open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from encfields.errors import ConfigurationError
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import Connection

DRIVER = "asyncmy"

_NO_BACKSLASH_ESCAPES = 512
"""The bit of the server's status, which comes with each of its answers."""


@leaves_no_trace
def refuse_altered_bytes(connection: Connection) -> None:
    """SQLAlchemy's event ``engine_connect``, of an engine with asyncmy.

    :raises ConfigurationError: the session is in that mode.
    """
    status = getattr(connection.connection.driver_connection, "server_status", 0)
    if status & _NO_BACKSLASH_ESCAPES:
        connection.close()
        raise ConfigurationError(
            "asyncmy sends other bytes than it is given where sql_mode has NO_BACKSLASH_ESCAPES, "
            "so that no encrypted value could be stored: take the mode out of sql_mode for this "
            "application's sessions, or use PyMySQL, mysqlclient or MySQL Connector/Python",
            reason="driver",
        )
