"""Whether a key version may be retired: only if no value is under it any more."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Engine

from encfields.bulk.rows.spec import TableSpec
from encfields.keys.removal import ValuesUnder, values_left


def values_under(
    bind: Engine | Connection, specs: Iterable[TableSpec], key_id: str, version: str
) -> list[ValuesUnder]:
    """The columns that hold values under a key version. Every row is looked at, no key is used.

    :param bind: as for :func:`encfields.bulk.survey.census.census`.
    :param specs: every table that may hold values under the key; what is not named here is not
        looked at.
    :param key_id: branch key id.
    :param version: UUID text of the version.
    """
    return [one for spec in specs for one in spec.count_under(bind, key_id, version)[1]]


def refuse_retirement(
    bind: Engine | Connection, specs: Iterable[TableSpec], key_id: str, version: str
) -> None:
    """Refuse to retire a key version under which there are values.

    Ask only when every process has dropped the version from its cache (``cache_ttl`` after the
    rotation): until then it may still seal values under it.

    :raises ConfigurationError: there are; the message names table, column and count, and
        ``reason`` is ``"values-left"``.
    """
    left = values_under(bind, specs, key_id, version)
    if left:
        raise values_left(key_id, version, left)
