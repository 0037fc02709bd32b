"""MySQL: AUTO_INCREMENT numbers that are taken on a separate connection.

Under REPEATABLE READ, if a transaction has read or written any table before, InnoDB keeps the lock
on a row whose INSERT was undone, as a lock on the end of the table. Every other INSERT then waits
for the COMMIT, and two such transactions deadlock. A transaction that does nothing else, and is
rolled back as a whole, keeps no lock, so the number is taken in one of those.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

from encfields.orm.write.generated_keys.mysql_innodb import (
    InnodbTransaction,
    ask_transaction,
    first_number,
)
from encfields.orm.write.generated_keys.savepoint import refuse_what_stayed

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.orm.write.generated_keys.keyless import KeylessInsert

SideHook = Callable[..., Any]
"""The ``before_cursor_execute`` listener that gives an INSERT its placeholders."""

_HARMLESS = ("SET", "SAVEPOINT", "RELEASE", "ROLLBACK", "USE")

_MAY_READ_A_TABLE = (" FROM ", "\nFROM ", "(")
"""Texts in a SELECT that may begin an InnoDB transaction, which is later undone only in part and
keeps the lock. A function may read too. SHOW and EXPLAIN read the data dictionary, which has tables
of its own."""

_SETTINGS = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION foreign_key_checks = 0, innodb_lock_wait_timeout = 1, lock_wait_timeout = 1",
)
"""Do not fail on, or wait for, what the application's own transaction has not committed."""


class SideConnections:
    """One engine's connections for taking numbers, opened on first use.

    :param hook: gives an INSERT its placeholders.
    """

    def __init__(self, hook: SideHook) -> None:
        self._hook = hook
        self._began: weakref.WeakSet[Any] = weakref.WeakSet()
        self._asked: weakref.WeakKeyDictionary[Any, InnodbTransaction] = weakref.WeakKeyDictionary()
        self._in_the_way: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
        self._engine: Engine | None = None

    def note(self, connection: Connection, statement: str) -> None:
        """Remember that InnoDB has begun a MySQL transaction.

        :param statement: the text that is about to be executed.
        """
        if connection.dialect.name != "mysql":
            return
        transaction = connection.get_transaction()
        if transaction is None:
            return
        verb = statement[:40].lstrip("( ").upper()
        if verb.startswith("SELECT"):
            begins = any(mark in statement.upper() for mark in _MAY_READ_A_TABLE)
        else:
            begins = not verb.startswith(_HARMLESS)
        if begins:
            self._began.add(transaction)
        if verb.startswith("USE"):
            self._asked.pop(transaction, None)

    def is_better(self, connection: Connection, insert: KeylessInsert) -> bool:
        """Whether the application's transaction would keep a lock that others wait for.

        ``False`` if it blocked the separate connection before, as it does after a SELECT .. FOR
        UPDATE that found nothing: each further attempt would wait in vain.
        """
        transaction = connection.get_transaction()
        return (
            transaction in self._began
            and str(insert.table.fullname) not in self._in_the_way.get(transaction, ())
            and self._transaction(connection).keeps_locks
        )

    def _transaction(self, connection: Connection) -> InnodbTransaction:
        """What the server reports about it, queried once, since its isolation cannot change."""
        transaction = connection.get_transaction()
        if transaction not in self._asked:
            self._asked[transaction] = ask_transaction(connection)
        return self._asked[transaction]

    def last_row_id(
        self,
        connection: Connection,
        insert: KeylessInsert,
        statement: Any,
        parameters: Any,
        options: Any,
    ) -> int | None:
        """The first number of an INSERT, which is then undone.

        :param connection: the application's.
        :param insert: the keys that the INSERT lacks.
        :param statement: the INSERT in rehearsal.
        :param parameters: its parameters.
        :param options: its execution options.
        :returns: ``None`` if it failed: it may have to wait for a lock of the application's own
            transaction.
        :raises UnknownIdentityError: not all of it could be undone.
        """
        translated = connection.get_execution_options().get("schema_translate_map")
        if translated is not None:
            options = {**options, "schema_translate_map": translated}
        try:
            with self._engine_beside(connection.engine).connect() as side:
                database = self._transaction(connection).database
                if database is not None:
                    name = connection.dialect.identifier_preparer.quote(database)
                    side.exec_driver_sql(f"USE {name}")
                result = side.execute(statement, parameters, execution_options=options)
                number = first_number(side, result)
                undone = side.exec_driver_sql("ROLLBACK").context
                refuse_what_stayed(side, insert, [(number,)], undone)
                return number
        except SQLAlchemyError:
            transaction = connection.get_transaction()
            self._in_the_way.setdefault(transaction, set()).add(str(insert.table.fullname))
            return None

    def _engine_beside(self, engine: Engine) -> Engine:
        if self._engine is None:
            own = Engine(engine.pool.recreate(), engine.dialect, engine.url, hide_parameters=True)
            event.listen(own, "connect", _settle)
            event.listen(own, "before_cursor_execute", self._hook, retval=True)
            event.listen(engine, "engine_disposed", self.dispose)
            self._engine = own
        return self._engine

    def dispose(self, engine: Engine | None = None) -> None:
        """Close them."""
        own, self._engine = self._engine, None
        if own is not None:
            own.dispose()


def _settle(dbapi_connection: Any, record: Any) -> None:
    cursor = dbapi_connection.cursor()
    for setting in _SETTINGS:
        cursor.execute(setting)
    cursor.close()
