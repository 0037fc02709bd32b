"""Ciphertext that a write would put into a column that is not encrypted.

``update(patient).values(note=patient.c.ssn)`` copies a text between plain columns. Of an encrypted
one the database has the message alone, and nothing opens it where it would be. A column of bytes
may keep it as the bytes that it is, unless its values are bytes themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import LargeBinary
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import BindParameter, ColumnElement, Grouping, Label
from sqlalchemy.sql.selectable import ScalarSelect, SelectBase

from encfields.errors import CiphertextCopyError
from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.comparison import clause_of
from encfields.orm.read.provenance import column_named, table_named


def refuse_copies_elsewhere(statement: Insert | Update) -> None:
    """Look at what an INSERT or UPDATE assigns.

    :raises CiphertextCopyError: a column that is not encrypted is given an encrypted one.
    """
    columns = {name: its for its in statement.table.c for name in (its.name, its.key)}
    for target, value in _assigned(statement):
        clause = clause_of(target)
        column: Any = clause if isinstance(clause, ColumnElement) else columns.get(clause)
        element = _bare(value)
        if column is None or is_encrypted(column) or not is_encrypted(element):
            continue
        if not isinstance(element, BindParameter) and not _keeps_bytes(column, element):
            raise CiphertextCopyError(
                f"{getattr(column, 'key', column)!r} is not encrypted and would be given its "
                "ciphertext, which nothing opens there: load the value and write that. A column "
                "of bytes keeps a message as it is with type_coerce(column, LargeBinary)",
                table=table_named(element),
                column=column_named(element),
                reason="elsewhere",
            )


def _assigned(statement: Any) -> Iterator[tuple[Any, Any]]:
    """What columns are given, in VALUES, SET, ON CONFLICT and SELECT, by column or its name."""
    yield from internals.update_values(statement)
    yield from internals.upsert_values(statement)
    if isinstance(statement, Insert):
        for row in internals.multi_value_rows(statement) or ():
            yield from row.items()
        names = internals.select_source_names(statement)
        fills_encrypted = any(is_encrypted(statement.table.c.get(name)) for name in names)
        if statement.select is not None and not fills_encrypted:  # else a copy of whole rows
            yield from zip(names, statement.select.selected_columns, strict=False)


def _bare(value: Any) -> Any:
    """The expression that is delivered, without a name, parentheses or SELECT around it."""
    element = clause_of(value)
    while isinstance(element, Label | Grouping | ScalarSelect):
        inner: Any = element.element
        is_select = isinstance(inner, SelectBase)
        element = next(iter(inner.selected_columns)) if is_select else inner
    return element


def _keeps_bytes(column: Any, element: Any) -> bool:
    return internals.holds_bytes(column) and not isinstance(element.type.inner, LargeBinary)
