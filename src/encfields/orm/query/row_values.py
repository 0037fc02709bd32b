"""``tuple_(a, b) == (x, y)`` and ``tuple_(a, b).in_([...])``, answered by each column by itself.

So is ``literal(x).in_([a, b])``. SQL says of each what AND and OR of the parts say, NULL included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import and_, false, null, or_, true
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, ClauseList, ColumnElement, Grouping, Tuple

from encfields.orm.query.comparison import EQUALITY, MEMBERSHIP, NEGATIVE, ungrouped
from encfields.traces import leaves_no_trace


@leaves_no_trace
def compared_by_parts(row: Tuple, operator: Any, other: Any) -> ColumnElement[bool] | None:
    """A row of columns compared with a row, or with a list of rows.

    :param operator: of the comparison.
    :returns: ``None`` if it is no comparison of equality, or the rows are not known.
    :raises UnsupportedOperationError: an index cannot answer it.
    """
    columns = list(row.clauses)
    rows = _rows(other) if operator in MEMBERSHIP else _row(other)
    if rows is None or operator not in (*EQUALITY, *MEMBERSHIP):
        return None
    if any(len(values) != len(columns) for values in rows):
        return None
    differs = operator in NEGATIVE
    compare, within, among = (operators.ne, or_, and_) if differs else (operators.eq, and_, or_)
    each = [
        within(*(_compared(c, compare, value) for c, value in zip(columns, values, strict=True)))
        for values in rows
    ]
    return _in_balance(among, each) if each else (true() if differs else false())


@leaves_no_trace
def found_in_columns(
    bind: BindParameter[Any], operator: Any, listed: Any, is_indexed: Callable[[Any], bool]
) -> ColumnElement[bool] | None:
    """One value looked for in several columns.

    :returns: ``None`` if none of them has a blind index, or the value is not known.
    """
    columns = list(_parts(listed))
    if not bind.unique or not any(map(is_indexed, columns)):
        return None
    value = bind.effective_value
    if operator is operators.not_in_op:
        return and_(*(_compared(column, operators.ne, value) for column in columns))
    return or_(*(_compared(column, operators.eq, value) for column in columns))


def _in_balance(join: Callable[..., Any], parts: list[Any]) -> Any:
    """Parts joined by ``and_()`` or ``or_()``, in parentheses where they are many.

    SQLite takes no expression of a thousand levels, and each part in a row is one to it.
    """
    if len(parts) <= _PARTS_IN_ROW:
        return join(*parts)
    chunks = [parts[n : n + _PARTS_IN_ROW] for n in range(0, len(parts), _PARTS_IN_ROW)]
    joined = join(*parts[:2])
    # SQLAlchemy's functions would take each chunk out of its parentheses again.
    joined.clauses = tuple(Grouping(join(*chunk)) for chunk in chunks)
    return joined


_PARTS_IN_ROW = 200


def _compared(column: Any, operator: Any, value: Any) -> Any:
    """NULL equals nothing, and differs from nothing."""
    return null() if value is None else operator(column, value)


def _parts(listed: Any) -> Iterator[Any]:
    element = ungrouped(listed)
    if isinstance(element, ClauseList):
        yield from element.clauses


def _row(other: Any) -> list[list[Any]] | None:
    return [list(map(_value, other.clauses))] if isinstance(other, Tuple) else None


def _rows(other: Any) -> list[list[Any]] | None:
    """The rows of a list, if the statement holds them."""
    if isinstance(other, BindParameter):
        given = (other.effective_value if other.unique else None) or ()
        are_rows = other.unique and all(isinstance(row, tuple | list) for row in given)
        return [list(row) for row in given] if are_rows else None
    rows = list(_parts(other))
    if not rows or not all(isinstance(row, Tuple) for row in rows):
        return None
    return [list(map(_value, row.clauses)) for row in rows]


def _value(part: Any) -> Any:
    """What a part is compared as: a value that the statement holds, or an expression."""
    is_value = isinstance(part, BindParameter) and part.unique
    return part.effective_value if is_value else part
