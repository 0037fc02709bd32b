"""The administration of keys, as ``encryption.keys``."""

from __future__ import annotations

from encfields.errors import ConfigurationError
from encfields.keys.cache import KeyCache
from encfields.keys.store import KeyStore, KeyVersion

Versions = list[KeyVersion]


class KeyAdmin:
    """Creates, rotates and lists keys. Each verb has a twin with an ``a`` for coroutines.

    Called from a coroutine, the plain verbs block the event loop; the twins do not.

    :param store: where keys are kept.
    :param cache: the cache of this process, which uses a new version at once. Other processes
        use it when their copy of the old one expires.
    """

    def __init__(self, store: KeyStore, cache: KeyCache) -> None:
        self._store = store
        self._cache = cache

    def __repr__(self) -> str:
        return f"<KeyAdmin of {self._store!r}>"

    def create(self, key_id: str) -> KeyVersion:
        """Make a new key.

        :param key_id: for instance ``"default"`` or ``"tenant/42"``, at most 255 characters.
        :raises KeyExistsError: there is one of that id; that one is in force.
        :raises KeyUnavailableError: KMS or the database is out of reach.
        :raises ConfigurationError: the key table is missing, or the keyring only opens.
        """
        made = self._store.create(key_id)
        self._cache.forget(key_id)
        return made

    async def acreate(self, key_id: str) -> KeyVersion:
        """:meth:`create` from a coroutine."""
        return await self._cache.runner.arun(lambda: self.create(key_id))

    def rotate(self, key_id: str) -> KeyVersion:
        """Make a new version, which seals new values from now on; old values stay readable.

        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        :raises KeyUnavailableError: KMS or the database is out of reach.
        """
        made = self._store.rotate(key_id)
        self._cache.forget(key_id, active_only=True)
        return made

    async def arotate(self, key_id: str) -> KeyVersion:
        """:meth:`rotate` from a coroutine."""
        return await self._cache.runner.arun(lambda: self.rotate(key_id))

    def create_table(self) -> None:
        """Make the key table unless it is there.

        :raises ConfigurationError: the store keeps its keys elsewhere than in a table.
        """
        make = getattr(self._store, "create_table", None)
        if make is None:
            raise ConfigurationError(
                f"{type(self._store).__name__} has no table to make", reason="no-table-store"
            )
        make()

    async def acreate_table(self) -> None:
        """:meth:`create_table` from a coroutine."""
        await self._cache.runner.arun(self.create_table)

    async def alist(self) -> Versions:
        """:meth:`list` from a coroutine."""
        return await self._cache.runner.arun(self._store.list)

    def list(self) -> Versions:
        """Every version of every key, ordered by id and age; never any key material."""
        return self._store.list()
