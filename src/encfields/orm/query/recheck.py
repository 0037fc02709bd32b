"""Rows that a blind index found and that were not asked for are taken out of the result.

They are compared again after decryption, before anyone sees them (:mod:`filter_plan
<encfields.orm.query.recheck_plan>` says which can be). A truncated index is expected to find such
rows. A full-length one finds them only if the row was given another one's hash, which is
reported.

Reporting rows that a full-length blind index found, and whose value is another one.

Rows are dropped from a result while they are fetched, so that a stream stays one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from encfields.errors import EncFieldsError, ValueEncodingError
from encfields.message.core import OpenedCell
from encfields.orm import internals
from encfields.orm.query.comparison import NEGATIVE
from encfields.orm.query.lookup_type import CompoundValue
from encfields.orm.query.lookups import normalised_lookup, whole_lookup
from encfields.orm.query.recheck_plan import AnyOf, Condition, DeliveredCell, RowFilter
from encfields.orm.read.fetched_rows import FetchedRows
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.query.recheck_plan import DeliveredCell, RowFilter
    from encfields.stats import Stats


def filter_rows(
    filters: tuple[Condition, ...], context: Any, result: Any, dialect: Dialect, stats: Stats
) -> None:
    """Take the rows that were not asked for out of `result`, as they are fetched.

    :raises DecryptionError: by the fetch, if a row that was found does not open.
    """
    conditions = [_tested(one, context, dialect) for one in filters]
    report = MismatchReport(stats, dialect)
    admit = partial(_admitted, conditions, report)
    result.cursor_strategy = FilteredFetch(result.cursor_strategy, admit)


@leaves_no_trace
def _admitted(
    conditions: list[Callable[[FoundRow], bool]], report: MismatchReport, delivered: Any
) -> Any:
    """A row as it is to be seen; ``None`` for one that was not asked for."""
    row = FoundRow(delivered)
    for condition in conditions:
        if not condition(row):
            if row.mismatched is not None:
                report.note(row.mismatched, delivered)
            return None
    return row.opened()


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

    def is_null(self, cell: DeliveredCell) -> bool:
        """Whether a cell is NULL, which a type may have a value for."""
        return self._delivered[cell.position] is None

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
            parts[position] = OpenedCell(value, parts[position])
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
        self._is_full = not type_.compared.needs_filter
        # What two values have in common if the comparison holds them for equal.
        form = normalised_lookup if type_.compared.scope.view is not None else whole_lookup
        self._form: Callable[[object], bytes | None] = partial(form, type_.index.of_values, dialect)
        self._negative = type_.compared.element.operator in NEGATIVE
        binds = [lookup.bind for lookup in row_filter.lookups]
        asked = [value for bind in binds for value in internals.bound_values(context, bind)]
        self._excludes_nothing = self._negative and not asked
        takes_none = any(source.none_is_value for source in type_.index.sources)
        self._wanted = {self._form(value) for value in asked if takes_none or value is not None}

    def holds(self, row: FoundRow) -> bool:
        if self._excludes_nothing:
            return True  # NOT IN an empty list, which NULL meets as well.
        if any(row.is_null(cell) for cell in self._filter.cells):
            return self._missed(row)
        values = [row.value(cell) for cell in self._filter.cells]
        try:
            form = self._form(values[0] if len(values) == 1 else CompoundValue(tuple(values)))
        except ValueEncodingError:
            return False  # What attach(destroyed=...) gives instead of a value.
        return (form in self._wanted) is not self._negative or self._missed(row)

    def _missed(self, row: FoundRow) -> bool:
        if self._is_full and row.mismatched is None:
            row.mismatched = self._filter
        return False


_log = logging.getLogger(__name__)

MAX_SHOWN = 200
"""Characters of a row's identity in the log: it comes from the database."""


class MismatchReport:
    """What one result has to report: every row is counted, the first is logged.

    :param stats: where rows are counted.
    """

    def __init__(self, stats: Stats, dialect: Dialect) -> None:
        self._stats = stats
        self._dialect = dialect
        self._has_logged = False

    def note(self, missed: RowFilter, row: Any) -> None:
        """Report a row that is left out of the result."""
        self._stats.index_mismatches += 1
        if self._has_logged:
            return
        self._has_logged = True
        index = missed.lookups[0].type.index
        _log.warning(
            "%s.%s: the blind index %r of the row %s is not that of its value; the row was found "
            "by it and left out of the result. Find out who wrote to the column %s, and list all "
            "such rows with: encfields verify",
            index.table,
            index.column_name,
            index.label,
            self._identity(missed.cells, row),
            index.companion.name,
        )

    def _identity(self, cells: tuple[DeliveredCell, ...], row: Any) -> str:
        """The row's key, as far as a cell of it tells."""
        for cell in cells:
            if row[cell.position] is not None:
                with suppress(EncFieldsError, ValueError):
                    found = cell.reader.row_of(row[cell.position], self._dialect)
                    return ", ".join(f"{name}={text!r}" for name, text in found.items())[:MAX_SHOWN]
        return "(its value is NULL)"


Admit = Callable[[Any], Any]
"""The row that stands in the result for one that the driver delivered; ``None`` for none."""


class FilteredFetch(FetchedRows):
    """A result's way to its rows, less those that are not to be seen.

    :param inner: the strategy that fetches.
    :param admit: tells which rows stay, and as what.
    """

    __slots__ = ("_admit",)

    def __init__(self, inner: Any, admit: Admit) -> None:
        super().__init__(inner)
        self._admit = admit

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        while True:
            row = self._inner.fetchone(result, dbapi_cursor, hard_close)
            if row is None:
                return None
            admitted = self._admit(row)
            if admitted is not None:
                return admitted

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        kept: list[Any] = []
        while True:
            wanted = None if size is None else size - len(kept)
            rows = self._inner.fetchmany(result, dbapi_cursor, wanted)
            kept += self._admitted(rows)
            if not rows or result.cursor is None:
                return kept
            # Fewer than asked for would be taken for the end of the result.
            if kept and (size is None or len(kept) == size):
                return kept

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        return self._admitted(self._inner.fetchall(result, dbapi_cursor))

    def _admitted(self, rows: Any) -> list[Any]:
        return [row for row in map(self._admit, rows) if row is not None]
