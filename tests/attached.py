"""An engine with an encryption on it, whose keys were made once for many databases."""

from __future__ import annotations

import base64
import functools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, insert, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from encfields import Encryption, attach
from encfields.branch_key import BranchKey
from encfields.engine import engine_encryption
from encfields.keys.sql import store as sql_store
from encfields.keys.versions import BeaconKey
from encfields.orm.types import DEFAULT_KEY
from encfields.testing import local_store

Rows = list[dict[str, Any]]


@dataclass
class Kept:
    """What a key of the first test was, as the driver and as the library read it from the table."""

    rows: Rows
    active: BranchKey
    beacons: tuple[BeaconKey, ...]


@dataclass(frozen=True)
class Statements:
    """What makes the key table, and what fills it, with the order of its values if they have one.

    To compile them takes longer than to run them, and each engine would anew.
    """

    create: str
    fill: str
    positions: Sequence[str] | None


_OWN = secrets.token_bytes(32)
"""The wrapping key of who names none, and of :func:`local_key_file`."""

_kept: dict[tuple[str, bytes], Kept] = {}
"""By database and wrapping key."""
_kept_keys: dict[tuple[str, str], Kept] = {}
"""The same of a further key: by key store and key."""
_compiled: dict[tuple[type[Dialect], bool, str], Statements] = {}
"""By dialect, server and style of parameters."""


_TABLE = local_store().table

# All key stores of this process have their table declared once, which each would anew. It changes
# how long it takes to make a store and nothing else.
sql_store.key_table = functools.cache(sql_store.key_table)  # type: ignore[attr-defined]


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
            _kept[place] = _made(plain or engine, encryption, DEFAULT_KEY, is_first=True)
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
    if kept is None:
        with engine.connect() as connection:
            return not inspect(connection).has_table(_TABLE.name)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(_statements(engine.dialect).create)
            _insert(connection, kept.rows)
    except DBAPIError:
        # Which is seldom so: to ask first takes longer than to make it.
        with engine.connect() as connection:
            if not inspect(connection).has_table(_TABLE.name):
                raise
        return False
    return True


def _insert(connection: Connection, rows: Rows) -> None:
    """Put rows into the key table as the driver has delivered them."""
    statements = _statements(connection.dialect)
    order = statements.positions
    values: list[Any] = [tuple(row[name] for name in order) for row in rows] if order else rows
    connection.exec_driver_sql(statements.fill, values)


def _statements(dialect: Dialect) -> Statements:
    """The key table's, compiled once for all engines of a driver."""
    place = type(dialect), getattr(dialect, "is_mariadb", False), dialect.paramstyle
    if place not in _compiled:
        fill = insert(_TABLE).compile(dialect=dialect)
        create = CreateTable(_TABLE).compile(dialect=dialect)
        _compiled[place] = Statements(str(create), str(fill), fill.positiontup)
    return _compiled[place]


def _made(engine: Engine, encryption: Encryption, key_id: str, *, is_first: bool) -> Kept:
    """A key that the library has made.

    :param engine: any on the database.
    :param is_first: it is the only one, and all that the key table holds is to be kept with it.
    """
    with engine.connect() as connection:
        sql = str(select(_TABLE).compile(dialect=engine.dialect))
        rows = [dict(row) for row in connection.exec_driver_sql(sql).mappings()]
    cache = engine_encryption(encryption).cache
    kept = [row for row in rows if is_first or row["key_id"] == key_id]
    return Kept(kept, cache.active(key_id), cache.beacons(key_id))


def _put_into_cache(encryption: Encryption, key_id: str, kept: Kept) -> None:
    entries = engine_encryption(encryption).cache._entries
    entries.keep(key_id, entries.own(key_id, kept.active), monotonic())
    entries.keep((key_id, None), kept.beacons, None)


def local_key_file(folder: Path, wrapping_key: bytes = _OWN) -> str:
    """A file with a wrapping key, as the command names one with ``--keyring``.

    :param wrapping_key: this process's own, if not another.
    """
    file = folder / "local.key"
    file.write_bytes(base64.b64encode(wrapping_key))
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
                _insert(connection, kept.rows)
        _put_into_cache(encryption, key_id, kept)
        return
    encryption.keys.create(key_id)
    _kept_keys[place] = _made(engine, encryption, key_id, is_first=False)
