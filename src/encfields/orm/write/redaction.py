"""SQLAlchemy's own errors: their parameters are not shown before they are sealed.

A ``StatementError`` that is raised while parameters are still being prepared (a bad value of
another column, a missing bind) prints them as the application gave them. Once a statement has
reached the driver its parameters are ciphertext and stay visible; what the database quotes of a
row with plaintext does not. A statement that is surely
about nothing encrypted shows them as ever.
"""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.sql.visitors import iterate

from encfields.orm.adoption.quoted_values import hide_quoted_values
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.write.pending import UNSEALED

HIDDEN = ("not shown: they were not encrypted yet",)
"""What stands for parameters that are hidden."""


class Redaction:
    """What one engine's connections execute, and the listener for their errors."""

    def __init__(self) -> None:
        # No statement is kept: it may hold values.
        self._statements: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = (
            weakref.WeakKeyDictionary()
        )

    def note_statement(self, connection: Any, statement: Any) -> None:
        """Note which statement the connection executes."""
        with suppress(TypeError):  # raised for what is no statement of SQLAlchemy's own
            self._statements[connection] = weakref.ref(statement)
            return
        self._statements.pop(connection, None)

    def hide_unsealed_parameters(self, context: Any) -> None:
        """SQLAlchemy's ``handle_error`` event."""
        if getattr(context.original_exception, "reason", None) == UNSEALED:
            # It was raised in the middle of what the driver says to the server: pg8000 would take
            # the answer to this statement for the next one's.
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
        error = context.sqlalchemy_exception
        if context.execution_context is not None:
            hide_quoted_values(context)
            return
        if error is None:
            return
        # There is none where the database did not answer.
        noted = self._statements.get(context.connection) if context.connection else None
        statement = None if noted is None else noted()
        if statement is None or not _is_plain(statement):
            error.hide_parameters = True
            error.params = HIDDEN


def _is_plain(statement: Any) -> bool:
    """Whether nothing that a statement is made of can be encrypted."""
    tables = 0
    for element in iterate(statement):
        table = element if isinstance(element, Table) else getattr(element, "table", None)
        if isinstance(element, TextClause) or is_encrypted(element):
            return False
        if isinstance(table, Table):
            tables += 1
            if any(is_encrypted(column) for column in table.c):
                return False
    return tables > 0
