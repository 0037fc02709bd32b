"""The connection for key reads that stays open on MariaDB and MySQL.

While values are sealed, the key table is asked every few seconds whether their key still may seal.
To connect takes some 50 ms of processor time there, since the drivers read the certificates of all
authorities for each connection, and the caller waits for it. So one connection that was used within
the last half minute is used again. It is the application's neither before nor after, and no
transaction is open on it.

Not on PostgreSQL, where connecting takes a tenth of that and each open connection is a process of
the server; nor on SQLite, whose file may be replaced. Nor if the application keeps none itself
(``NullPool``), nor for an asyncio driver, whose connections end with their event loop.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from time import monotonic
from typing import Any, NamedTuple
from weakref import WeakSet

from sqlalchemy import Dialect, Engine, event
from sqlalchemy.pool import Pool, QueuePool

from encfields.databases import MYSQL_NAMES
from encfields.kept_state import KEPT_CONNECTION
from encfields.keys.forking import in_forked_child

MOST_IDLE = 30.0
"""Seconds. What stands between client and server may forget a connection that is idle for longer
and tell nobody; to ask whether it is there would then take minutes."""

ANSWERS_WITHIN = 1.0
"""Seconds that the server has to say that a connection is there."""


class Likeness(NamedTuple):
    """What a pool of our own is made like.

    :ivar pool: the application's.
    :ivar listeners: those that were added to it, in which an application sets a role for instance.
    """

    pool: Pool
    listeners: tuple[object, ...]

    @classmethod
    def of(cls, engine: Engine) -> Likeness:
        """What a pool would be made like now."""
        heard = engine.pool.dispatch
        return cls(engine.pool, (*heard.connect, *heard.checkout, *heard.checkin, *heard.reset))


class Kept(NamedTuple):
    """A pool of our own with one idle connection.

    :ivar like: what it was made like.
    :ivar since: when it was last used.
    """

    pool: Pool
    like: Likeness
    since: float


class KeptConnection:
    """Holds at most one idle connection of an engine; used from any thread."""

    def __init__(self) -> None:
        self._idle: deque[Kept] = deque()
        self._is_given_up = False
        _all.add(self)

    def take(self, engine: Engine) -> Pool | None:
        """The pool with the connection, for the caller alone; ``None`` if there is none in use."""
        try:
            kept = self._idle.pop()
        except IndexError:
            return None
        is_recent = monotonic() - kept.since < MOST_IDLE
        if is_recent and kept.like == Likeness.of(engine):
            is_there = _answers(kept.pool, engine)
            if is_there:
                return kept.pool
            if is_there is None:
                # Once is enough: where threads do not run, such as in uWSGI without
                # --enable-threads, each would wait as long.
                self._is_given_up = True
                return None
        kept.pool.dispose()
        return None

    def keep(self, pool: Pool, like: Likeness, engine: Engine) -> None:
        """Keep the connection that work has left in `pool`, or close it.

        :param like: what it was made like, before the work began.
        """
        has_one = isinstance(pool, QueuePool) and pool.checkedin() == 1
        is_wanted = like.pool is engine.pool and not self._idle and not self._is_given_up
        if has_one and is_wanted:
            self._idle.append(Kept(pool, like, monotonic()))
        else:
            pool.dispose()

    def close(self, _: object = None) -> None:
        """Close what is kept; SQLAlchemy's event ``engine_disposed``."""
        while self._idle:
            try:
                self._idle.pop().pool.dispose()
            except IndexError:
                break

    def leave(self) -> None:
        """Keep nothing, and close nothing: it is the parent process's."""
        _of_parents.append(self._idle)
        self._idle = deque()


def kept_connection(engine: Engine) -> KeptConnection | None:
    """What keeps the connection of an engine's key reads; ``None`` if none may stay open."""
    if (
        engine.dialect.name not in MYSQL_NAMES
        or engine.dialect.is_async
        or not isinstance(engine.pool, QueuePool)
        or type(engine) is not Engine  # A view of one is not told that the engine was disposed of.
    ):
        return None
    new = KeptConnection()
    found: KeptConnection = vars(engine.dialect).setdefault(KEPT_CONNECTION, new)
    if found is new:
        event.listen(engine, "engine_disposed", found.close)
    return found


def _answers(pool: Pool, engine: Engine) -> bool | None:
    """Whether the server still answers on a pool's connection, which is given up if not; ``None``
    if that is not known in time.

    It is asked on another thread: on the connection of a server whose host is gone that may take
    minutes, while to connect anew has a time limit.
    """
    asked: Future[bool] = Future()

    def ask() -> None:
        is_there = _asked(pool, engine)
        if asked.set_running_or_notify_cancel():
            asked.set_result(is_there)
        else:  # Nobody waits for the answer, so nobody else closes it.
            pool.dispose()

    try:
        Thread(target=ask, name="encfields-ping", daemon=True).start()
        return asked.result(ANSWERS_WITHIN)
    except RuntimeError:  # The interpreter is ending and starts no threads.
        return False
    except TimeoutError:
        return None if asked.cancel() else asked.result()


def _asked(pool: Pool, engine: Engine) -> bool:
    dialect = engine.dialect
    drivers: type[Exception] = dialect.loaded_dbapi.Error
    with suppress(Exception):  # Also what a listener of the application's raises.
        fairy = pool.connect()
        if _is_answered(fairy.dbapi_connection, dialect, drivers):
            fairy.close()
            return True
        fairy.invalidate()
    return False


def _is_answered(connection: Any, dialect: Dialect, drivers: type[Exception]) -> bool:
    try:
        # A listener of the application's may have begun a transaction as the connection was put
        # back, in which the keys would be read as they were then.
        dialect.do_rollback(connection)
        return dialect.do_ping(connection)
    except (OSError, drivers):
        return False


_all: WeakSet[KeptConnection] = WeakSet()
_of_parents: list[object] = []


def _leave_all() -> None:
    for kept in _all:
        kept.leave()


in_forked_child(_leave_all)
