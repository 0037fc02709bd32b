"""What the key table's rows mean, for those who read and change them."""

from __future__ import annotations

import datetime as dt

from encfields.errors import (
    KeyDestroyedError,
    KeyExistsError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.keys.key_rows import KeyRow
from encfields.keys.store import KeyVersion
from encfields.keys.wrapping import Purpose

BRANCH: Purpose = "branch-key"
BEACON: Purpose = "beacon-key"

MAX_TRIES = 10
"""Times that a change steps behind another one of the same key before it gives up."""


class Conflict(Exception):
    """Another transaction got there first."""


def now() -> dt.datetime:
    """The time that a row is dated with, in UTC."""
    return dt.datetime.now(dt.UTC)


def told(row: KeyRow, *, active: bool) -> KeyVersion:
    """What may be told of a row.

    :param active: whether new values are sealed under it.
    """
    return KeyVersion(
        row.key_id,
        row.version,
        active,
        row.created_at,
        row.destroyed_at,
        row.number or None,
        row.fault,
    )


def already_exists(key_id: str) -> KeyExistsError:
    """The error for an id that is taken."""
    return KeyExistsError(
        "there is a key of this id; rotate it for a new version", key_id=key_id, reason="exists"
    )


def no_such_key(table: str, key_id: str) -> KeyNotFoundError:
    """The error for an id that is not in the table."""
    return KeyNotFoundError(
        f"there is no such key in {table!r}; make it once with "
        f"`encryption.keys.create({key_id!r})`, or attach(..., create=True)",
        key_id=key_id,
        reason="no-key",
    )


def was_destroyed(key_id: str, when: dt.datetime | None = None) -> KeyDestroyedError:
    """The error for a key of which a tombstone is left."""
    return KeyDestroyedError(
        f"the key was destroyed{f' on {when:%Y-%m-%d}' if when else ''}; what it sealed is gone",
        key_id=key_id,
        reason="destroyed",
    )


def was_retired(key_id: str, version: str, when: dt.datetime | None = None) -> KeyDestroyedError:
    """The error for a version of which a tombstone is left, while its key is in force."""
    return KeyDestroyedError(
        f"version {version} of this key was retired{f' on {when:%Y-%m-%d}' if when else ''}, when "
        "no value was under it. Restore the value, or the version's row in the key table, from a "
        "backup",
        key_id=key_id,
        reason="retired",
    )


def busy(key_id: str, advice: str = "retry") -> KeyUnavailableError:
    """The error for a key that others kept changing."""
    return KeyUnavailableError(
        f"others kept changing this key at the same time; {advice}", key_id=key_id, reason="error"
    )
