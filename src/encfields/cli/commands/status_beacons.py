"""Whether the keys of blind indexes are there, without which no row is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.census import Census
from encfields.keys.admin import KeyAdmin
from encfields.keys.versions import KeyVersions


def missing_beacons(
    keys: KeyAdmin, known: KeyVersions, specs: Iterable[TableSpec], censuses: Iterable[Census]
) -> Sequence[str]:
    """The ids of branch keys whose beacon key is missing, though values are indexed under it.

    A destroyed key is left out: its values count as without a key.

    :param known: the key versions that there are.
    """
    indexed = {id_ for pair in zip(specs, censuses, strict=True) for id_ in _needed(*pair)}
    return keys.without_beacon(id_ for id_ in indexed if not known.is_destroyed(id_))


def _needed(spec: TableSpec, counted: Census) -> Iterator[str]:
    """The ids of the keys under which a table's values are indexed."""
    columns = {column.column: column for column in counted.columns}
    for index in spec.indexes:
        versions = (columns[name].versions for name in index.columns if name in columns)
        used = {key_id for by_version in versions for key_id, _ in by_version}
        yield from {index.key} if index.key is not None and used else used
