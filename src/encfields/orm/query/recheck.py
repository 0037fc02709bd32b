"""Drops rows that a blind index found but that do not match.

Rows are compared again after decryption, before anyone sees them (:mod:`recheck_plan
<encfields.orm.query.recheck_plan>` decides which can be). A truncated index is expected to find
such rows. A full-length one finds them only if somebody gave the row another row's hash: each is
counted, and the first of a result logged.

Rows are dropped while they are fetched, so that streaming still works.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from encfields.errors import EncFieldsError, ValueEncodingError
from encfields.message import core
from encfields.orm import internals
from encfields.orm.query.lookup_type import CompoundValue
from encfields.orm.query.recheck_conditions import (
    AnyOf,
    Condition,
    DeliveredCell,
    NoValueGiven,
    NullTest,
    OfTenant,
    RowFilter,
)
from encfields.orm.read.results import FetchedRows
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.stats import Stats


class FoundRow:
    """One row of a result while it is compared.

    :param delivered: the row as the driver gave it.
    :ivar mismatched: the first full-length comparison that it does not meet.
    """

    __slots__ = ("_delivered", "_hidden", "_opened", "mismatched")

    def __init__(self, delivered: Any) -> None:
        self._delivered = delivered
        self._opened: dict[int, Any] = {}
        self._hidden: dict[int, Any] = {}
        self.mismatched: RowFilter | None = None

    def values(self, cells: tuple[DeliveredCell, ...]) -> list[Any] | None:
        """The values in some cells, each opened once; ``None`` if one is NULL.

        :raises DecryptionError: one does not open.
        """
        delivered = self._delivered
        for cell in cells:
            if delivered[cell.position] is None:
                return None
        values = []
        for cell in cells:
            position = cell.position
            opened = self._opened if cell.is_shown else self._hidden
            if position not in opened:
                opened[position] = cell.open(delivered[position])
            values.append(opened[position])
        return values

    def is_null_at(self, position: int) -> bool:
        """Whether the cell at a position is NULL."""
        return self._delivered[position] is None

    def key_text(self, cell: DeliveredCell, column: str, dialect: Dialect) -> str | None:
        """What a column of the row's key is, as a cell that opens tells it; ``None`` if the cell
        is NULL."""
        delivered = self._delivered[cell.position]
        return None if delivered is None else cell.reader.row_of(delivered, dialect)[column]

    def as_opened(self) -> tuple[Any, ...]:
        """The row with the opened values in place of their cells."""
        parts = list(self._delivered)
        for position, value in self._opened.items():
            if type(parts[position]) is not core.OpenedCell:
                parts[position] = core.OpenedCell(value, parts[position])
        return tuple(parts)


class _Check:
    """Checks rows against one comparison in one execution.

    :param row_filter: the comparison.
    """

    __slots__ = ("_asked", "_filter", "_texts", "_wanted")

    def __init__(self, row_filter: RowFilter, context: Any) -> None:
        self._filter = row_filter
        asked = [v for bind in row_filter.binds for v in internals.bound_values(context, bind)]
        self._asked = asked
        self._texts = {value for value in asked if type(value) is str}
        self._wanted = None if row_filter.is_checked else self._wanted_forms()

    def _wanted_forms(self) -> set[bytes | None]:
        """The comparable forms of the values asked for."""
        form, takes_none = self._filter.form, self._filter.takes_none
        asked = [value for value in self._asked if takes_none or value is not None]
        sends = self._filter.sends
        return {form(value) for value in (asked if sends is None else map(sends, asked))}

    def holds(self, row: FoundRow) -> bool:
        """Whether the row matches; a mismatch that shows tampering is noted in it."""
        wanted = self._filter
        if wanted.is_negative and not self._asked:
            return True  # NOT IN an empty list, which NULL satisfies, too.
        values = row.values(wanted.cells)
        is_among: bool | None
        if values is None:
            is_among = False
        elif type(values[0]) is str and len(values) == 1 and values[0] in self._texts:
            is_among = True  # counts as a match
        else:
            is_among = self._is_among_asked(values)
        if is_among is None:
            return False
        if values is not None and is_among is not wanted.is_negative:
            return True
        if wanted.is_full and row.mismatched is None:
            row.mismatched = wanted
        return False

    def _is_among_asked(self, values: list[Any]) -> bool | None:
        """Whether values are among those asked for; ``None`` for what is not a value of the column,
        such as a placeholder of ``attach(destroyed=...)``."""
        value = values[0] if len(values) == 1 else CompoundValue(tuple(values))
        if self._wanted is None:
            self._wanted = self._wanted_forms()
        try:
            return self._filter.form(value) in self._wanted
        except ValueEncodingError:
            return None


def _as_test(condition: Condition, context: Any) -> Callable[[FoundRow], bool]:
    """A condition with the values of one execution."""
    if isinstance(condition, RowFilter):
        return _Check(condition, context).holds
    if isinstance(condition, NullTest):
        position, is_null = condition.cell.position, condition.is_null
        return lambda row: row.is_null_at(position) is is_null
    if isinstance(condition, NoValueGiven):
        (given,) = internals.bound_values(context, condition.bind)
        is_met = (given is None) is condition.is_null
        return lambda row: is_met
    if isinstance(condition, OfTenant):
        return _tenant_test(condition, context)
    parts = [_as_test(each, context) for each in condition.parts]
    among = any if isinstance(condition, AnyOf) else all
    return lambda row: among(part(row) for part in parts)


def _tenant_test(condition: OfTenant, context: Any) -> Callable[[FoundRow], bool]:
    cell, column, bind, to_text = condition
    given = internals.bound_values(context, bind)
    texts = {to_text(value) for value in given if value is not None}  # NULL equals nothing
    return lambda row: row.key_text(cell, column, context.dialect) in texts


def _single_text_condition(
    filters: tuple[Condition, ...], context: Any
) -> tuple[DeliveredCell, str] | None:
    """The cell and the text it must hold, if that is the only condition, as in most look-ups."""
    wanted = filters[0]
    if len(filters) > 1 or type(wanted) is not RowFilter or not wanted.takes_text:
        return None
    asked = internals.bound_values(context, wanted.binds[0])
    return (wanted.cells[0], asked[0]) if len(asked) == 1 and type(asked[0]) is str else None


_log = logging.getLogger(__name__)

MAX_SHOWN = 200
"""Characters of a row's identity in the log: it comes from the database."""


