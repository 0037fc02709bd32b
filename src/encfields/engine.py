"""``attach()`` puts encryption on one engine, and returns an ``Encryption``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.engine import Connection, Dialect, Engine

from encfields import context as encryption_context
from encfields.arguments import kind
from encfields.databases import SUPPORTED
from encfields.errors import BindingError, ConfigurationError
from encfields.expected_arguments import CALLABLE, FLAG, Expected, are_texts, require, takes
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import (
    DEFAULT_CHECK,
    DEFAULT_GRACE,
    DEFAULT_MAX_ENTRIES,
    DEFAULT_TTL,
    KeyCache,
)
from encfields.keys.store import KeyStore
from encfields.keys.versions import asked_ids
from encfields.legacy import LegacyReader
from encfields.message import open_, seal
from encfields.orm import internals
from encfields.orm.engine_encryption import EngineEncryption, attachment_of
from encfields.orm.sealed import OnReveal
from encfields.orm.types import DEFAULT_KEY, statement_parts
from encfields.traces import leaves_no_trace
from encfields.value_counter import ValueCounter

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from encfields.orm.listeners import EngineListeners

_FORMER_METHODS = frozenset({"active_key", "find_key", "index_key"})

_LEGACY_READERS = Expected(
    'a dictionary from a column\'s logical name to its reader, {"patient.ssn": LegacyReader(...)}',
    lambda: Mapping,
    lambda value: (
        are_texts(value) and all(isinstance(reader, LegacyReader) for reader in value.values())
    ),
)


class Encryption:
    """The encryption of one engine, from :func:`attach`.

    It holds no plaintext, and its ``repr`` shows no key.

    :ivar keys: administers its branch keys.
    :ivar stats: counters of what it did.
    """

    def __init__(self, engine: Engine, inner: EngineEncryption, listeners: EngineListeners) -> None:
        self._engine: Engine | None = engine
        self._inner = inner
        self._store = inner.key_store
        self._cache = inner.cache
        self.keys = inner.keys
        self.stats = inner.stats
        self._listeners = listeners

    def __repr__(self) -> str:
        where = "detached" if self._engine is None else repr(self._engine.url)
        return f"<Encryption of {where}, {self._store!r}>"

    @property
    def key_store_name(self) -> str:
        """Logical name of the key store, to which each of its keys is bound.

        :raises KeyStoreError: the store is unreachable.
        """
        return self._store.name

    # -- values outside SQLAlchemy -------------------------------------------------------------

    @leaves_no_trace
    def seal(self, plaintext: bytes, context: Mapping[str, str], key: str = DEFAULT_KEY) -> bytes:
        """Encrypt a value outside the database: a file, a message on a queue.

        :param plaintext: the bytes to protect.
        :param context: what the value is bound to; opening it requires the same pairs. Stored
            readable in the message.
        :param key: branch key id.
        :returns: an AWS Encryption SDK message (docs/format.md).
        :raises BindingError: the context is not usable.
        :raises KeyStoreError: the key cannot be fetched.
        """
        serialized = encryption_context.serialize(context)
        if encryption_context.RUN_KEY in context:
            raise BindingError(
                f"the context key {encryption_context.RUN_KEY!r} is reserved for the jobs of bulk "
                "runs",
                reason="context-reserved",
            )
        asked_ids((key,))
        message = seal(plaintext, serialized, self._inner.active_key(key))
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
        """Decrypt a value that :meth:`seal`, or any AWS Encryption SDK with the same branch key,
        encrypted for exactly this context.

        :param message: the bytes that :meth:`seal` returned.
        :param context: the context that the value must be bound to, pair by pair.
        :param key: id of the branch key that it was sealed under. It is required because anybody
            with any other key could write a message that names that key.
        :param former_keys: ids of keys used before `key`, under which it may also be.
        :returns: the plaintext bytes.
        :raises DecryptionError: it was sealed for another context or under another key, was
            altered, or is not a message.
        :raises KeyStoreError: the key cannot be fetched.
        """
        asked_ids((key,))
        formers = asked_ids(former_keys)
        context_bytes = encryption_context.serialize(context)
        plaintext = open_(
            message, context_bytes, self._inner.find_key, (key, *formers), by_cache=True
        )
        self.stats.opened += 1
        return plaintext

    # -- keys ----------------------------------------------------------------------------------

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Formerly public methods, for existing scripts."""
            if name in _FORMER_METHODS:
                return getattr(self._inner, name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @leaves_no_trace
    @takes(beacons=FLAG)
    def prefetch(self, key_ids: Iterable[str] | None = None, *, beacons: bool = False) -> int:
        """Load keys before the first value needs them.

        :param key_ids: branch key ids; by default every key in the store.
        :param beacons: also load the beacon keys of blind indexes.
        :returns: number of key versions now cached.
        :raises KeyStoreError: a key cannot be fetched.
        """
        return self._cache.prefetch(key_ids, beacons=beacons)

    async def aprefetch(
        self, key_ids: Iterable[str] | None = None, *, beacons: bool = False
    ) -> int:
        """:meth:`prefetch` without blocking the event loop.

        :param key_ids: branch key ids; by default every key in the store.
        :param beacons: also load the beacon keys of blind indexes.
        :returns: number of key versions now cached.
        :raises KeyStoreError: a key cannot be fetched.
        """
        return await self._cache.aprefetch(key_ids, beacons=beacons)

    # -- the engine ----------------------------------------------------------------------------

    def _listen(self, engine: Engine) -> None:
        self._listeners.put_on(engine)
        attachment = attachment_of(engine.dialect)
        attachment.encryption, attachment.handle = self._inner, self

    def detach(self) -> None:
        """Remove the encryption from the engine; it refuses encrypted columns afterwards."""
        if self._engine is None:
            return
        engine, self._engine = self._engine, None
        self._listeners.take_off(engine)
        attachment = attachment_of(engine.dialect)
        attachment.encryption = attachment.handle = None
        self._cache.close()


@leaves_no_trace  # a URL has a password
def encryption_of(bind: Engine | AsyncEngine | Connection | AsyncConnection) -> Encryption:
    """The encryption that :func:`attach` put on an engine.

    :param bind: the engine, a view of it from ``execution_options()``, or a connection; for a
        session, ``session.get_bind()``.
    :raises NotAttachedError: the engine has none.
    :raises ConfigurationError: `bind` is neither an engine nor a connection.
    """
    dialect = getattr(bind, "dialect", None)
    if not isinstance(dialect, Dialect):
        raise ConfigurationError(
            f"encryption_of() takes an engine or a connection, not {kind(bind)}",
            reason="engine",
        )
    attachment = attachment_of(dialect)
    attachment.require()
    return cast("Encryption", attachment.handle)


def known_encryption(dialect: Dialect) -> Encryption | None:
    """The encryption of the engine that a dialect belongs to, if there is one."""
    return cast("Encryption | None", attachment_of(dialect).handle)


def engine_encryption(encryption: Encryption) -> EngineEncryption:
    """The keys and settings behind an :class:`Encryption`, for the library's own modules."""
    return encryption._inner


@leaves_no_trace  # also of a key that was given in a key store's place
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
    data_key_cache: bool = True,
    destroyed: object = "raise",
    legacy: Mapping[str, LegacyReader] | None = None,
    on_reveal: OnReveal | None = None,
) -> Encryption:
    """Encrypt and decrypt the encrypted columns that go through `engine`.

    Nothing is global: an engine that is not attached refuses encrypted values. Views of the engine
    from ``engine.execution_options()`` are included.

    :param engine: an ``Engine`` or ``AsyncEngine``.
    :param key_store: stores the branch keys. A ``SqlKeyStore`` without an engine of its own is
        bound to this one.
    :param create: create the key table, and each key on first use, if missing. For demonstrations
        and tests: in production create keys deliberately, with ``keys.create()``.
    :param cache_ttl: seconds that a branch key is used before it is fetched from KMS again, so how
        soon a revoked permission takes effect.
    :param cache_grace: seconds past `cache_ttl` during which values can still be read, but not
        written, while KMS or the key store is unreachable.
    :param cache_entries: most branch key versions to hold in memory.
    :param cache_renewal: seconds before its end at which a branch key in use is fetched again in
        the background, so that no value waits for KMS; by default a tenth of `cache_ttl`. 0
        fetches it when it is next needed.
    :param cache_check: seconds that new values are sealed under a branch key before the key store
        is asked, without KMS, whether the key is still active: how soon a process stops writing
        under a key that another one destroyed, and starts to use one that it rotated. Set the same
        value in every process, since destroying a key waits that long.
    :param data_key_cache: whether a value that was opened before, under a branch key that is still
        cached, is opened without unwrapping its data key again, which takes most of the time. Its
        content is authenticated every time, and no plaintext is kept. ``False`` unwraps it for
        every reading.
    :param destroyed: what a column's value under a destroyed key reads as: ``"raise"``, for
        :class:`~encfields.errors.KeyDestroyedError`, or ``None``, or an object of your own that
            cannot be a column's value. Only ``None`` can be written back.
    :param legacy: readers of values that were encrypted by hand with the AWS Encryption SDK, by the
        column's logical name (``"patient.ssn"``): see :mod:`encfields.legacy`.
    :param on_reveal: called with a :class:`~encfields.Reveal` before each value of a lazy column
        is revealed, for an audit log; raise to refuse the value.
    :returns: the engine's encryption.
    :raises ConfigurationError: the engine already has an encryption, its driver cannot be used,
        an argument has the wrong type, or `destroyed` could be a column's value.
    :raises KeyStoreError: with `create`, the key table cannot be created.
    """
    sync_engine = _engine_to_attach(engine)
    _check_key_store(key_store)
    _check_sentinel(destroyed)
    require("create", FLAG, create)
    require("legacy", _LEGACY_READERS.or_none, legacy)
    require("on_reveal", CALLABLE.or_none, on_reveal)
    if not key_store.is_bound:
        key_store.bind(sync_engine)
    if sync_engine.dialect.is_async:
        # Now, at start-up: later it would block an event loop.
        key_store.preload()
    cache = KeyCache(
        key_store,
        ttl=cache_ttl,
        grace=cache_grace,
        max_entries=cache_entries,
        renew_before=cache_renewal,
        check=cache_check,
        data_key_cache=data_key_cache,
    )
    inner = EngineEncryption(
        cache,
        KeyAdmin(key_store, cache, ValueCounter(sync_engine)),
        create=create,
        destroyed=destroyed,
        legacy=dict(legacy or {}),
        on_reveal=on_reveal,
    )
    # Not at the top: a program that only declares tables, such as a migration, does not need the
    # modules that process statements. They are all imported here, before the first statement.
    from encfields.orm.listeners import EngineListeners

    statement_parts()
    encryption = Encryption(sync_engine, inner, EngineListeners(sync_engine, inner))
    if create and not key_store.needs_greenlet:
        # Now, because SQLite has one writer: later the application's transaction may be it.
        encryption.keys.create_table()
        inner.active_key(DEFAULT_KEY)
        cache.beacons(DEFAULT_KEY)
    encryption._listen(sync_engine)
    return encryption


