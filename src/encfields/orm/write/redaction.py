"""SQLAlchemy's own errors: their parameters are not shown before they are sealed.

A ``StatementError`` that is raised while parameters are still being prepared (a bad value of
another column, a missing bind) prints them as the application gave them. Once a statement has
reached the driver its parameters are ciphertext and stay visible; what the database quotes of a
row with plaintext does not. A statement that is surely
about nothing encrypted shows them as ever.

A database quotes rows in its errors, too: PostgreSQL names the key that is there already, and every
value of a row that a constraint refuses; MySQL and MariaDB quote the duplicate. Of a table that is
being adopted that is what is about to be encrypted, and is not shown.
"""

from __future__ import annotations

import re
import weakref
from contextlib import suppress
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.sql.visitors import iterate

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


NOT_SHOWN = "<not shown>"
"""What stands for a value."""

_QUOTES = (
    (re.compile(r"\nDETAIL:.*", re.DOTALL), ""),  # a value may have lines of its own
    (re.compile(r"(Duplicate entry ').*(' for key )", re.DOTALL), rf"\g<1>{NOT_SHOWN}\g<2>"),
    (re.compile(r"(value: ').*'", re.DOTALL), rf"\g<1>{NOT_SHOWN}'"),
    (
        re.compile(r"(invalid input (?:syntax|value) for [^:]*: \").*\"", re.DOTALL),
        rf'\g<1>{NOT_SHOWN}"',
    ),
)


def hide_quoted_values(context: Any) -> None:
    """SQLAlchemy's ``handle_error`` event, of a statement that the database was given."""
    compiled = getattr(context.execution_context, "compiled", None)
    statement = getattr(compiled, "statement", None)
    if statement is None or not _is_adopted(statement):
        return
    original, shown = context.original_exception, context.sqlalchemy_exception
    before, error = str(original), original
    while error is not None:
        _hide_in(error)
        error = error.__cause__
    if shown is not None:
        shown.args = tuple(str(one).replace(before, str(original)) for one in shown.args)


def _hide_in(error: BaseException) -> None:
    error.args = tuple(_hidden(one) for one in error.args)
    _hide_diagnosis(error)
    if getattr(error, "detail", None) and isinstance(error.detail, str):  # type: ignore[attr-defined]
        error.detail = None  # type: ignore[attr-defined]  # asyncpg's, part of its text


def _hide_diagnosis(error: Any) -> None:
    """psycopg's ``error.diag``, which is read from the server's answer: all but its detail stays.

    What it pickles an error as has the answer as a dictionary by the letters of the protocol.
    """
    if getattr(error, "diag", None) is None:
        return
    if isinstance(text := getattr(error, "pgerror", None), str):  # psycopg2's
        error.__setstate__({"pgerror": _hidden(text), "pgcode": error.pgcode})
        return
    with suppress(Exception):  # it is another driver's
        *_, state = error.__reduce__()
        told = state["_info"]
        kept = {n: _hidden_text(v) for n, v in told.items() if int(n) not in _QUOTING}
        error.__setstate__({"_info": kept})


_QUOTING = (ord("D"), ord("W"))
"""Fields of PostgreSQL's errors: the detail, and where in a function it was."""


def _hidden_text(value: Any) -> Any:
    return _hidden(value.decode(errors="replace")).encode() if isinstance(value, bytes) else value


def _hidden(argument: Any) -> Any:
    if isinstance(argument, dict):  # pg8000's, by the letters of the protocol
        return {name: _hidden(value) for name, value in argument.items() if name != "D"}
    if not isinstance(argument, str):
        return argument
    for pattern, instead in _QUOTES:
        argument = pattern.sub(instead, argument)
    return argument


def _is_adopted(statement: Any) -> bool:
    """Whether a table of a statement has a column that is being adopted."""
    for element in iterate(statement):
        table = element if isinstance(element, Table) else getattr(element, "table", None)
        if isinstance(table, Table) and any(getattr(c.type, "adopts", None) for c in table.c):
            return True
    return False
