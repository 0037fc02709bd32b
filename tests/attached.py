"""An engine with an encryption on it, whose keys were made once for many databases."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Engine, Select, insert, inspect, select

from encfields import Encryption, attach
from encfields.branch_key import BranchKey
from encfields.engine import engine_encryption
from encfields.keys.versions import BeaconKey
from encfields.orm.types import DEFAULT_KEY
from encfields.testing import local_store

Rows = list[dict[str, Any]]


@dataclass
class Kept:
    """What the first test's keys were, in the key table and as the library read them from it."""

    rows: Rows
    active: BranchKey
    beacons: tuple[BeaconKey, ...]


_OWN = secrets.token_bytes(32)
"""The wrapping key of who names none, and of :func:`local_key_file`."""

_kept: dict[tuple[str, bytes], Kept] = {}
"""By database and wrapping key."""
_kept_keys: dict[tuple[str, str], Rows] = {}
"""The same of a further key: by key store and key."""


_TABLE = local_store().table


def attach_with_kept_keys(
    engine: Engine, wrapping_key: bytes = _OWN, *, plain: Engine | None = None, **options: Any
) -> Encryption:
    """As :func:`encfields.testing.attach_locally`, for tests that are about something else than
    how keys are made.

    The library makes the first test's keys. In every later database their rows are put into the
    key table, and the cache has them as if it had just read them: to wrap, confirm and unwrap
    keys is most of what setting up a test takes.

    :param wrapping_key: the same for whoever is to open the keys; by default one of the process.
    :param plain: another engine on the database, to leave `engine` without a connection.
    :param options: as for :func:`encfields.attach`.
    """
    place = engine.dialect.name, wrapping_key
    kept = _kept.get(place)
    with (plain or engine).begin() as connection:
        is_new = not inspect(connection).has_table(_TABLE.name)
        if is_new and kept:
            _TABLE.create(connection, checkfirst=False)
            connection.execute(insert(_TABLE), kept.rows)
    if not is_new or not kept:
        encryption = attach(engine, local_store(wrapping_key), **{"create": True, **options})
        if is_new:
            _kept[place] = _made(plain or engine, encryption)
        return encryption
    encryption = attach(engine, local_store(wrapping_key), **{**options, "create": False})
    # Which is for keys that are asked for from now on: what it makes at once is there.
    inner = engine_encryption(encryption)
    inner._create = options.get("create", True)
    inner.cache._entries.keep(DEFAULT_KEY, kept.active, monotonic())
    inner.cache._entries.keep((DEFAULT_KEY, None), kept.beacons, None)
    return encryption


def _made(engine: Engine, encryption: Encryption) -> Kept:
    with engine.connect() as connection:
        rows = _rows(connection, select(_TABLE))
    cache = engine_encryption(encryption).cache
    return Kept(rows, cache.active(DEFAULT_KEY), cache.beacons(DEFAULT_KEY))


def local_key_file(folder: Path) -> str:
    """A file with this process's own wrapping key, as the command names one with ``--keyring``."""
    file = folder / "local.key"
    file.write_bytes(base64.b64encode(_OWN))
    file.chmod(0o600)
    return f"local:{file}"


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
