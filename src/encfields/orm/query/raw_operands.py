"""Encrypted columns that a function, a comparison or DISTINCT is given in raw SQL.

``func.max(literal_column("note"))`` and ``column("note") == "x"`` tell SQLAlchemy nothing of the
column that they are about, and would be answered by the ciphertext. Of a whole condition in raw
SQL, ``text("note = :value")``, the database would be given the value besides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    Case,
    ClauseList,
    Grouping,
    Label,
    TextClause,
    UnaryExpression,
)
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import Join, Select, SelectBase

from encfields.orm import internals
from encfields.orm.query.raw_names import WORD, encrypted_column_named
from encfields.orm.query.raw_order import columns_of, is_raw_name, name_in_sql

_NAME = rf"(?:(?:{WORD})\s*\.\s*)*(?:{WORD})"
_SIZES = rf"(?i)\b(?:length|octet_length|bit_length|pg_column_size)\s*\(\s*{_NAME}\s*\)"
"""Raw SQL about the size of a message, with which values may be compared."""

_NULL_TESTS = (operators.is_, operators.is_not)


def encrypted_operand_of_select(
    select: Select[Any], froms: Callable[[], Iterable[Any]]
) -> Any | None:
    """The encrypted column that a SELECT gives to one of them, or ``None``.

    :param froms: gives what it selects from.
    """
    columns = list(select.inner_columns)
    conditions = [*internals.where_criteria(select), *internals.having_criteria(select)]
    texts = list(_operands([*columns, *conditions], delivered=columns))
    if internals.is_distinct(select):
        texts.extend(_raw_names(columns))
    if not texts:
        return None
    labels = [column for column in select.selected_columns if isinstance(column, Label)]
    return _named_in(texts, [*labels, *columns_of(froms())])


def encrypted_operand_of_write(statement: Any) -> Any | None:
    """The same of the conditions of an UPDATE or DELETE."""
    texts = list(_operands(internals.where_criteria(statement)))
    return _named_in(texts, columns_of((statement.table,))) if texts else None


def encrypted_operand_of_join(join: Join) -> Any | None:
    """The same of the condition of a JOIN."""
    texts = list(_operands((join.onclause,)))
    return _named_in(texts, columns_of((join,))) if texts else None


def _named_in(texts: Iterable[str], columns: Iterable[Any]) -> Any | None:
    known = list(columns)
    found = (encrypted_column_named(text, known) for text in texts)
    return next((column for column in found if column is not None), None)


def _operands(clauses: Iterable[Any], *, delivered: Iterable[Any] = ()) -> Iterator[str]:
    """The raw SQL that is given to something, and conditions in raw SQL that have values.

    :param delivered: those of the clauses that are delivered, and no condition.
    """
    delivered = set(map(id, delivered))
    for element in _elements(clauses):
        if isinstance(element, FunctionElement):
            if not isinstance(element, count):
                yield from _raw_names(getattr(element, "clauses", ()))
        elif isinstance(element, BinaryExpression):
            if element.operator not in _NULL_TESTS:
                yield from _raw_names((element.left, element.right))
        elif isinstance(element, UnaryExpression) and element.operator is operators.distinct_op:
            yield from _raw_names((element.element,))
        elif isinstance(element, Case) and element.value is not None:
            yield from _raw_names((element.value, *(value for value, _ in element.whens)))
        elif id(element) not in delivered and _has_values(element):
            yield re.sub(_SIZES, " ", element.text)


def _has_values(element: Any) -> bool:
    """Whether it is raw SQL with binds in it."""
    parts = element.get_children() if isinstance(element, TextClause) else ()
    return any(isinstance(part, BindParameter) for part in parts)


def _elements(clauses: Iterable[Any]) -> Iterator[Any]:
    """What is in `clauses`; a subquery has names of its own, and is looked at by itself."""
    waiting = list(clauses)
    while waiting:
        element = waiting.pop()
        if not isinstance(element, SelectBase):
            yield element
            waiting.extend(element.get_children())


def _raw_names(parts: Iterable[Any]) -> Iterator[str]:
    for part in parts:
        while isinstance(part, Grouping):
            part = part.element
        if isinstance(part, ClauseList):
            yield from _raw_names(part.clauses)
        elif is_raw_name(part):
            yield name_in_sql(part)
        elif isinstance(part, TextClause):
            yield part.text