def _engine_to_attach(engine: object) -> Engine:
    """The engine to listen to.

    :raises ConfigurationError: it is not an engine, of an unsupported database or driver, or
        already attached.
    """
    sync_engine: Any = internals.plain_engine(getattr(engine, "sync_engine", engine))
    if not isinstance(sync_engine, Engine):
        raise ConfigurationError(
            f"attach() takes an Engine or AsyncEngine, not {kind(engine)}",
            reason="engine",
        )
    if sync_engine.dialect.name not in SUPPORTED:
        raise ConfigurationError(
            f"{sync_engine.dialect.name} is not supported; {', '.join(sorted(SUPPORTED))} are",
            reason="dialect",
        )
    refuse_driver(sync_engine.dialect)
    if attachment_of(sync_engine.dialect).encryption is not None:
        raise ConfigurationError(
            "this engine is attached already; call detach() on its Encryption first",
            reason="attached-twice",
        )
    return sync_engine


def _check_key_store(key_store: object) -> None:
    """
    :raises ConfigurationError: it is not a key store.
    """
    if not isinstance(key_store, KeyStore):
        raise ConfigurationError(
            "attach() takes a key store such as SqlKeyStore(keyrings.aws_kms(...)), not a "
            f"{type(key_store).__name__}",
            reason="key-store",
        )


def _check_sentinel(destroyed: object) -> None:
    """Refuse an object that could be a column's value."""
    is_plain = isinstance(destroyed, (str, bytes, int, float, dict, list, tuple))
    if is_plain and destroyed != "raise":
        raise ConfigurationError(
            'destroyed= takes "raise", None, or an object that cannot be a value, such as '
            "one of a class or enumeration of your own",
            reason="destroyed",
        )


def refuse_driver(dialect: Dialect) -> None:
    """Refuse a driver that cannot send encrypted values.

    :raises ConfigurationError: names the driver, and what to use instead.
    """
    if dialect.driver == "aiomysql" and not _aiomysql_sends_bytes():
        raise ConfigurationError(
            "aiomysql cannot send bytes with the PyMySQL that is installed, so no encrypted value "
            "could be stored: use asyncmy (mysql+asyncmy://), or install PyMySQL<1.2",
            reason="driver",
        )


def _aiomysql_sends_bytes() -> bool:
    """Whether aiomysql found PyMySQL's function for writing bytes."""
    from importlib import import_module

    return callable(getattr(import_module("aiomysql.connection"), "escape_bytes_prefixed", None))
