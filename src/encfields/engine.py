"""``attach()``: put encryption on one engine; ``Encryption``: what it gives back."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect, Engine

from encfields import context as encryption_context
from encfields.branch_key import BranchKey
from encfields.drivers import refuse_driver
from encfields.errors import (
    BindingError,
    ConfigurationError,
    KeyExistsError,
    KeyNotFoundError,
)
from encfields.index.beacon import index_key
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import (
    DEFAULT_CHECK,
    DEFAULT_GRACE,
    DEFAULT_MAX_ENTRIES,
    DEFAULT_TTL,
    KeyCache,
)
from encfields.keys.removal import CountableTable, Counted
from encfields.keys.sql.connection import OwnConnection
from encfields.keys.store import BeaconKey, KeyStore
from encfields.legacy import LegacyReader
from encfields.message import open_, seal
from encfields.orm import internals
from encfields.orm.adoption.writes import write_plaintext_along
from encfields.orm.engine_encryption import attachment_of
from encfields.orm.query.list_comparison import ask_lists
from encfields.orm.query.pending_rows import read_plaintext
from encfields.orm.read.async_prefetch import AsyncPrefetch
from encfields.orm.types import DEFAULT_KEY
from encfields.orm.write.hook import WriteHook
from encfields.orm.write.index_values import write_indexes_along
from encfields.orm.write.redaction import Redaction
from encfields.orm.write.row_update import complete_row_updates
from encfields.orm.write.veiled import veil_written
from encfields.stats import Stats
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

SUPPORTED_DATABASES = frozenset({"postgresql", "mysql", "mariadb", "sqlite"})
"""SQLAlchemy's names of the dialects for which the row's key can be delivered beside a value."""


LOOK_AGAIN_SECONDS = 1.0
"""How soon a process looks again for a beacon key version that it did not find."""

MAX_LOOKED_AGAIN = 1_000
"""Keys at most for which it is remembered when that was."""


class ValueCounter:
    """Counts an engine's values under a key; holds the engine no longer than others do.

    :param engine: of an ``AsyncEngine``, its ``sync_engine``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)

    def __call__(
        self, tables: Sequence[CountableTable], key_id: str, version: str | None = None
    ) -> Counted:
        engine = self._engine()
        if engine is None:
            raise ConfigurationError("the engine is gone", reason="no-database")
        counted = OwnConnection(engine).run(
            lambda own: [table.count_under(own, key_id, version) for table in tables]
        )
        return [name for name, _ in counted], [one for _, found in counted for one in found]


