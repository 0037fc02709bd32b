"""Outages: which errors pass by themselves, and how long they are waited for."""

from __future__ import annotations

import random
import time
from threading import Event
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError

from encfields.errors import EncFieldsError, KeyUnavailableError
from encfields.keys.sql_errors import error_number, sql_state
from encfields.reencrypt.errors import DatabaseUnavailableError, ReencryptionError

MAX_PAUSE = 5.0
"""Seconds between two attempts, at most."""

_KEY_OUTAGES = frozenset({"unreachable", "throttled", "error"})
"""The others are somebody's decision, which waiting does not change."""

_LOCK_WAITS = frozenset({1205, "55P03"})
"""MariaDB's and MySQL's number, PostgreSQL's SQLSTATE."""


def may_pass(error: Exception) -> bool:
    """Whether trying again later can help: the database or KMS is away, busy, or full."""
    if isinstance(error, KeyUnavailableError):
        return error.reason in _KEY_OUTAGES
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return isinstance(error, DBAPIError) and (
        error.connection_invalidated
        or isinstance(error, OperationalError | InterfaceError | InternalError)
    )


def is_lock_wait(error: DBAPIError) -> bool:
    """Whether a statement gave up waiting for a lock."""
    return _code_of(error.orig) in _LOCK_WAITS


def told(error: Exception) -> EncFieldsError:
    """The error as this library tells it: a driver's own text can hold values of a row."""
    if isinstance(error, EncFieldsError):
        return error
    original = getattr(error, "orig", None) or error
    code = _code_of(original)
    text = f"{type(original).__name__}{f' ({code})' if code else ''}"
    if may_pass(error):
        return DatabaseUnavailableError(
            f"the database did not take the run's statements: {text}. Nothing is lost; start the "
            "run again and it goes on where it stopped",
            reason="database",
        )
    return ReencryptionError(f"the database refused a statement: {text}", reason="database")


def _code_of(original: Any) -> int | str | None:
    # MariaDB's own number says more than its SQLSTATE, which for a full disk is "general error".
    return error_number(original) or sql_state(original)


class Patience:
    """Waits out an outage, ever longer, until it has lasted too long.

    :param seconds: how long an outage may last. :param stop: ends a wait at once.
    """

    def __init__(self, seconds: float, stop: Event) -> None:
        self._seconds = seconds
        self._stop = stop
        self._since: float | None = None
        self._tries = 0

    def over(self) -> None:
        """Something worked again."""
        self._since, self._tries = None, 0

    def wait(self, error: Exception) -> None:
        """Wait before another attempt.

        :raises EncFieldsError: the error, if waiting cannot help or has lasted too long.
        """
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if not may_pass(error) or now - self._since >= self._seconds:
            raise told(error) from None
        pause = min(0.05 * 2**self._tries, MAX_PAUSE)
        self._tries += 1
        # Workers that failed together do not come back together.
        self._stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
