"""The error for reading, on PostgreSQL, a database column whose type cannot hold messages.

A value and its row's key are concatenated into one cell as bytes. PostgreSQL concatenates text too,
which is refused when it is read, but not a number or a date: its own error is about SQL that the
application did not write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table
from sqlalchemy.sql.visitors import iterate

from encfields.errors import MalformedMessageError
from encfields.orm.declare.columns import is_encrypted

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext

_REFUSED_CELL = re.compile(r"operator does not exist: bytea \|\| ([a-z][a-z ]*(?:\[\])?)")


def tell_of_other_column_type(context: ExceptionContext) -> MalformedMessageError | None:
    """SQLAlchemy's ``handle_error`` event: the error to raise instead."""
    refused = _REFUSED_CELL.search(str(context.original_exception))
    compiled = getattr(context.execution_context, "compiled", None)
    if refused is None or compiled is None:
        return None
    columns = sorted({(c.table.fullname, c.name) for c in _encrypted_columns(compiled.statement)})
    if not columns:
        return None
    table, name = columns[0] if len(columns) == 1 else (None, None)
    places = ", ".join(".".join(place) for place in columns)
    of_several = "" if len(columns) == 1 else f" of one of {places}"
    return MalformedMessageError(
        f"the database's column{of_several} holds values of type {refused[1].strip()}, which are "
        "plaintext that was never encrypted: add an encrypted column beside it, as Alembic's "
        "autogenerate describes",
        table=table,
        column=name,
        reason="other-type",
    )


def _encrypted_columns(statement: Any) -> Iterator[Column[Any]]:
    """The encrypted columns of a statement's tables."""
    for element in iterate(statement):
        table = element if isinstance(element, Table) else getattr(element, "table", None)
        if isinstance(table, Table):
            yield from filter(is_encrypted, table.c)
