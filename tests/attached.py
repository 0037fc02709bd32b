"""An engine with an encryption on it: a local wrapping key, the key table in the same database."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from encfields import Encryption, SqlKeyStore, attach, keyrings


def local_store(wrapping_key: bytes | None = None) -> SqlKeyStore:
    """A key store with a local wrapping key, by default a random one."""
    return SqlKeyStore(keyrings.local(wrapping_key or secrets.token_bytes(32)))


def attach_locally(engine: Engine, **options: Any) -> Encryption:
    """Put encryption on `engine`; the key table and the keys are made when they are missing.

    :param options: as for :func:`encfields.attach`.
    """
    return attach(engine, local_store(), **{"create": True, **options})


async def attach_locally_async(engine: AsyncEngine, **options: Any) -> Encryption:
    """The same for an ``AsyncEngine``, without blocking its event loop."""
    encryption = attach(engine, local_store(), **options)
    await encryption.keys.acreate_table()
    await encryption.keys.acreate("default")
    return encryption
