"""Rows that a blind index found and that were not asked for are taken out of the result.

They are compared again after decryption, before anyone sees them (:mod:`filter_plan
<encfields.binding.filter_plan>` says which can be). A truncated index is expected to find such
rows. A full-length one finds them only if the row was given another one's hash, which is
reported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.filtered_fetch import FilteredFetch
from encfields.binding.index_comparison import NEGATIVE
from encfields.binding.lookups import normalised_lookup, whole_lookup
from encfields.binding.mismatches import MismatchReport
from encfields.binding.opened_cell import OpenedCell
from encfields.binding.row_condition import AnyOf, Condition, DeliveredCell, RowFilter
from encfields.errors import ValueEncodingError
from encfields.index.compound_key import CompoundKey
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.stats import Stats


def filter_rows(
    filters: tuple[Condition, ...], context: Any, result: Any, dialect: Dialect, stats: Stats
) -> None:
    """Take the rows that were not asked for out of `result`, as they are fetched.

    :raises DecryptionError: by the fetch, if a row that was found does not open.
    """
    conditions = [_tested(one, context, dialect) for one in filters]
    report = MismatchReport(stats, dialect)

    def admit(delivered: Any) -> Any:
        row = FoundRow(delivered)
        if all(condition(row) for condition in conditions):
            return row.opened()
        if row.mismatched is not None:
            report.note(row.mismatched, delivered)
        return None

    FilteredFetch.over(result, leaves_no_trace(admit))


class FoundRow:
    """One row of a result while it is compared.

    :param delivered: as the driver gave it.
    :ivar mismatched: of the full-length comparisons that it does not meet, the first.
    """

    __slots__ = ("_delivered", "_values", "mismatched")

    def __init__(self, delivered: Any) -> None:
        self._delivered = delivered
        self._values: dict[int, Any] = {}
        self.mismatched: RowFilter | None = None

    def value(self, cell: DeliveredCell) -> Any:
        """The value in a cell, which is opened once.

        :raises DecryptionError: it does not open.
        """
        if cell.position not in self._values:
            self._values[cell.position] = cell.open(self._delivered[cell.position])
        return self._values[cell.position]

    def opened(self) -> tuple[Any, ...]:
        """The row with the values that are known already in the place of their cells."""
        parts = list(self._delivered)
        for position, value in self._values.items():
            parts[position] = OpenedCell(value)
        return tuple(parts)


def _tested(condition: Condition, context: Any, dialect: Dialect) -> Callable[[FoundRow], bool]:
    """A condition with the values of one execution."""
    if isinstance(condition, RowFilter):
        return _Check(condition, context, dialect).holds
    parts = [_tested(one, context, dialect) for one in condition.parts]
    among = any if isinstance(condition, AnyOf) else all
    return lambda row: among(part(row) for part in parts)


class _Check:
    """Whether a row holds what one comparison asked for."""

    def __init__(self, row_filter: RowFilter, context: Any, dialect: Dialect) -> None:
        type_ = row_filter.lookups[0].type
        self._filter = row_filter
        self._dialect = dialect
        self._index = type_.index
        self._is_full = not type_.compared.needs_filter
        self._whole_value = type_.compared.scope.view is None
        self._negative = type_.compared.element.operator in NEGATIVE
        binds = [lookup.bind for lookup in row_filter.lookups]
        asked = [value for bind in binds for value in internals.bound_values(context, bind)]
        self._excludes_nothing = self._negative and not asked
        self._wanted = {self._form(value) for value in asked if value is not None}

    def holds(self, row: FoundRow) -> bool:
        values = tuple(row.value(cell) for cell in self._filter.cells)
        if self._excludes_nothing:
            return True  # NOT IN an empty list, which NULL meets as well.
        if any(value is None for value in values):
            return self._missed(row)
        try:
            form = self._form(values[0] if len(values) == 1 else CompoundKey(values))
        except ValueEncodingError:
            return False  # What attach(destroyed=...) gives instead of a value.
        return (form in self._wanted) is not self._negative or self._missed(row)

    def _missed(self, row: FoundRow) -> bool:
        if self._is_full and row.mismatched is None:
            row.mismatched = self._filter
        return False

    def _form(self, value: object) -> bytes | None:
        """What two values have in common if the comparison holds them for equal."""
        if self._whole_value:
            return whole_lookup(self._index, value, self._dialect)
        return normalised_lookup(self._index, value, self._dialect)