class Encryption:
    """The encryption of one engine.

    Made by :func:`attach`. It holds no plaintext, and its ``repr`` shows no key.
    """

    def __init__(
        self,
        engine: Engine,
        key_store: KeyStore,
        cache: KeyCache,
        *,
        create: bool = False,
        destroyed: object = "raise",
    ) -> None:
        self._engine: Engine | None = engine
        self._store = key_store
        self._cache = cache
        self._create = create
        self.destroyed = destroyed
        self.legacy: Mapping[str, LegacyReader] = {}
        self.keys = KeyAdmin(key_store, cache, ValueCounter(engine))
        self.stats = Stats(cache)
        self.find_key = cache.find
        self._hook = WriteHook(self)
        self._redaction = Redaction()
        self._looked_again: dict[str, float] = {}
        self._is_async = engine.dialect.is_async
        # ANY of a list; elsewhere no statement is looked through for what the database has not.
        self._has_list_comparisons = engine.dialect.name == "postgresql"
        self._async_prefetch = AsyncPrefetch(cache.holds)

    def __repr__(self) -> str:
        where = "detached" if self._engine is None else repr(self._engine.url)
        return f"<Encryption of {where}, {self._store!r}>"

    @property
    def key_store_name(self) -> str:
        """Logical name of the key store, to which each of its keys is bound.

        :raises KeyStoreError: the store cannot be asked.
        """
        return self._store.name

    # -- values outside SQLAlchemy -------------------------------------------------------------

    @leaves_no_trace
    def seal(self, plaintext: bytes, context: Mapping[str, str], key: str = DEFAULT_KEY) -> bytes:
        """Encrypt a value that no column holds: a file, a message on a queue.

        :param plaintext: the bytes to protect.
        :param context: what the value is bound to; the same pairs are asked for to open it.
            Stored readable in the message.
        :param key: branch key id.
        :returns: an AWS Encryption SDK message.
        :raises BindingError: the context is not usable.
        :raises KeyStoreError: the key cannot be had.
        """
        if encryption_context.RUN_KEY in context:
            raise BindingError(
                f"the context key {encryption_context.RUN_KEY!r} is for the jobs of bulk runs, "
                "which nobody else may write",
                reason="context-reserved",
            )
        message = seal(plaintext, encryption_context.serialize(context), self.active_key(key))
        self.stats.sealed += 1
        return message

    @leaves_no_trace
    def open(
        self,
        message: bytes,
        context: Mapping[str, str],
        key: str = DEFAULT_KEY,
        former_keys: Sequence[str] | str = (),
    ) -> bytes:
        """Decrypt a value that :meth:`seal`, or any AWS Encryption SDK with the same branch
        key, encrypted for exactly this context.

        :param key: branch key id, the one that it was sealed under: a message names its key, but
            whoever holds any other could have written it.
        :param former_keys: ids under which it may be as well, from before `key` was chosen.
        :raises DecryptionError: it was sealed for another context or under another key, altered,
            or is no message.
        :raises KeyStoreError: the key cannot be had.
        """
        formers = (former_keys,) if isinstance(former_keys, str) else former_keys
        context_bytes = encryption_context.serialize(context)
        plaintext = open_(message, context_bytes, self.find_key, (key, *formers))
        self.stats.opened += 1
        return plaintext

    # -- keys ----------------------------------------------------------------------------------

    def active_key(self, key_id: str) -> BranchKey:
        """The branch key version that seals new values of `key_id`; for this library's own use.

        :raises KeyStoreError: it cannot be had.
        """
        if not self._create:
            return self._cache.active(key_id)
        try:
            return self._cache.active(key_id)
        except KeyNotFoundError:
            pass
        except ConfigurationError as error:
            if error.reason != "no-key-table":
                raise
            self.keys.create_table()
        self._create_key(key_id)
        return self._cache.active(key_id)

    def index_key(
        self, key_id: str, version: int, domain: str, derivation: str, *, for_writing: bool
    ) -> bytes:
        """The key of a blind index, 32 bytes; for this library's own use.

        :param version: of the beacon key of `key_id`.
        :param for_writing: to store an index, and not only to look for one.
        :raises KeyStoreError: the beacon key cannot be had, or has no such version.
        """
        beacon = self._beacon(key_id, version, for_writing=for_writing)
        key: bytes | None = beacon.derived.get((domain, derivation))
        if key is None:
            key = beacon.derived[domain, derivation] = index_key(
                beacon.material, domain, derivation
            )
        return key

    def _beacon(self, key_id: str, version: int, *, for_writing: bool) -> BeaconKey:
        if self._create:
            self.active_key(key_id)
        beacons = self._cache.beacons(key_id, for_writing=for_writing)
        if version > beacons[-1].version and self._may_look_again(key_id):
            # It may have been made since this process looked last.
            beacons = self._cache.beacons_anew(key_id)
        for beacon in beacons:
            if beacon.version == version:
                return beacon
        there = ", ".join(str(beacon.version) for beacon in beacons)
        raise KeyNotFoundError(
            f"its beacon key has no version {version}, only {there}: make the next one with "
            "keys.rotate_beacon(), or name in BlindIndex(versions=...) those that are in force",
            key_id=key_id,
            reason="beacon-version",
        )

    def _may_look_again(self, key_id: str) -> bool:
        """Whether this process did not do so just now: each time costs a KMS call."""
        now = time.monotonic()
        if now < self._looked_again.get(key_id, 0.0) + LOOK_AGAIN_SECONDS:
            return False
        if len(self._looked_again) >= MAX_LOOKED_AGAIN:
            self._looked_again.clear()
        self._looked_again[key_id] = now
        return True

    def require_keys(self, key_ids: Set[str]) -> None:
        """Fetch the active versions of several keys at once, those at hand excepted; for this
        library's own use. A key that is missing is left to whoever asks for it.

        :raises KeyStoreError: one cannot be had.
        """
        self._prefetch_missing(self._cache.without(key_ids), beacons=False)

    def require_beacons(self, key_ids: Set[str]) -> None:
        """The same of their beacon keys.

        :raises KeyStoreError: one cannot be had.
        """
        self._prefetch_missing(self._cache.without(key_ids, beacons=True), beacons=True)

    def _prefetch_missing(self, missing: list[str], *, beacons: bool) -> None:
        if len(missing) > 1:
            try:
                self._cache.prefetch(missing, active_only=True, beacons=beacons)
            except ConfigurationError as error:
                if not self._create or error.reason != "no-key-table":
                    raise

    def _create_key(self, key_id: str) -> None:
        try:
            self.keys.create(key_id)
        except KeyExistsError:  # another process made it just now
            self._cache.forget(key_id)

    @leaves_no_trace
    def prefetch(self, key_ids: Iterable[str] | None = None, *, beacons: bool = False) -> int:
        """Load keys ahead of the first value that needs them.

        :param key_ids: branch key ids; by default every key in the store.
        :param beacons: the beacon keys of blind indexes as well.
        :returns: how many key versions are now at hand.
        """
        return self._cache.prefetch(key_ids, beacons=beacons)

    async def aprefetch(
        self, key_ids: Iterable[str] | None = None, *, beacons: bool = False
    ) -> int:
        """:meth:`prefetch` without blocking the event loop."""
        return await self._cache.aprefetch(key_ids, beacons=beacons)

    # -- the engine ----------------------------------------------------------------------------

    def _listeners(self) -> list[tuple[str, Any, bool]]:
        listeners = [
            ("before_execute", complete_row_updates, True),
            ("before_execute", self._redaction.note_statement, False),
            ("before_execute", veil_written, False),
            ("before_execute", write_indexes_along, True),
            ("before_execute", self._hook.keys.ask, True),
            ("before_cursor_execute", self._hook.before_cursor_execute, True),
            ("after_execute", self._hook.after_execute, False),
            ("handle_error", self._redaction.hide_unsealed_parameters, False),
        ]
        listeners.insert(0, ("before_execute", write_plaintext_along, True))
        listeners.insert(0, ("before_execute", read_plaintext, True))
        if self._has_list_comparisons:
            listeners.insert(0, ("before_execute", ask_lists, True))
        if self._is_async:
            listeners.append(("after_execute", self._async_prefetch.after_execute, False))
        return listeners

    def _listen(self, engine: Engine) -> None:
        for name, listener, changes in self._listeners():
            if changes:
                event.listen(engine, name, listener, retval=True)
            else:
                event.listen(engine, name, listener)
        attachment_of(engine.dialect).encryption = self

    def detach(self) -> None:
        """Take the encryption off the engine; encrypted columns are refused from then on."""
        if self._engine is None:
            return
        engine, self._engine = self._engine, None
        for name, listener, _ in self._listeners():
            event.remove(engine, name, listener)
        attachment_of(engine.dialect).encryption = None
        self._cache.close()


