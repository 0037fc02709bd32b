"""Engines, connections and transactions, and rows that a driver has delivered.

Read::

    sqlalchemy.engine.base.Connection              _has_events _is_autocommit_isolation
    sqlalchemy.engine.base.Connection              _rollback_to_savepoint_impl
    sqlalchemy.engine.base.NestedTransaction       _savepoint
    sqlalchemy.engine.base.RootTransaction         _connection_rollback_impl
    sqlalchemy.engine.base.OptionEngine            _proxied
    sqlalchemy.connectors.asyncio.AsyncAdapt_dbapi_cursor _cursor _rows
    sqlalchemy.pool.base.Pool                      _creator

Written::

    sqlalchemy.engine.base.Connection              _transaction
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import getclosurevars
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.util import immutabledict

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


UNTRANSLATED = immutabledict({"schema_translate_map": None})
"""Execution options of statements of ours that name their schema themselves.

The application may execute under one ``schema_translate_map`` and then under another, which
SQLAlchemy refuses for one and the same statement.
"""


def is_autocommit(connection: Any) -> bool:
    """Whether each statement of the connection is a transaction of its own."""
    return bool(connection._is_autocommit_isolation())


def unobserved(connection: Any) -> Any:
    """A connection in the same transaction, whose statements no listener of the engine sees."""
    own: Any = Connection(
        connection.engine,
        connection=connection.connection,
        _has_events=False,
    )
    translated = connection.get_execution_options().get("schema_translate_map")
    if translated is not None:
        own.execution_options(schema_translate_map=translated)
    # With none, an error would have it roll back all that the application's own has done.
    own._transaction = connection.get_transaction()
    return own


def take_back(connection: Any) -> None:
    """Roll back what a connection's innermost savepoint, or else its transaction, holds.

    A transaction is then as after a failed COMMIT: nothing more can be executed, let alone
    committed, before the application has rolled it back itself.
    """
    nested = connection.get_nested_transaction()
    if nested is not None:
        connection._rollback_to_savepoint_impl(nested._savepoint)
        return
    transaction = connection.get_transaction()
    transaction._connection_rollback_impl()
    transaction.is_active = False


def in_sqlite_transaction(connection: Any) -> bool:
    """Whether the driver's connection to SQLite has begun a transaction."""
    driver = connection.connection.driver_connection
    return bool(getattr(driver, "in_transaction", True))


def plain_engine(engine: Any) -> Any:
    """The engine that a view, which ``execution_options()`` gave, is of; any other as it is."""
    return getattr(engine, "_proxied", engine)


def connect_parameters(engine: Engine) -> dict[str, Any] | None:
    """What the engine's driver connects with; ``None`` where the application does it itself.

    SQLAlchemy keeps it nowhere but in the function that it makes connections by.
    """
    creator = engine.pool._creator
    known = getclosurevars(creator).nonlocals
    is_its_own = creator.__module__ == "sqlalchemy.engine.create"
    return known.get("cparams") if is_its_own else None


def rows_at_hand(result: Any) -> Sequence[Any]:
    """Rows that an asyncio driver has delivered and the result has not handed out yet."""
    return getattr(getattr(result, "cursor", None), "_rows", None) or ()


def driver_cursor(cursor: Any) -> Any:
    """The driver's own, of one that an asyncio driver's is wrapped in."""
    return getattr(cursor, "_cursor", cursor)
