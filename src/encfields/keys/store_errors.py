"""Errors that key stores raise alike, wherever they keep their keys."""

from __future__ import annotations

import datetime as dt

from encfields.errors import (
    ConfigurationError,
    KeyDestroyedError,
    KeyExistsError,
    KeyNotFoundError,
    KeyUnavailableError,
)

MAX_TRIES = 10
"""Times that a change steps behind another one of the same key before it gives up."""


class Conflict(Exception):
    """Another transaction got there first."""


def already_exists(key_id: str) -> KeyExistsError:
    """The error for an id that is taken."""
    return KeyExistsError(
        "a key of this id exists already; rotate it for a new version",
        key_id=key_id,
        reason="exists",
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


def newest_version(key_id: str, version: str) -> ConfigurationError:
    """The error for a version that seals new values."""
    return ConfigurationError(
        f"version {version} is the newest of this key, under which new values are sealed; rotate "
        "the key and re-encrypt its values first, or destroy the whole key",
        key_id=key_id,
        reason="newest-version",
    )


def no_version(key_id: str, version: str) -> KeyNotFoundError:
    """The error for a version that is not there."""
    return KeyNotFoundError(
        f"this key has no version {version}; `encfields keys list` shows those it has",
        key_id=key_id,
        reason="no-version",
    )