def encryption_of(bind: Engine | AsyncEngine | Connection | AsyncConnection) -> Encryption:
    """The encryption that :func:`attach` put on an engine: for whoever has the engine, and not
    what ``attach()`` returned.

    :param bind: the engine, a view of it that ``execution_options()`` gave, or a connection; of a
        session, ``session.get_bind()``.
    :raises NotAttachedError: there is none.
    :raises ConfigurationError: `bind` is neither an engine nor a connection.
    """
    dialect = getattr(bind, "dialect", None)
    if not isinstance(dialect, Dialect):
        raise ConfigurationError(
            f"encryption_of() takes an engine or a connection, not a {type(bind).__name__}",
            reason="engine",
        )
    return cast("Encryption", attachment_of(dialect).require())


def known_encryption(dialect: Dialect) -> Encryption | None:
    """The encryption of the engine that a dialect belongs to, if there is one."""
    return cast("Encryption | None", attachment_of(dialect).encryption)


def attach(
    engine: Engine | AsyncEngine,
    key_store: KeyStore,
    *,
    create: bool = False,
    cache_ttl: float = DEFAULT_TTL,
    cache_grace: float = DEFAULT_GRACE,
    cache_entries: int = DEFAULT_MAX_ENTRIES,
    cache_renewal: float | None = None,
    cache_check: float = DEFAULT_CHECK,
    destroyed: object = "raise",
    legacy: Mapping[str, LegacyReader] | None = None,
) -> Encryption:
    """Encrypt and decrypt the encrypted columns that go through `engine`.

    Nothing is global: an engine that is not attached refuses encrypted values. The engines that
    ``engine.execution_options()`` gives are views of the same one and are covered.

    :param engine: an ``Engine`` or ``AsyncEngine``.
    :param key_store: where branch keys are kept. A ``SqlKeyStore`` without an engine of its own
        is bound to this one.
    :param create: make the key table, and each key when it is first used, if missing. For
        demonstrations and tests: in production make keys on purpose, with ``keys.create()``.
    :param cache_ttl: seconds for which a branch key is used before KMS is asked again; how soon
        a permission that was taken away takes effect.
    :param cache_grace: seconds past `cache_ttl` for which values can still be read, not
        written, while KMS or the key store is out of reach.
    :param cache_entries: branch key versions held in memory at most.
    :param cache_renewal: seconds before its end at which a branch key in use is fetched anew in
        the background, so that no value waits for KMS; by default a tenth of `cache_ttl`. 0 to
        fetch it when it is next needed.
    :param cache_check: seconds for which new values are sealed under a branch key before the key
        store is asked, without KMS, whether the key is still in force: how soon a process stops
        writing under a key that another one destroyed, and takes up one that it rotated. Give it
        the same value in every process, since destroying a key waits that long.
    :param destroyed: what a column's value under a destroyed key reads as: ``"raise"``, for
        :class:`~encfields.errors.KeyDestroyedError`, or ``None``, or an object of your own that
        is no value of a column. It cannot be written back, ``None`` excepted.
    :param legacy: what opens values that were encrypted by hand with the AWS Encryption SDK, by
        the column's logical name (``"patient.ssn"``): see :mod:`encfields.legacy`.
    :raises ConfigurationError: the engine has an encryption already, its driver cannot be used,
        an argument is of another type, or `destroyed` could be taken for a value.
    :raises KeyStoreError: with `create`, the key table cannot be made.
    """
    sync_engine: Any = internals.plain_engine(getattr(engine, "sync_engine", engine))
    if not isinstance(sync_engine, Engine):
        raise ConfigurationError(
            f"attach() takes an Engine or AsyncEngine, not a {type(engine).__name__}",
            reason="engine",
        )
    if sync_engine.dialect.name not in SUPPORTED_DATABASES:
        raise ConfigurationError(
            f"{sync_engine.dialect.name} is not supported; "
            f"{', '.join(sorted(SUPPORTED_DATABASES))} are",
            reason="dialect",
        )
    refuse_driver(sync_engine.dialect)
    if attachment_of(sync_engine.dialect).encryption is not None:
        raise ConfigurationError(
            "this engine has an encryption already; call its detach() first",
            reason="attached-twice",
        )
    if not isinstance(key_store, KeyStore):
        raise ConfigurationError(
            "attach() takes a key store such as SqlKeyStore(keyrings.aws_kms(...)), not a "
            f"{type(key_store).__name__}",
            reason="key-store",
        )
    _check_sentinel(destroyed)
    if not key_store.is_bound:
        key_store.bind(sync_engine)
    if sync_engine.dialect.is_async:
        # Now, at start-up: an event loop would stand still for it later.
        key_store.preload()
    cache = KeyCache(
        key_store,
        ttl=cache_ttl,
        grace=cache_grace,
        max_entries=cache_entries,
        renew_before=cache_ttl / 10 if cache_renewal is None else cache_renewal,
        check=cache_check,
    )
    encryption = Encryption(sync_engine, key_store, cache, create=create, destroyed=destroyed)
    encryption.legacy = dict(legacy or {})
    if create and not key_store.needs_greenlet:
        # Now, because SQLite has one writer: later the application's own transaction may hold it.
        encryption.keys.create_table()
        encryption.active_key(DEFAULT_KEY)
        cache.beacons(DEFAULT_KEY)
    encryption._listen(sync_engine)
    return encryption


def _check_sentinel(destroyed: object) -> None:
    """Refuse what a column's value could be, so that nobody takes the one for the other."""
    is_plain = isinstance(destroyed, (str, bytes, int, float, dict, list, tuple))
    if is_plain and destroyed != "raise":
        raise ConfigurationError(
            'destroyed= takes "raise", None, or an object that is no value of a column, such as '
            "one of a class or enumeration of your own",
            reason="destroyed",
        )
