"""Key administration for commands that take keys out of force, for which no key has to open."""

from __future__ import annotations

import os
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


def new_receipt_file(name: str | None) -> Path | None:
    """Make the receipt's file before the key is destroyed, not after: it might fail.

    :raises ConfigurationError: it is there already, or cannot be made.
    """
    if name is None:
        return None
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except OSError as error:
        raise ConfigurationError(
            f"the receipt {name} cannot be written: {error.strerror}; nothing was destroyed",
            reason="receipt",
        ) from None
    return Path(name)
