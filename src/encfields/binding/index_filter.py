"""Rows that a blind index found and that were not asked for are taken out of the result.

A truncated index, and one that holds only a part of the value, finds more than what was looked
up. The rows are compared again after decryption, before anyone sees them. That needs rows: of a
count, of EXISTS or behind LIMIT nothing can be taken out any more, so there it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import Over
from sqlalchemy.sql.selectable import Select

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.lookups import (
    LookupBind,
    conjunction_of,
    encoded_lookup,
    normalised_lookup,
)
from encfields.binding.reads import sibling
from encfields.errors import UnsupportedOperationError
from encfields.index.compound_key import CompoundKey

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

_ADVICE = (
    "Use a full-length index over the whole value (BlindIndex()), or select the rows with the "
    "encrypted column and go on in Python"
)


@dataclass(frozen=True, slots=True)
class RowFilter:
    """What one comparison asked for, and where its rows deliver it.

    :ivar lookup: the bind that was looked up.
    :ivar cells: for each column of the index, its position in a row and what opens it.
    """

    lookup: LookupBind
    cells: tuple[tuple[int, Callable[[Any], Any]], ...]


def plan_filters(
    lookups: tuple[LookupBind, ...], compiled: Any, statement: Any, dialect: Dialect
) -> tuple[RowFilter, ...]:
    """Those lookups whose rows are compared again.

    :raises UnsupportedOperationError: the statement does not deliver rows that could be.
    """
    filtered = [lookup for lookup in lookups if lookup.type.needs_filter]
    if not filtered:
        return ()
    top = list(conjunction_of(statement)) if isinstance(statement, Select) else []
    for lookup in filtered:
        why = _obstacle(lookup, statement, top)
        if why is not None:
            raise _refused(lookup, why)
    return tuple(RowFilter(one, tuple(_cells(one, compiled, dialect))) for one in filtered)


def _cells(lookup: LookupBind, compiled: Any, dialect: Dialect) -> Iterator[Any]:
    scope = lookup.type.scope
    for source in lookup.type.index.sources:
        expression = sibling(scope.expression, source.column, scope.column)
        delivered = internals.result_position(compiled, expression, dialect)
        if delivered is None:
            raise _refused(lookup, f"the encrypted column {source.column_name} is not selected")
        yield delivered


def _obstacle(lookup: LookupBind, statement: Any, top: list[Any]) -> str | None:
    if not isinstance(statement, Select):
        return "the statement is no SELECT"
    if not any(criterion is lookup.type.comparison for criterion in top):
        return "the comparison is part of an OR, a NOT, a subquery or an expression"
    if internals.has_row_limit(statement):
        return "LIMIT or OFFSET would count them"
    if internals.is_distinct(statement) or internals.group_by_clauses(statement):
        return "DISTINCT or GROUP BY would merge them"
    if any(isinstance(column, Over) for column in statement.selected_columns):
        return "a window function would count them"
    return None


def filter_rows(
    filters: tuple[RowFilter, ...], context: Any, result: Any, dialect: Dialect
) -> None:
    """Take the rows that were not asked for out of `result`.

    :raises DecryptionError: a row that was found does not open.
    """
    checks = [_Check(one, context, dialect) for one in filters]
    rows = [
        row
        for row in internals.buffered_rows(result)
        if all(check.was_asked_for(row) for check in checks)
    ]
    internals.replace_buffered_rows(result, rows)


class _Check:
    """Whether a row holds what one comparison asked for."""

    def __init__(self, row_filter: RowFilter, context: Any, dialect: Dialect) -> None:
        lookup = row_filter.lookup
        self._cells = row_filter.cells
        self._dialect = dialect
        self._index = lookup.type.index
        self._whole_value = lookup.type.scope.label is None
        wanted = _values(lookup, context.compiled_parameters[0])
        self._wanted = {self._form(value) for value in wanted}

    def was_asked_for(self, row: Any) -> bool:
        values = tuple(open_cell(row[position]) for position, open_cell in self._cells)
        if None in values:
            return False
        return self._form(values[0] if len(values) == 1 else CompoundKey(values)) in self._wanted

    def _form(self, value: object) -> bytes | None:
        """What two values have in common if the comparison holds them for equal."""
        if self._whole_value:
            return encoded_lookup(self._index, value, self._dialect)
        return normalised_lookup(self._index, value, self._dialect)


def _values(lookup: LookupBind, values: Mapping[str, Any]) -> list[Any]:
    given = values[lookup.bind]
    is_list = lookup.type.comparison.operator is operators.in_op
    return list(given) if is_list else [given]


def _refused(lookup: LookupBind, why: str) -> UnsupportedOperationError:
    index = lookup.type.index
    return UnsupportedOperationError(
        f"its blind index {index.label!r} finds rows that only look alike, which are taken out "
        f"after decryption; here they cannot be, because {why}. {_ADVICE}",
        table=index.table,
        column=index.column_name,
        reason="needs-filter",
    )
