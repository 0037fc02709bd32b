"""Encrypted columns that a function, a comparison or DISTINCT is given in raw SQL.

``func.max(literal_column("note"))`` and ``column("note") == "x"`` tell SQLAlchemy nothing of the
column that they are about, and would be answered by the ciphertext.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, Grouping, TextClause, UnaryExpression
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import Select, SelectBase

from encfields.orm import internals
from encfields.orm.query.raw_order import encrypted_column_in, is_raw_name, name_in_sql

_NULL_TESTS = (operators.is_, operators.is_not)


def encrypted_operand_of_select(
    select: Select[Any], froms: Callable[[], Iterable[Any]]
) -> Any | None:
    """The encrypted column that a SELECT gives to one of them, or ``None``.

    :param froms: gives what it selects from.
    """
    columns = list(select.inner_columns)
    clauses = [
        *columns,
        *internals.where_criteria(select),
        *internals.having_criteria(select),
    ]
    texts = list(_operands(clauses))
    if internals.is_distinct(select):
        texts.extend(_raw_names(columns))
    return encrypted_column_in(texts, froms()) if texts else None


def encrypted_operand_of_write(statement: Any) -> Any | None:
    """The same of the conditions of an UPDATE or DELETE."""
    texts = list(_operands(internals.where_criteria(statement)))
    return encrypted_column_in(texts, (statement.table,)) if texts else None


def _operands(clauses: Iterable[Any]) -> Iterator[str]:
    for element in _elements(clauses):
        if isinstance(element, FunctionElement):
            if not isinstance(element, count):
                yield from _raw_names(getattr(element, "clauses", ()))
        elif isinstance(element, BinaryExpression):
            if element.operator not in _NULL_TESTS:
                yield from _raw_names((element.left, element.right))
        elif isinstance(element, UnaryExpression) and element.operator is operators.distinct_op:
            yield from _raw_names((element.element,))


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
        if is_raw_name(part):
            yield name_in_sql(part)
        elif isinstance(part, TextClause):
            yield part.text
