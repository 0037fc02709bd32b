"""An engine with an encryption on it, whose keys were made once for many databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, Select, insert, inspect, select

from encfields import Encryption, attach
from encfields.testing import local_store

Rows = list[dict[str, Any]]

_kept_tables: dict[tuple[str, bytes], Rows] = {}
"""What was in the key table when the first test had its keys made: by database and wrapping key."""
_kept_keys: dict[tuple[str, str], Rows] = {}
"""The same of a further key: by key store and key."""


_TABLE = local_store().table


def attach_with_kept_keys(
    engine: Engine, wrapping_key: bytes, *, plain: Engine | None = None, **options: Any
) -> Encryption:
    """As :func:`encfields.testing.attach_locally`, for tests that are about something else than
    how keys are made.

    The library makes the first test's keys. In every later database their rows are put into the
    key table, for to wrap and confirm new keys is most of what setting up a test takes.

    :param wrapping_key: the same for whoever is to open the keys.
    :param plain: another engine on the database, to leave `engine` without a connection.
    :param options: as for :func:`encfields.attach`.
    """
    place = engine.dialect.name, wrapping_key
    with (plain or engine).begin() as connection:
        is_new = not inspect(connection).has_table(_TABLE.name)
        if is_new and place in _kept_tables:
            _TABLE.create(connection)
            connection.execute(insert(_TABLE), _kept_tables[place])
    encryption = attach(engine, local_store(wrapping_key), **{"create": True, **options})
    if is_new and place not in _kept_tables:
        with (plain or engine).connect() as connection:
            _kept_tables[place] = _rows(connection, select(_TABLE))
    return encryption


def create_kept_key(engine: Engine, encryption: Encryption, key_id: str) -> None:
    """A further key for such tests, which the library makes once for each key store.

    :param engine: any on the database.
    """
    place = encryption.keys.store_name, key_id
    if place in _kept_keys:
        with engine.begin() as connection:
            connection.execute(insert(_TABLE), _kept_keys[place])
        return
    encryption.keys.create(key_id)
    with engine.connect() as connection:
        _kept_keys[place] = _rows(connection, select(_TABLE).where(_TABLE.c.key_id == key_id))


def _rows(connection: Connection, statement: Select[Any]) -> Rows:
    return [dict(row) for row in connection.execute(statement).mappings()]
