"""Whether the keys of blind indexes are there, without which no row is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.census import Census
from encfields.errors import KeyDestroyedError, KeyNotFoundError
from encfields.keys.admin import KeyAdmin

MAX_ASKED_KEYS = 100
"""Most keys to ask the key table for, each in a query of its own."""


def missing_beacons(
    keys: KeyAdmin, specs: Iterable[TableSpec], censuses: Iterable[Census]
) -> list[str]:
    """The ids of branch keys whose beacon key is missing, though values are indexed under it.

    A destroyed key is left out: its values count as without a key.
    """
    asked = sorted({id_ for pair in zip(specs, censuses, strict=True) for id_ in _needed(*pair)})
    return [key_id for key_id in asked[:MAX_ASKED_KEYS] if not _has_beacon(keys, key_id)]


def _needed(spec: TableSpec, counted: Census) -> Iterator[str]:
    """The ids of the keys under which a table's values are indexed."""
    columns = {column.column: column for column in counted.columns}
    for index in spec.indexes:
        versions = (columns[name].versions for name in index.columns if name in columns)
        used = {key_id for by_version in versions for key_id, _ in by_version}
        yield from {index.key} if index.key is not None and used else used


def _has_beacon(keys: KeyAdmin, key_id: str) -> bool:
    try:
        return bool(keys.list_beacons(key_id))
    except KeyDestroyedError:
        return True
    except KeyNotFoundError:
        return False
