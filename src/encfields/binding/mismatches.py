"""Reporting rows that a full-length blind index found, and whose value is another one."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from encfields.errors import EncFieldsError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.binding.row_condition import DeliveredCell, RowFilter
    from encfields.stats import Stats

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
        self._told = False

    def note(self, missed: RowFilter, row: Any) -> None:
        """Report a row that is left out of the result."""
        self._stats.index_mismatches += 1
        if self._told:
            return
        self._told = True
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
