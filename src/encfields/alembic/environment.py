"""Settings from ``env.py``: keys, run options, and leaving the migration's transaction.

Keys and re-encrypted values are committed on separate connections. Earlier operations of the same
revision would have to be committed first, without the version number, and a revision killed after
that could not be run again. So these operations must come first.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, text

from encfields.alembic import internals
from encfields.alembic.errors import MigrationError
from encfields.arguments import kind
from encfields.bulk.options import Options
from encfields.engine import Encryption, attach, engine_encryption, known_encryption
from encfields.errors import ConfigurationError, EncFieldsError
from encfields.keys.sql.schema import key_table
from encfields.keys.sql.store import SqlKeyStore
from encfields.keys.store import KeyStore

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

    from encfields.bulk.runs.progress import Progress

log = logging.getLogger("encfields.alembic")

_NEEDED = (
    "this operation needs the keys: give them in env.py, as in context.configure(..., "
    'encfields={"key_store": SqlKeyStore(keyrings.aws_kms("arn:..."))})'
)


@dataclass(frozen=True, slots=True)
class MigrationSettings:
    """The value of ``context.configure(encfields=...)``: these fields as a dictionary.

    How fast a run works depends on where it runs, so it is set here and not in the migration.

    :param key_store: where branch keys are stored. Either this or `encryption` is required.
    :param encryption: what :func:`encfields.attach` returned for this database.
    :param engine: a plain ``Engine`` on the same database, for runs; required if ``env.py`` uses an
        asyncio driver. Default: the migration connection's.
    :param options: how runs work: batch size, workers, throttle.
    :param progress: called with a run's progress; by default it is logged.
    """

    key_store: KeyStore | None = None
    encryption: Encryption | None = None
    engine: Engine | None = None
    options: Options = field(default_factory=Options)
    progress: Progress | None = None

    @contextmanager
    def attached(self, engine: Engine) -> Iterator[Encryption]:
        """The encryption of `engine`; attached for the duration if there is none.

        :raises ConfigurationError: neither a key store nor an encryption was given.
        """
        known = self.encryption or known_encryption(engine.dialect)
        if known is not None:
            yield known
            return
        if self.key_store is None:
            raise ConfigurationError(_NEEDED, reason="no-key-store")
        encryption = attach(engine, self.key_store)
        try:
            yield encryption
        finally:
            encryption.detach()

    def key_table(self) -> Table | None:
        """The key table; ``None`` if keys are not in a table."""
        store = self.key_store
        if store is None and self.encryption is not None:
            store = engine_encryption(self.encryption).key_store
        if store is None:
            return key_table()
        return store.table if isinstance(store, SqlKeyStore) else None


def settings_of(context: MigrationContext) -> MigrationSettings:
    """The settings in ``env.py``; settings without keys if there are none.

    :raises ConfigurationError: they are not valid.
    """
    given: Any = context.opts.get("encfields")
    if given is None:
        return MigrationSettings()
    if isinstance(given, MigrationSettings):
        return given
    if isinstance(given, Encryption):
        return MigrationSettings(encryption=given)
    if isinstance(given, Mapping):
        known = {f.name for f in fields(MigrationSettings)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ConfigurationError(
                f"context.configure(encfields=...) does not take {', '.join(unknown)}; it takes "
                f"{', '.join(sorted(known))}",
                reason="settings",
            )
        return MigrationSettings(**given)
    if hasattr(given, "active") and hasattr(given, "version"):
        return MigrationSettings(key_store=given)
    raise ConfigurationError(
        f"context.configure(encfields=...) takes a dictionary, a key store or an Encryption, not "
        f"{kind(given)}",
        reason="settings",
    )


@contextmanager
def outside_transaction(
    context: MigrationContext, settings: MigrationSettings, verb: str
) -> Iterator[Engine]:
    """Leave the migration's transaction during work on other connections.

    :param verb: the operation, for messages.
    :returns: the engine to work on.
    :raises MigrationError: see :func:`require_first`.
    """
    require_first(context, verb)
    engine = engine_for(context, settings)
    # Commit, work without a transaction (an idle one would hold back vacuum during the run), then
    # begin the one in which Alembic writes the version number.
    with context.autocommit_block():
        yield engine


def engine_for(context: MigrationContext, settings: MigrationSettings) -> Engine:
    """The engine for other connections.

    :raises ConfigurationError: the migration's engine is an asyncio one.
    """
    if settings.engine is not None:
        return settings.engine
    engine = _connection(context).engine
    if engine.dialect.is_async:
        raise ConfigurationError(
            "this operation needs connections of its own, which an asyncio driver cannot give: "
            'set a plain engine in env.py, context.configure(..., encfields={"engine": '
            'create_engine(...), "key_store": ...})',
            reason="async-engine",
        )
    return engine


FetchKeys = Callable[[], "Encryption | None"]
"""Returns the keys when they are needed; ``None`` if they cannot be fetched."""


class LazyKeys:
    """The environment's keys, fetched on first use.

    :param stack: detaches at its end what was attached.
    """

    def __init__(self, context: MigrationContext, stack: ExitStack) -> None:
        self._context = context
        self._stack = stack
        self._known: list[Encryption | None] = []

    def __call__(self) -> Encryption | None:
        if not self._known:
            self._known.append(self._get())
        return self._known[0]

    def or_none(self) -> Encryption | None:
        """The keys; ``None``, without a warning, if the environment has none."""
        settings, connection = settings_of(self._context), self._context.connection
        known = connection is not None and known_encryption(connection.dialect)
        if not (known or settings.encryption or settings.key_store):
            return None
        return self()

    def _get(self) -> Encryption | None:
        try:
            settings = settings_of(self._context)
            engine = engine_for(self._context, settings)
            return self._stack.enter_context(settings.attached(engine))
        except EncFieldsError as error:
            log.warning("values were not opened, nor indexes compared with them: %s", error)
            return None


def require_first(context: MigrationContext, verb: str) -> None:
    """Check that the operation may leave the migration's transaction.

    On PostgreSQL a transaction that wrote has an id; on SQLite an open transaction means that it
    wrote. MariaDB and MySQL do not tell; they commit DDL by themselves.

    :raises MigrationError: something preceded it, or the transaction is not Alembic's own.
    """
    if internals.is_in_external_transaction(context):
        raise MigrationError(
            f"op.{verb}() has to commit, but the transaction is not Alembic's: the connection that "
            "env.py gave to context.configure() was already in one, as in the multidb templates "
            "of Alembic and Flask-Migrate. Give it a fresh connection (docs/frameworks/flask.md "
            "shows such an env.py), or end its transaction",
            reason="external-transaction",
        )
    if context.impl.transactional_ddl and not context.opts.get("transaction_per_migration"):
        raise MigrationError(
            f"op.{verb}() commits, and must not commit half of other revisions: set "
            "context.configure(..., transaction_per_migration=True) in env.py",
            reason="transaction-per-migration",
        )
    if _has_written(_connection(context), context.version_table):
        raise MigrationError(
            f"op.{verb}() commits, so it comes first in its revision: what precedes it would be "
            "committed without its version number, and the revision could not be run again after "
            "a failure. Move it to a revision of its own",
            reason="not-first",
        )


def _connection(context: MigrationContext) -> Connection:
    assert context.connection is not None  # noqa: S101 - of a migration that is run
    return context.connection


def _has_written(connection: Connection, version_table: str) -> bool:
    """Whether the transaction has written anything, as far as the database tells.

    :param version_table: Alembic's, which it creates in the first revision's transaction.
    """
    if connection.dialect.name == "postgresql":
        return _has_written_postgresql(connection, version_table)
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        # Otherwise the driver's user begins transactions, which proves nothing.
        implicit = driver.isolation_level is not None and getattr(driver, "autocommit", -1) == -1
        return implicit and driver.in_transaction
    return False


_MADE_HERE = text("""
    WITH here AS (SELECT (txid_current() % 4294967296)::text::xid AS xid)
    SELECT relname::text FROM pg_catalog.pg_class JOIN here ON xmin = xid
    UNION ALL SELECT typname::text FROM pg_catalog.pg_type JOIN here ON xmin = xid
    UNION ALL SELECT nspname::text FROM pg_catalog.pg_namespace JOIN here ON xmin = xid
    UNION ALL SELECT proname::text FROM pg_catalog.pg_proc JOIN here ON xmin = xid
    UNION ALL SELECT extname::text FROM pg_catalog.pg_extension JOIN here ON xmin = xid
    UNION ALL SELECT COALESCE(relname::text, 'dropped')
        FROM pg_catalog.pg_locks LEFT JOIN pg_catalog.pg_class ON pg_class.oid = relation
        WHERE pid = pg_backend_pid() AND locktype = 'relation' AND pg_locks.database <> 0
        AND mode IN ('RowExclusiveLock', 'AccessExclusiveLock')
        AND relnamespace IS DISTINCT FROM CAST('pg_catalog' AS regnamespace)
""")
"""What the transaction made, and by its locks what it dropped and where it wrote rows.

PostgreSQL's own counts of rows (``pg_stat_xact_user_tables``) have those of former transactions.
"""


def _has_written_postgresql(connection: Connection, version_table: str) -> bool:
    if connection.execute(text("SELECT txid_current_if_assigned()")).scalar() is None:
        return False
    names = set(connection.execute(_MADE_HERE).scalars())
    alembics = {version_table, f"{version_table}_pkc", f"_{version_table}"}
    return version_table not in names or bool(names - alembics)
