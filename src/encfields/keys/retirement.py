"""Before a key or a version of it is wiped: no process is to seal under it when it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from encfields.errors import ConfigurationError
from encfields.keys.cache import KeyCache
from encfields.keys.store import KeyVersion


@contextmanager
def refused(store: Any, cache: KeyCache, key_id: str, version: str | None) -> Iterator[None]:
    """Within it, the key store refuses a key, or one version of it, and every process that asks
    it within its ``cache_check`` has learnt so. It is admitted again if what is done there fails.

    :param store: one that can refuse nothing, AWS's, is left as it is.
    """
    refuse = getattr(store, "refuse", None)
    if refuse is None or not refuse(key_id, version):
        yield
        return
    try:
        cache.forget(key_id)
        cache.runner.pause(cache.check)
        yield
    except BaseException:
        store.readmit(key_id, version)
        raise


def require_replaced_before(versions: Sequence[KeyVersion], version: str, ttl: float) -> None:
    """Refuse while a process that was cut off from the key store may still seal under a version.

    :param versions: of the key.
    :param ttl: seconds for which a process uses a version without asking.
    :raises ConfigurationError: the version after it is younger.
    """
    (old,) = [one for one in versions if one.version == version]
    later = [one.created_at for one in versions if _is_after(one, old)]
    known_at = min(later) + dt.timedelta(seconds=ttl)
    if dt.datetime.now(dt.UTC) < known_at:
        raise ConfigurationError(
            f"version {version} was replaced only just now: until {known_at:%Y-%m-%d %H:%M:%S} "
            "UTC a process that is cut off from the key store may seal values under it. Wait, or "
            "give at_once=True if there is none",
            key_id=old.id,
            reason="too-early",
        )


def _is_after(one: KeyVersion, old: KeyVersion) -> bool:
    if one.number is None or old.number is None:
        return one.created_at > old.created_at
    return one.number > old.number


def no_tables(key_id: str) -> ConfigurationError:
    """The error for a census of nothing."""
    return ConfigurationError(
        "nothing was retired: name in specs= every table that may hold values under the key",
        key_id=key_id,
        reason="no-table-named",
    )


def values_left(key_id: str, version: str, found: Sequence[Any]) -> ConfigurationError:
    """The error for a version under which there are values.

    :param found: columns with table, column, values.
    """
    places = ", ".join(f"{one.table}.{one.column} ({one.values:,} values)" for one in found)
    return ConfigurationError(
        f"version {version} cannot be retired, because values are under it: {places}. "
        "Re-encrypt them first; without this version they cannot be read",
        key_id=key_id,
        table=found[0].table,
        column=found[0].column,
        reason="values-left",
    )
