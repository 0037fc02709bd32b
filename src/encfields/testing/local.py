"""Encryption without AWS: the wrapping key is local, and the key table is in the engine's own
database."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from encfields import keyrings
from encfields.engine import Encryption, attach
from encfields.keys.keyrings.local import LOCAL_KEY_BYTES, LocalKeyring
from encfields.keys.sql.store import SqlKeyStore

if TYPE_CHECKING:
    # It needs greenlet, which a synchronous project may not have.
    from sqlalchemy.ext.asyncio import AsyncEngine


def local_keyring() -> LocalKeyring:
    """A keyring of a new random wrapping key."""
    return keyrings.local(secrets.token_bytes(LOCAL_KEY_BYTES))


def local_store(wrapping_key: LocalKeyring | bytes | None = None) -> SqlKeyStore:
    """A key store with a local wrapping key.

    :param wrapping_key: its keyring, or 32 bytes; by default a new random one.
    """
    if isinstance(wrapping_key, bytes):
        return SqlKeyStore(keyrings.local(wrapping_key))
    return SqlKeyStore(wrapping_key or local_keyring())


def attach_locally(
    engine: Engine | AsyncEngine, wrapping_key: LocalKeyring | bytes | None = None, **options: Any
) -> Encryption:
    """Put encryption on an engine; the key table and keys are created if missing.

    :param engine: the engine, as for :func:`encfields.attach`.
    :param wrapping_key: by default a new one. Engines that share a database need the same.
    :param options: as for :func:`encfields.attach`.
    """
    return attach(engine, local_store(wrapping_key), **{"create": True, **options})


async def attach_locally_async(
    engine: AsyncEngine, wrapping_key: LocalKeyring | bytes | None = None, **options: Any
) -> Encryption:
    """The same in an event loop, without blocking it.

    :param engine: the engine, as :func:`encfields.attach` takes it.
    :param wrapping_key: by default a new one.
    :param options: as for :func:`encfields.attach`; create keys other than ``"default"`` yourself.
    """
    encryption = attach(engine, local_store(wrapping_key), **options)
    await encryption.keys.acreate_table()
    await encryption.keys.acreate("default")
    return encryption
