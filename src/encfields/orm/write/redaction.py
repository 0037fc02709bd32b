"""Removes unsealed parameters and quoted values from SQLAlchemy's and databases' errors.

A ``StatementError`` raised while parameters are being prepared (a bad value of another column, a
missing bind) shows them as the application gave them. Once a statement has reached the driver its
parameters are ciphertext and stay visible. A statement that certainly involves nothing encrypted
shows them as usual.

Databases also quote rows in their errors: PostgreSQL shows a duplicate key, and all values of a row
that a constraint refuses; MySQL and MariaDB show the duplicate. For a table in an adoption those
are values about to be encrypted, so they are hidden.
"""

from __future__ import annotations

import functools
import re
import weakref
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.sql.visitors import iterate

from encfields.kept_state import EXECUTED
from encfields.orm.adoption.plaintext import Plaintext
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.write.pending import UNSEALED
from encfields.traces import chained

HIDDEN = ("not shown: they were not encrypted yet",)
"""Replaces hidden parameters."""


class Redaction:
    """Tracks what one engine's connections execute, and listens for their errors."""

    def note_statement(self, connection: Any, statement: Any) -> None:
        """Note the statement that the connection executes."""
        # The statement itself is not stored: it may hold values.
        try:
            vars(connection)[EXECUTED] = weakref.ref(statement)
        except TypeError:  # not one of SQLAlchemy's own statements
            vars(connection).pop(EXECUTED, None)

    def hide_unsealed_parameters(self, context: Any) -> None:
        """SQLAlchemy's ``handle_error`` event."""
        if getattr(context.original_exception, "reason", None) == UNSEALED:
            # Raised in the middle of the driver's exchange with the server: pg8000 would take the
            # answer to this statement for the next one's.
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
        error = context.sqlalchemy_exception
        if context.execution_context is not None:
            hide_quoted_values(context)
            return
        if error is None:
            return
        # There is none where the database did not answer.
        noted = vars(context.connection).get(EXECUTED) if context.connection else None
        statement = None if noted is None else noted()
        if statement is None or not _is_plain(statement):
            error.hide_parameters = True
            error.params = HIDDEN


def _is_plain(statement: Any) -> bool:
    """Whether no part of a statement can be encrypted."""
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
"""Replaces a value."""

_QUOTES = (
    (r"(?s)\nDETAIL:.*", ""),  # a value may have several lines
    (r"(?s)(Duplicate entry ').*(' for key )", rf"\g<1>{NOT_SHOWN}\g<2>"),
    (r"(?s)(value: ').*'", rf"\g<1>{NOT_SHOWN}'"),
    (
        r"(?s)(invalid input (?:syntax|value) for [^:]*: \").*\"",
        rf'\g<1>{NOT_SHOWN}"',
    ),
)


def hide_quoted_values(context: Any) -> None:
    """SQLAlchemy's ``handle_error`` event, for a statement sent to the database."""
    if not Plaintext.is_used:
        return
    compiled = getattr(context.execution_context, "compiled", None)
    if not _may_be_adopted(getattr(compiled, "statement", None)):
        return
    original, shown = context.original_exception, context.sqlalchemy_exception
    before = str(original)
    for error in chained(original):
        _hide_in(error)
    if shown is not None:
        shown.args = tuple(str(argument).replace(before, str(original)) for argument in shown.args)


def _hide_in(error: BaseException) -> None:
    error.args = tuple(_hidden(argument) for argument in error.args)
    for name, value in list(vars(error).items()):  # MySQL's connector keeps its text so
        if isinstance(value, str) and (hidden := _hidden(value)) != value:
            setattr(error, name, hidden)
    _hide_diagnosis(error)
    for name in ("detail", "context"):  # asyncpg's, part of its text
        if isinstance(getattr(error, name, None), str):
            setattr(error, name, None)


def _hide_diagnosis(error: Any) -> None:
    """psycopg's ``error.diag``, which is read from the server's answer: all but its detail stays.

    What it pickles an error as has the answer as a dictionary by the letters of the protocol.
    """
    if getattr(error, "diag", None) is None:
        return
    if isinstance(text := getattr(error, "pgerror", None), str):
        _hide_diagnosis_of_psycopg2(error, text)
        return
    with suppress(Exception):  # it is another driver's
        *_, state = error.__reduce__()
        fields = state["_info"]
        kept = {n: _hidden_text(v) for n, v in fields.items() if int(n) not in _QUOTING}
        error.__setstate__({"_info": kept})


def _hide_diagnosis_of_psycopg2(error: Any, text: str) -> None:
    """psycopg2's, which its C code reads from an answer that nothing takes out of the error.

    So the error becomes one of a class that looks there no more. Its cursor is left out with its
    state: it holds the statement with the values in it.
    """
    kept = {
        name: _hidden(value)
        for name in dir(error.diag)
        if not name.startswith("_") and name not in ("message_detail", "context")
        if (value := getattr(error.diag, name)) is not None
    }
    error.__setstate__({"pgerror": _hidden(text), "pgcode": error.pgcode})
    kind: Any = type(error)
    error.__class__ = _without_answer(kind)
    error.diag = Diagnosis(**kept)


class Diagnosis(SimpleNamespace):
    """An error's ``diag`` without the fields that quote a row, which are ``None``."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


@functools.cache
def _without_answer(kind: Any) -> type[Any]:
    """A subclass of psycopg2's errors whose ``diag`` can be set."""

    def as_its_class(error: Any, protocol: Any) -> Any:
        return kind, error.args, {"pgerror": error.pgerror, "pgcode": error.pgcode}

    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), {**named, "diag": None, "__reduce_ex__": as_its_class})


_QUOTING = (ord("D"), ord("W"))
"""Fields of PostgreSQL's errors: the detail, and the context in a function."""


def _hidden_text(value: Any) -> Any:
    return _hidden(value.decode(errors="replace")).encode() if isinstance(value, bytes) else value


def _hidden(argument: Any) -> Any:
    if isinstance(argument, dict):  # pg8000's, by the letters of the protocol
        return {name: _hidden(value) for name, value in argument.items() if name not in ("D", "W")}
    if not isinstance(argument, str):
        return argument
    for pattern, instead in _QUOTES:
        argument = re.sub(pattern, instead, argument)
    return argument


def _may_be_adopted(statement: Any) -> bool:
    """Whether a table of a statement has a column in an adoption, as far as known.

    :param statement: ``None`` for SQL sent directly to the driver.
    """
    if statement is None:
        return True
    for element in iterate(statement):
        if isinstance(element, TextClause):
            return True
        table = element if isinstance(element, Table) else getattr(element, "table", None)
        if isinstance(table, Table) and any(getattr(c.type, "adopts", None) for c in table.c):
            return True
    return False