class FilteredFetch(FetchedRows):
    """A result's fetch strategy that leaves out rows that do not match.

    :param inner: the strategy that fetches.
    :param filters: what every row must meet.
    :param context: of the execution.
    :param stats: counts the rows that a full-length index should not have found.
    :raises DecryptionError: in a fetch, if a found row does not open.
    """

    __slots__ = ("_conditions", "_context", "_filters", "_has_logged", "_single_text", "_stats")

    def __init__(
        self, inner: Any, filters: tuple[Condition, ...], context: Any, stats: Stats
    ) -> None:
        self._inner = inner
        self._filters = filters
        self._context = context
        self._single_text = _single_text_condition(filters, context)
        # For a single text they are needed only for rows that do not have it.
        self._conditions = None if self._single_text else self._all_tests()
        self._stats = stats
        self._has_logged = False

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        while True:
            row = self._inner.fetchone(result, dbapi_cursor, hard_close)
            if row is None:
                return None
            admitted = self._admitted([row])
            if admitted:
                return admitted[0]

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        kept: list[Any] = []
        while True:
            wanted = None if size is None else size - len(kept)
            rows = self._inner.fetchmany(result, dbapi_cursor, wanted)
            kept += self._admitted(rows)
            if not rows or result.cursor is None:
                return kept
            # Fewer rows than requested would look like the end of the result.
            if kept and (size is None or len(kept) == size):
                return kept

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        return self._admitted(self._inner.fetchall(result, dbapi_cursor))

    def _all_tests(self) -> list[Callable[[FoundRow], bool]]:
        return [_as_test(condition, self._context) for condition in self._filters]

    @leaves_no_trace
    def _admitted(self, rows: Any) -> list[Any]:
        """The rows that match, with opened values."""
        admitted = []
        for delivered in rows:
            found = delivered
            if self._single_text is not None:
                (position, _, open_, _), text = self._single_text
                if (cell := found[position]) is not None:
                    value = open_(cell)
                    if type(cell) is not core.OpenedCell:  # the compiled core opens many at once
                        opened = core.OpenedCell(value, cell)
                        found = (*found[:position], opened, *found[position + 1 :])
                    if type(value) is str and value == text:
                        admitted.append(found)
                        continue
            self._admit(found, admitted)
        return admitted

    def _admit(self, delivered: Any, admitted: list[Any]) -> None:
        """Check a row against every condition."""
        row = FoundRow(delivered)
        if self._conditions is None:
            self._conditions = self._all_tests()
        for condition in self._conditions:
            if not condition(row):
                if row.mismatched is not None:
                    self._report(row.mismatched, delivered)
                return
        admitted.append(row.as_opened())

    def _report(self, missed: RowFilter, row: Any) -> None:
        """Report a row that a full-length index found and that does not match."""
        self._stats.index_mismatches += 1
        if self._has_logged:
            return
        self._has_logged = True
        index = missed.index
        _log.warning(
            "%s.%s: the blind index %r of the row %s does not match its value; the row was found "
            "by it and left out of the result. Find out who wrote to the column %s, and list all "
            "such rows with: encfields verify",
            index.table,
            index.column_name,
            index.label,
            self._identity(missed.cells, row),
            index.index_column.name,
        )

    def _identity(self, cells: tuple[DeliveredCell, ...], row: Any) -> str:
        """The row's key, if a cell tells it."""
        dialect: Dialect = self._context.dialect
        for cell in cells:
            if row[cell.position] is not None:
                with suppress(EncFieldsError, ValueError):
                    row_key = cell.reader.row_of(row[cell.position], dialect)
                    return ", ".join(f"{name}={text!r}" for name, text in row_key.items())[
                        :MAX_SHOWN
                    ]
        return "(its value is NULL)"
