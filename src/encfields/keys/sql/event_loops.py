"""Connections of an async engine that belong to one event loop, while keys are read on another.

A driver's connection is used by the thread of its loop at any time. Two threads that use it read
each other's answers, and with asyncpg, which is compiled, the process may end.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from encfields.errors import ConfigurationError
from encfields.traces import leaves_no_trace


@leaves_no_trace
def refuse_another_loops(dbapi_connection: Any, _: object = None) -> None:
    """SQLAlchemy's event ``connect`` of an async engine, before anything is sent.

    :param dbapi_connection: SQLAlchemy's, around the driver's.
    :raises ConfigurationError: the driver's belongs to another event loop than the running one.
    """
    connection = dbapi_connection.driver_connection
    # asyncpg's, asyncmy's and aiomysql's keep it by this name; those of others keep none.
    loop = getattr(connection, "_loop", None)
    if loop is None or loop is asyncio.get_running_loop():
        return
    if end := getattr(connection, "terminate", None):
        # Where it belongs, so that a pool has its place again; a loop that is closed needs none.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(end)
    raise belongs_to_another_loop()


def belongs_to_another_loop() -> ConfigurationError:
    """The error for an ``async_creator=`` that connects on the application's event loop alone."""
    return ConfigurationError(
        "the engine's async_creator= gives connections that belong to one event loop, as those of "
        "an asyncpg.Pool do, and keys are read on another: give the key store an engine of its "
        "own, SqlKeyStore(..., engine=create_async_engine(url).sync_engine)",
        reason="event-loop",
    )
