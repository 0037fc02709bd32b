"""Converts database failures to errors about keys."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from encfields.errors import KeyNotFoundError, KeyUnavailableError

_CONFLICT_STATES = frozenset({"40001", "40P01", "23505"})
_CONFLICT_NUMBERS = frozenset({1213, 1205, 1020})
NOT_ALLOWED = frozenset({"42501", 1044, 1142, 1143, 1227, 1370, 1419})
"""Codes for what the user has no right to, or lacks a privilege for: PostgreSQL's SQLSTATE,
MariaDB's and MySQL's numbers."""

_DENIED = NOT_ALLOWED | {"28000", "28P01", 1045}
"""Codes for lacking rights, and for a refused login."""

_SAYS_WHAT_IS_DENIED = re.compile(
    r"(?:permission denied for|must be owner of|violates row-level security policy for) "
    r"(?:materialized view|foreign table|table|relation|view|sequence|schema|database|function|"
    r"procedure|routine|type|language) [\w$.\"]+"
    r"|[A-Z][A-Z, ]+ command denied to user '[^' ]*'@'[^' ]*'"
    r" for (?:table|column|routine) [\w$.'`]+"
    r"|Access denied for user '[^' ]*'@'[^' ]*' to database '[^' ]*'"
    r"|you need \(at least one of\) the [A-Z_, or]+ privilege\(s\)"
)
"""How PostgreSQL, then MySQL and MariaDB, name what a user has no right to."""

READ_ONLY = frozenset({"25006", 1290, 1792, 1836})
"""Codes for a read-only database or transaction."""


def database_error(error: Exception, key_id: str | None) -> KeyUnavailableError | None:
    """The error to raise, or ``None`` for a conflict with another transaction.

    :param error: raised by SQLAlchemy or the driver.
    """
    cause = getattr(error, "orig", None) or error
    state, number = sql_state(cause), error_number(cause)
    if state in _CONFLICT_STATES or number in _CONFLICT_NUMBERS:
        return None
    description = f"{type(cause).__name__}: {first_line(cause)}"
    if state in _DENIED or number in _DENIED:
        advice, reason = "the database denies access to the key table", "denied"
    elif "locked" in description and "sqlite" in type(cause).__module__:
        advice, reason = (
            "another transaction holds SQLite's lock; create keys, and load them by "
            "prefetch(beacons=True), before that transaction begins",
            "throttled",
        )
    elif _is_unreachable(error) or "unable to open database file" in description:
        advice, reason = "the database of the key table is out of reach", "unreachable"
    else:
        advice, reason = "the key table could not be used", "error"
    return KeyUnavailableError(f"{advice} ({description})", key_id=key_id, reason=reason)


def _is_unreachable(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        cause: Any = error.orig
        has_code = sql_state(cause) is not None and not str(sql_state(cause)).startswith("08")
        is_sqlite = "sqlite" in type(cause).__module__
        if error.connection_invalidated:
            return True
        if isinstance(error, (OperationalError, InterfaceError)):
            return not has_code and not is_sqlite
        return False
    return isinstance(error, (OSError, TimeoutError, PoolTimeout))


def sql_state(cause: Any) -> str | None:
    """The SQLSTATE of a driver's error, if the driver provides it."""
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    arguments = getattr(cause, "args", ())
    if state is None and arguments and isinstance(arguments[0], dict):
        state = arguments[0].get("C")  # pg8000's, by the letters of the protocol
    return state if isinstance(state, str) else None


def error_number(cause: Any) -> int | None:
    """The server's own number of a MariaDB or MySQL driver's error."""
    # The first argument is the message with MariaDB Connector/Python, the number with others.
    first = next(iter(getattr(cause, "args", ())), None)
    number = first if isinstance(first, int) else getattr(cause, "errno", None)
    return number if isinstance(number, int) else None


def is_denied(error: DBAPIError) -> bool:
    """Whether the database user lacks the right for a statement."""
    # MariaDB's own number says more than its SQLSTATE.
    return (error_number(error.orig) or sql_state(error.orig)) in NOT_ALLOWED


def what_is_denied(cause: BaseException) -> str:
    """The server's words for what the user has no right to; empty if it has others.

    Not the whole message: a trigger can raise the same code with a text of its own.
    """
    said = _SAYS_WHAT_IS_DENIED.search(first_line(cause))
    return said.group() if said else ""


def is_read_only(error: DBAPIError) -> bool:
    """Whether nothing may be written: a replica, a read-only transaction or file."""
    cause = error.orig
    if str(getattr(cause, "sqlite_errorname", "")).startswith("SQLITE_READONLY"):
        return True
    return error_number(cause) in READ_ONLY or sql_state(cause) in READ_ONLY


def first_line(cause: BaseException) -> str:
    """A driver's message without what may quote a row."""
    # Only the first line, because further ones quote the failing row.
    lines = str(cause).strip().splitlines()
    return lines[0][:200] if lines else ""


def no_such_key(table: str, key_id: str) -> KeyNotFoundError:
    """The error for an id that is not in the table."""
    return KeyNotFoundError(
        f"there is no such key in {table!r}; make it once with {_to_make(key_id)}",
        key_id=key_id,
        reason="no-key",
    )


def no_beacon_key(table: str, key_id: str) -> KeyNotFoundError:
    """The error for an id without a beacon key in the table, though it may have a branch key."""
    return KeyNotFoundError(
        f"there is no beacon key for it in {table!r}. If `encfields keys list` shows the key, the "
        "row of its beacon key was deleted: restore it from a backup, because without it no row is "
        f"found. If not, make the key once with {_to_make(key_id)}",
        key_id=key_id,
        reason="no-key",
    )


def _to_make(key_id: str) -> str:
    return f"`encryption.keys.create({key_id!r})`, or attach(..., create=True)"
