"""PostgreSQL connections that outlive a test.

The server starts a process for each connection, which then reads the catalogs: most of what a small
test takes of it. A connection that is closed is therefore kept for whoever connects to the same
database next, as a pool beside the server would, with nothing left in its session.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from threading import Lock
from typing import Any

import psycopg
from psycopg import pq
from sqlalchemy import Engine, event

_MOST = 6
"""Connections to keep; some tests have many at once."""

_OTHER_DEFAULTS = {"context"}
"""Arguments of SQLAlchemy's that are for the driver's object, not for the server."""


class KeptConnections:
    """Sessions with one database, of this process.

    :param conninfo: of the only connections to keep: those with other settings are others.
    """

    def __init__(self, conninfo: str) -> None:
        self._settings = psycopg.conninfo.conninfo_to_dict(conninfo)
        self._process_id = os.getpid()
        self._sessions: list[pq.abc.PGconn] = []
        self._lock = Lock()

    def serve(self, engine: Engine) -> None:
        """Have an engine take its connections from here, unless it has settings of its own."""

        @event.listens_for(engine, "do_connect")
        def connect(
            dialect: Any, record: object, arguments: list[Any], parameters: dict[str, Any]
        ) -> psycopg.Connection | None:
            settings = {k: str(v) for k, v in parameters.items() if k not in _OTHER_DEFAULTS}
            is_alone = dialect.driver == "psycopg" and len(dialect.dispatch.do_connect) == 1
            if not is_alone or arguments or settings != self._settings:
                return None
            return _connection_class(self).connect(**parameters)

    @property
    def process_ids(self) -> list[int]:
        """The server's processes of those that are kept."""
        with self._lock:
            return [session.backend_pid for session in self._sessions]

    def take(self) -> pq.abc.PGconn | None:
        """A session that nobody uses, and that the server has not ended."""
        while self._process_id == os.getpid():
            with self._lock:
                if not self._sessions:
                    return None
                session = self._sessions.pop()
            if session.exec_(b"").status == pq.ExecStatus.EMPTY_QUERY:
                return session
            session.finish()
        return None

    def keep(self, session: pq.abc.PGconn) -> bool:
        """Take back a session, as good as new.

        :returns: whether it is kept; else it is still the caller's to end.
        """
        if self._process_id != os.getpid() or not _is_clean(session):
            return False
        with self._lock:
            has_room = len(self._sessions) < _MOST
            if has_room:
                self._sessions.append(session)
            return has_room

    def end(self) -> None:
        """End all of them."""
        with self._lock:
            while self._sessions:
                self._sessions.pop().finish()


def _is_clean(session: pq.abc.PGconn) -> bool:
    """Undo what was done to a session; whether that worked."""
    status, of = session.transaction_status, pq.TransactionStatus
    if session.pipeline_status != pq.PipelineStatus.OFF:
        return False
    if status in (of.INTRANS, of.INERROR) and not _runs(session, b"ROLLBACK"):
        return False
    return session.transaction_status == of.IDLE and _runs(session, b"DISCARD ALL")


def _runs(session: pq.abc.PGconn, command: bytes) -> bool:
    return session.exec_(command).status == pq.ExecStatus.COMMAND_OK


def _connection_class(kept: KeptConnections) -> type[psycopg.Connection]:
    """The driver's connection, with a session that was kept, if there is one.

    Only the session is: each test has an object of its own, with the driver's settings in it.
    """

    class KeptConnection(psycopg.Connection):
        @classmethod
        def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
            if session := kept.take():
                return cls(session)
            return (yield from super()._connect_gen(conninfo))

        def close(self) -> None:
            # Who closes it twice must not end what is another's by then.
            if not self.closed and kept.keep(self.pgconn):
                self.pgconn = pq.PGconn()
            super().close()

    return KeptConnection
