"""What a database quotes of a row in its errors: nothing of it is shown while plaintext is in it.

PostgreSQL names the key that is there already, and every value of a row that a constraint
refuses; MySQL and MariaDB quote the duplicate. Of a table that is being adopted that is what is
about to be encrypted.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.visitors import iterate

HIDDEN = "<not shown>"
"""What stands for a value."""

_QUOTES = (
    (re.compile(r"\nDETAIL:.*", re.DOTALL), ""),  # a value may have lines of its own
    (re.compile(r"(Duplicate entry ').*(' for key )", re.DOTALL), rf"\g<1>{HIDDEN}\g<2>"),
    (re.compile(r"(value: ').*'", re.DOTALL), rf"\g<1>{HIDDEN}'"),
    (
        re.compile(r"(invalid input (?:syntax|value) for [^:]*: \").*\"", re.DOTALL),
        rf'\g<1>{HIDDEN}"',
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
    if getattr(error, "detail", None) and isinstance(error.detail, str):  # type: ignore[attr-defined]
        error.detail = None  # type: ignore[attr-defined]  # asyncpg's, part of its text


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
