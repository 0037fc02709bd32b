"""A time limit for one request to AWS as a whole, repeated attempts included.

The client library limits how long it waits for a connection and for the next byte. A server, or a
broken network between, that sends a byte now and then holds a request up for ever. So each
request has a time at which its connection is shut, whatever it is waiting for: a TLS handshake, an
answer's headers or its body. No further attempt is made then.

The connection is found by handing the client connection classes that report when they are used.
A client without those of botocore has no time limit of this kind.
"""

from __future__ import annotations

import functools
import socket
import threading
from contextlib import suppress
from typing import Any


class DeadlineExceeded(Exception):
    """The request's time was up, after the given seconds."""


class _Deadline:
    """One current request.

    :param seconds: until its connection is shut.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_over = False
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.name = "encfields-deadline"
        self._timer.start()

    def uses(self, connection: socket.socket) -> None:
        """Note the connection that the request uses."""
        # Our own handle: the client detaches, wraps and closes its own.
        handle = socket.fromfd(connection.fileno(), connection.family, connection.type)
        with self._lock:
            before, self._handle = self._handle, handle
            if self.is_over:
                _shut_down(handle)
        if before is not None:
            before.close()

    def end(self) -> None:
        """The request has ended."""
        self._timer.cancel()
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def error(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"no complete answer within {self.seconds:g} s")

    def _expire(self) -> None:
        with self._lock:
            self.is_over = True
            if self._handle is not None:
                _shut_down(self._handle)


def _shut_down(handle: socket.socket) -> None:
    """Shut the connection for all its handles, which wakes a waiting reader."""
    with suppress(OSError):  # already closed
        handle.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    deadline: _Deadline | None = None


_current = _Current()


def limit(client: Any, seconds: float) -> None:
    """Give each request of a botocore client a time limit; doing it again changes nothing.

    Whoever handles the end of a request has to call :func:`exceeded`.
    """
    events, service = client.meta.events, client.meta.service_model.service_id.hyphenize()

    def begin(**_: Any) -> None:
        exceeded()
        _current.deadline = _Deadline(seconds)

    events.register_first(f"before-call.{service}", begin, unique_id="encfields-begin")
    events.register(f"before-send.{service}", _refuse_if_over, unique_id="encfields-deadline")
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    by_scheme = getattr(session, "_pool_classes_by_scheme", None)
    if isinstance(by_scheme, dict):
        by_scheme.update({scheme: _reporting_pool(pool) for scheme, pool in by_scheme.items()})


def _refuse_if_over(**_: Any) -> None:
    """Called before each further attempt."""
    deadline = _current.deadline
    if deadline is not None and deadline.is_over:
        raise deadline.error()


def exceeded() -> DeadlineExceeded | None:
    """The error of this thread's last request, if its time was up.

    There may be an answer nevertheless: the client accepts a truncated one that can be parsed.
    """
    deadline, _current.deadline = _current.deadline, None
    if deadline is None:
        return None
    deadline.end()
    return deadline.error() if deadline.is_over else None


@functools.cache
def _reporting_pool(pool: Any) -> Any:
    """A subclass of the connection pool whose connections report their use."""
    base = pool.ConnectionCls
    if hasattr(base, "tells_deadline"):
        return pool

    class Connection(base):  # type: ignore[misc, valid-type]
        tells_deadline = True

        def _new_conn(self) -> Any:
            made = super()._new_conn()
            _tell(made)
            return made

        def request(self, *arguments: Any, **named: Any) -> Any:
            _tell(self.sock)
            return super().request(*arguments, **named)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _tell(connection: Any) -> None:
    deadline = _current.deadline
    if deadline is not None and connection is not None:
        deadline.uses(connection)
