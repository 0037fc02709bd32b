"""Out of the migration's transaction and back into it.

Keys and re-encrypted values are committed on connections of their own. What the revision did
before would have to be committed as well, without the version number that says that it was done,
and a revision that is then killed could not be run again. So nothing may precede them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from encfields.alembic import internals
from encfields.alembic.errors import MigrationError
from encfields.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

    from encfields.alembic.settings import Settings


@contextmanager
def outside_transaction(
    context: MigrationContext, settings: Settings, verb: str
) -> Iterator[Engine]:
    """Leave the migration's transaction while work is done on other connections.

    :param verb: the operation, for messages.
    :returns: the engine to work on.
    :raises MigrationError: see :func:`require_first`.
    """
    require_first(context, verb)
    engine = engine_for(context, settings)
    # Commits, works without a transaction (an idle one would hold back the vacuum for as long as
    # the run takes), and begins the one in which Alembic then writes the version number.
    with context.autocommit_block():
        yield engine


def engine_for(context: MigrationContext, settings: Settings) -> Engine:
    """The engine that other connections are made from.

    :raises ConfigurationError: the migration's is an asyncio one.
    """
    if settings.engine is not None:
        return settings.engine
    engine = _connection(context).engine
    if engine.dialect.is_async:
        raise ConfigurationError(
            "this operation works on connections of its own, which an asyncio driver cannot give "
            'it: name a plain engine in env.py, context.configure(..., encfields={"engine": '
            'create_engine(...), "key_store": ...})',
            reason="async-engine",
        )
    return engine


def require_first(context: MigrationContext, verb: str) -> None:
    """See that the operation may leave the migration's transaction.

    Whether a revision wrote shows on PostgreSQL in the transaction's having an id, on SQLite by
    there being a transaction at all. MariaDB and MySQL do not tell; they commit DDL by itself.

    :raises MigrationError: something preceded it, or the transaction is not Alembic's own.
    """
    if internals.is_in_external_transaction(context):
        raise MigrationError(
            f"op.{verb}() has to commit, but the transaction is not Alembic's: the connection "
            "that env.py gave to context.configure() was in one already, as the multidb templates "
            "of Alembic and Flask-Migrate have it. Give it a fresh connection "
            "(docs/frameworks/flask.md shows such an env.py), or end what was begun on it",
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

    :param version_table: Alembic's own, which it makes in the first revision's transaction.
    """
    if connection.dialect.name == "postgresql":
        return _has_written_postgresql(connection, version_table)
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        # Otherwise transactions are begun by whoever uses the driver, and tell nothing.
        implicit = driver.isolation_level is not None and getattr(driver, "autocommit", -1) == -1
        return implicit and driver.in_transaction
    return False


def _has_written_postgresql(connection: Connection, version_table: str) -> bool:
    if connection.execute(text("SELECT txid_current_if_assigned()")).scalar() is None:
        return False
    made_here = text(
        "SELECT relname FROM pg_class WHERE xmin = (txid_current() % 4294967296)::text::xid"
    )
    names = set(connection.execute(made_here).scalars())
    return version_table not in names or bool(names - {version_table, f"{version_table}_pkc"})
