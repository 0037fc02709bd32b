"""Key administration for commands that take keys out of force, for which no key has to open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from encfields.cli.settings import DYNAMODB, Settings, any_key_store_of
from encfields.engine import ValueCounter
from encfields.errors import ConfigurationError
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.store import KeyStore


def administered_key_store(settings: Settings, engine: Engine) -> KeyStore:
    """The key store, bound to its database; its keys need not open."""
    name = settings.key_table_name()
    if name.startswith(DYNAMODB):
        return any_key_store_of(settings.keyring_text(), name)
    store = settings.key_store(keys_needed=False)
    store.bind(engine)
    return store


def key_admin(settings: Settings, engine: Engine) -> KeyAdmin:
    """The administration of keys that need not open, which can count values."""
    store = administered_key_store(settings, engine)
    return KeyAdmin(store, KeyCache(store), ValueCounter(engine))


@contextmanager
def new_receipt_file(name: str | None) -> Iterator[Path | None]:
    """The receipt's file, made before a key is destroyed, when failing still costs nothing.

    It is removed again if nothing was written to it.

    :param name: ``None`` if no receipt is wanted.
    :raises ConfigurationError: it exists already, or cannot be made.
    """
    if name is None:
        yield None
        return
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except OSError as error:
        raise ConfigurationError(
            f"the receipt {name} cannot be written: {error.strerror}; nothing was destroyed",
            reason="receipt",
        ) from None
    file = Path(name)
    try:
        yield file
    finally:
        if not file.stat().st_size:
            file.unlink()
