"""Rows that a blind index found and that were not asked for are taken out of the result.

A truncated index, and one that holds only a part of the value, finds more than what was looked
up. The rows are compared again after decryption, before anyone sees them. That needs rows: of a
count, of EXISTS or behind LIMIT nothing can be taken out any more, so there it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.sql.selectable import Select

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.enclosing import conjunction_of
from encfields.binding.filtered_fetch import FilteredFetch
from encfields.binding.lookup_type import Compared
from encfields.binding.lookups import LookupBind, encoded_lookup, normalised_lookup
from encfields.binding.reads import sibling
from encfields.binding.row_wise import merges_rows
from encfields.errors import UnsupportedOperationError, ValueEncodingError
from encfields.index.compound_key import CompoundKey

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.binding.index_columns import IndexBinding

_ADVICE = (
    "Use a full-length index over the whole value (BlindIndex()), or select the rows with the "
    "encrypted column and go on in Python"
)


@dataclass(frozen=True, slots=True)
class RowFilter:
    """What one comparison asked for, and where its rows deliver it.

    :ivar lookups: the binds that were looked up for it.
    :ivar cells: for each column of the index, its position in a row and what opens it.
    """

    lookups: tuple[LookupBind, ...]
    cells: tuple[tuple[int, Callable[[Any], Any]], ...]


def plan_filters(
    lookups: tuple[LookupBind, ...], compiled: Any, statement: Any, dialect: Dialect
) -> tuple[RowFilter, ...]:
    """Those comparisons whose rows are compared again.

    :raises UnsupportedOperationError: the statement does not deliver rows that could be.
    """
    by_comparison: dict[Compared, list[LookupBind]] = {}
    for lookup in lookups:
        if lookup.type.compared.needs_filter:
            by_comparison.setdefault(lookup.type.compared, []).append(lookup)
    return tuple(
        RowFilter(tuple(group), tuple(_cells(group[0], compiled, statement, dialect)))
        for group in by_comparison.values()
    )


def _cells(lookup: LookupBind, compiled: Any, statement: Any, dialect: Dialect) -> Iterator[Any]:
    index = lookup.type.index
    why = _obstacle(lookup.type.compared, statement)
    if why is not None:
        raise _refused(index, why)
    scope = lookup.type.compared.scope
    for source in index.sources:
        expression = sibling(scope.expression, source.column, scope.column)
        delivered = internals.result_position(compiled, expression, dialect)
        if delivered is None:
            raise _refused(index, f"the encrypted column {source.column_name} is not selected")
        yield delivered


def _obstacle(compared: Compared, statement: Any) -> str | None:
    if not isinstance(statement, Select):
        return "the statement is no SELECT"
    is_nested = len(compared.enclosing) > 1 or compared.scope.subquery is not None
    if is_nested or not any(one is compared.element for one in conjunction_of(statement)):
        return "the comparison is part of an OR, a NOT, a subquery or an expression"
    if internals.has_row_limit(statement):
        return "LIMIT or OFFSET would count them"
    if internals.is_distinct(statement) or internals.group_by_clauses(statement):
        return "DISTINCT or GROUP BY would merge them"
    if internals.having_criteria(statement) or merges_rows(statement.inner_columns):
        return (
            "an aggregate or a window function (which any function may be that is not known to "
            "work row by row) would count them"
        )
    return None


def filter_rows(
    filters: tuple[RowFilter, ...], context: Any, result: Any, dialect: Dialect
) -> None:
    """Take the rows that were not asked for out of `result`, as they are fetched.

    :raises DecryptionError: by the fetch, if a row that was found does not open.
    """
    checks = [_Check(one, context, dialect) for one in filters]
    FilteredFetch.over(result, lambda row: all(check.was_asked_for(row) for check in checks))


class _Check:
    """Whether a row holds what one comparison asked for."""

    def __init__(self, row_filter: RowFilter, context: Any, dialect: Dialect) -> None:
        type_ = row_filter.lookups[0].type
        self._cells = row_filter.cells
        self._dialect = dialect
        self._index = type_.index
        self._whole_value = type_.compared.scope.view is None
        binds = [lookup.bind for lookup in row_filter.lookups]
        wanted = (value for bind in binds for value in internals.bound_values(context, bind))
        self._wanted = {self._form(value) for value in wanted if value is not None}

    def was_asked_for(self, row: Any) -> bool:
        values = tuple(open_cell(row[position]) for position, open_cell in self._cells)
        if None in values:
            return False
        try:
            form = self._form(values[0] if len(values) == 1 else CompoundKey(values))
        except ValueEncodingError:
            return False  # What attach(destroyed=...) gives instead of a value.
        return form in self._wanted

    def _form(self, value: object) -> bytes | None:
        """What two values have in common if the comparison holds them for equal."""
        if self._whole_value:
            return encoded_lookup(self._index, value, self._dialect)
        return normalised_lookup(self._index, value, self._dialect)


def _refused(index: IndexBinding, why: str) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"its blind index {index.label!r} finds rows that only look alike, which are taken out "
        f"after decryption; here they cannot be, because {why}. {_ADVICE}",
        table=index.table,
        column=index.column_name,
        reason="needs-filter",
    )
