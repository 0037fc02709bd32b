"""Engines, connections, transactions, and rows that a driver has delivered.

Read::

    sqlalchemy.engine.base.Connection              _has_events _is_autocommit_isolation
    sqlalchemy.engine.base.Connection              _rollback_to_savepoint_impl
    sqlalchemy.engine.base.NestedTransaction       _savepoint
    sqlalchemy.engine.base.RootTransaction         _connection_rollback_impl
    sqlalchemy.engine.base.OptionEngine            _proxied
    sqlalchemy.connectors.asyncio.AsyncAdapt_dbapi_cursor _cursor _rows
    sqlalchemy.pool.base.Pool                      _creator

Written::

    sqlalchemy.engine.base.Connection              _transaction _execution_options
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import getclosurevars
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.util import immutabledict

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


UNTRANSLATED = immutabledict({"schema_translate_map": None})
"""Execution options for our own statements that name their schema themselves.

The application may use different ``schema_translate_map`` options, which SQLAlchemy refuses for one
and the same statement.
"""


_SCHEMAS = "schema_translate_map"


def schemas_of(connection: Any, options: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Has statements of ours translated into the schemas of the one for whose sake they are
    executed, which may be others than its connection's.

    :param options: that this one is executed with.
    """
    if options.get(_SCHEMAS) is connection.get_execution_options().get(_SCHEMAS):
        return _AS_THEY_ARE
    return _translated(connection, options.get(_SCHEMAS))


_AS_THEY_ARE = nullcontext()


@contextmanager
def _translated(connection: Any, schemas: Any) -> Iterator[None]:
    before = connection.get_execution_options()
    # Not by the connection's own method, of which an application's listener would be told.
    connection._execution_options = before.union({_SCHEMAS: schemas})
    try:
        yield
    finally:
        connection._execution_options = before


def is_autocommit(connection: Any) -> bool:
    """Whether each statement of the connection is a transaction of its own."""
    return bool(connection._is_autocommit_isolation())


def without_listeners(connection: Any) -> Any:
    """A connection in the same transaction, whose statements no listener of the engine sees."""
    own: Any = Connection(
        connection.engine,
        connection=connection.connection,
        _has_events=False,
    )
    translated = connection.get_execution_options().get("schema_translate_map")
    if translated is not None:
        own.execution_options(schema_translate_map=translated)
    # Without a transaction, an error would roll back everything in the application's own.
    own._transaction = connection.get_transaction()
    return own


def roll_back_innermost(connection: Any) -> None:
    """Roll back a connection's innermost savepoint, or its transaction if it has none.

    The transaction is then as after a failed COMMIT: nothing more can be executed or committed
    until the application has rolled it back itself.
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
    """The engine behind a view from ``execution_options()``; any other engine unchanged."""
    return getattr(engine, "_proxied", engine)


def connect_parameters(engine: Engine) -> dict[str, Any] | None:
    """The parameters with which the engine's driver connects; ``None`` if the application connects
    itself.

    SQLAlchemy keeps them only in the function that creates connections.
    """
    creator = engine.pool._creator
    known = getclosurevars(creator).nonlocals
    is_its_own = creator.__module__ == "sqlalchemy.engine.create"
    return known.get("cparams") if is_its_own else None


def rows_at_hand(result: Any) -> Sequence[Any]:
    """Rows that an asyncio driver has delivered and the result has not returned yet."""
    return getattr(getattr(result, "cursor", None), "_rows", None) or ()


def driver_cursor(cursor: Any) -> Any:
    """The driver's own cursor, if an asyncio driver's is wrapped."""
    return getattr(cursor, "_cursor", cursor)
