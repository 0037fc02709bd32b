"""An engine with an encryption on it, whose keys were made once for many databases."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from sqlalchemy import Engine, Select, insert, inspect, select

from encfields import Encryption, attach
from encfields.branch_key import BranchKey
from encfields.engine import engine_encryption
from encfields.keys.versions import BeaconKey
from encfields.orm.types import DEFAULT_KEY
from encfields.testing import local_store

Rows = list[dict[str, Any]]


@dataclass
class Kept:
    """What a key of the first test was, in the key table and as the library read it from there."""

    rows: Rows
    active: BranchKey
    beacons: tuple[BeaconKey, ...]


_OWN = secrets.token_bytes(32)
"""The wrapping key of who names none, and of :func:`local_key_file`."""

_kept: dict[tuple[str, bytes], Kept] = {}
"""By database and wrapping key."""
_kept_keys: dict[tuple[str, str], Kept] = {}
"""The same of a further key: by key store and key."""


_TABLE = local_store().table


def attach_with_kept_keys(
    engine: Engine,
    wrapping_key: bytes = _OWN,
    *,
    plain: Engine | None = None,
    are_there: bool = False,
    **options: Any,
) -> Encryption:
    """As :func:`encfields.testing.attach_locally`, for tests that are about something else than
    how keys are made.

    The library makes the first test's keys. In every later database their rows are put into the
    key table, and the cache has them as if it had just read them: to wrap, confirm and unwrap
    keys is most of what setting up a test takes.

    :param wrapping_key: the same for whoever is to open the keys; by default one of the process.
    :param plain: another engine on the database, to leave `engine` without a connection.
    :param are_there: the key table is known to hold them: nothing is asked of the database.
    :param options: as for :func:`encfields.attach`.
    """
    place = engine.dialect.name, wrapping_key
    kept = _kept.get(place)
    is_new = not are_there and _make_key_table(plain or engine, kept)
    if not kept or not (is_new or are_there):
        encryption = attach(engine, local_store(wrapping_key), **{"create": True, **options})
        if is_new:
            _kept[place] = _made(plain or engine, encryption, DEFAULT_KEY, select(_TABLE))
        return encryption
    encryption = attach(engine, local_store(wrapping_key), **{**options, "create": False})
    # Which is for keys that are asked for from now on: what it makes at once is there.
    engine_encryption(encryption)._create = options.get("create", True)
    _put_into_cache(encryption, DEFAULT_KEY, kept)
    return encryption


def make_kept_keys(engine: Engine, wrapping_key: bytes) -> None:
    """Put the keys into an empty database for which :func:`attach_with_kept_keys` was called."""
    _make_key_table(engine, _kept[engine.dialect.name, wrapping_key])


def _make_key_table(engine: Engine, kept: Kept | None) -> bool:
    """Make a key table with the kept keys in it, if there are any.

    :returns: whether there was no key table.
    """
    with engine.begin() as connection:
        if inspect(connection).has_table(_TABLE.name):
            return False
        if kept:
            _TABLE.create(connection, checkfirst=False)
            connection.execute(insert(_TABLE), kept.rows)
    return True


def _made(engine: Engine, encryption: Encryption, key_id: str, rows: Select[Any]) -> Kept:
    """A key that the library has made.

    :param engine: any on the database. :param rows: what to keep of the key table.
    """
    with engine.connect() as connection:
        kept = [dict(row) for row in connection.execute(rows).mappings()]
    cache = engine_encryption(encryption).cache
    return Kept(kept, cache.active(key_id), cache.beacons(key_id))


def _put_into_cache(encryption: Encryption, key_id: str, kept: Kept) -> None:
    entries = engine_encryption(encryption).cache._entries
    entries.keep(key_id, kept.active, monotonic())
    entries.keep((key_id, None), kept.beacons, None)


def local_key_file(folder: Path) -> str:
    """A file with this process's own wrapping key, as the command names one with ``--keyring``."""
    file = folder / "local.key"
    file.write_bytes(base64.b64encode(_OWN))
    file.chmod(0o600)
    return f"local:{file}"


def create_kept_key(
    engine: Engine, encryption: Encryption, key_id: str, *, is_there: bool = False
) -> None:
    """A further key for such tests, which the library makes once for each key store.

    :param engine: any on the database.
    :param is_there: the key table is known to hold it.
    """
    place = encryption.keys.store_name, key_id
    if kept := _kept_keys.get(place):
        if not is_there:
            with engine.begin() as connection:
                connection.execute(insert(_TABLE), kept.rows)
        _put_into_cache(encryption, key_id, kept)
        return
    encryption.keys.create(key_id)
    of_key = select(_TABLE).where(_TABLE.c.key_id == key_id)
    _kept_keys[place] = _made(engine, encryption, key_id, of_key)
