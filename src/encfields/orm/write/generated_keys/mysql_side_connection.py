"""MySQL: numbers of AUTO_INCREMENT that are taken on a connection beside the application's.

Under REPEATABLE READ, InnoDB keeps the lock of a row that a transaction undid, if it had read or
written any table before, and passes it on to the end of the table. From then on everybody else's
INSERT waits for the COMMIT, and two such transactions deadlock. A transaction that did nothing
else, and is undone as a whole, keeps nothing: so the number is taken in one of those.
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
"""By what a SELECT is known to begin a transaction of InnoDB, which is then undone in part only and
keeps the lock. A function may read too. SHOW and EXPLAIN ask the data dictionary, of tables too."""

_SETTINGS = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION foreign_key_checks = 0, innodb_lock_wait_timeout = 1, lock_wait_timeout = 1",
)
"""What the application's own transaction has not committed is not there, and is not waited for."""


class SideConnections:
    """One engine's connections for taking numbers, made when they are first needed.

    :param hook: gives an INSERT its placeholders.
    """

    def __init__(self, hook: SideHook) -> None:
        self._hook = hook
        self._began: weakref.WeakSet[Any] = weakref.WeakSet()
        self._asked: weakref.WeakKeyDictionary[Any, InnodbTransaction] = weakref.WeakKeyDictionary()
        self._in_the_way: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
        self._engine: Engine | None = None

    def note(self, connection: Connection, statement: str) -> None:
        """Remember of a transaction of MySQL that InnoDB has begun it.

        :param statement: its text, which is about to be executed.
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

        Not if it was itself in the way before, as it is after a SELECT .. FOR UPDATE that found
        nothing: each further try would wait in vain.
        """
        transaction = connection.get_transaction()
        return (
            transaction in self._began
            and str(insert.table.fullname) not in self._in_the_way.get(transaction, ())
            and self._transaction(connection).keeps_locks
        )

    def _transaction(self, connection: Connection) -> InnodbTransaction:
        """What the server tells of it, asked once: its isolation stays as it began."""
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
        """The first number that an INSERT gets, which is undone.

        :param connection: the application's.
        :param insert: what the INSERT lacks.
        :param statement: the INSERT in rehearsal.
        :param parameters: what it is executed with.
        :param options: its execution options.
        :returns: ``None`` if it does not go through there: the application's own transaction may
            hold what it would have to wait for.
        :raises UnknownIdentityError: not all of it could be undone.
        """
        translated = connection.get_execution_options().get("schema_translate_map")
        if translated is not None:
            options = {**options, "schema_translate_map": translated}
        try:
            with self._of(connection.engine).connect() as side:
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

    def _of(self, engine: Engine) -> Engine:
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
