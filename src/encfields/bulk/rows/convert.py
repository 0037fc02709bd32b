"""The run that converts values from one inner type to another, in their places, losing nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encfields.bulk.rows.places import SealedCell
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reseal_and_index import ResealAndIndex, ValueInWork
from encfields.bulk.rows.row_work import OF_THIS_VALUE, BatchOutcome
from encfields.bulk.rows.types_as_data import type_from_data
from encfields.codecs.conversion import Conversion
from encfields.message.header import CONTEXT_OFFSET

if TYPE_CHECKING:
    from encfields.engine import Encryption


class Convert(ResealAndIndex):
    """Opens every value of the columns to be converted, and seals again those of the former type.

    No header tells the type, so sweeps open the values again. What was converted is in place and
    of the new type, so a run that is broken off and taken up again converts nothing twice. See
    :class:`~encfields.bulk.rows.row_work.RowWork`.
    """

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        super().__init__(prepared, encryption)
        self.sweeps_by_header = False
        conversions = prepared.job.conversions or {}
        self._conversions: dict[int, Conversion] = {}
        for number, column in enumerate(prepared.columns):
            if column.name in conversions:
                was, to = map(type_from_data, conversions[column.name])
                self._conversions[number] = Conversion(was, to, prepared.dialect)

    def _place(self, row: Any, number: int, key: Any, outcome: BatchOutcome) -> ValueInWork:
        cell = super()._place(row, number, key, outcome)
        conversion = self._conversions.get(number)
        if conversion is None or cell.data is None:
            return cell
        target, source = self._columns[number]
        try:
            stored = self._open(row, cell.data, source, cell.resealer, cell.place)
            cell.plaintext = conversion.of(stored, self._is_old(row, source, cell))
        except OF_THIS_VALUE as error:
            outcome.refuse(key, target.binding.column_name, error)
            return cell
        # Its blind index is computed again, as where it is rebound: a text that both types
        # write, as 5 of an integer and of a decimal number, may be hashed in two ways.
        cell.moves = True
        if cell.plaintext != stored:
            cell.is_current = False
        return cell

    def _is_old(self, row: Any, source: SealedCell, cell: ValueInWork) -> bool | None:
        """Whether a value is of the former type, as far as its binding tells."""
        context, data = cell.place[0], cell.data or b""
        if not self._moves or source.place(row, data)[0] == context:
            return None
        return not data.startswith(context, CONTEXT_OFFSET)

    def _open_cell(
        self, row: Any, number: int, cell: ValueInWork, key: Any, outcome: BatchOutcome
    ) -> None:
        if number not in self._conversions:
            super()._open_cell(row, number, cell, key, outcome)
        elif cell.plaintext is not None and not cell.is_current:
            # One that was refused is left as it is.
            cell.new = cell.resealer.seal(cell.plaintext, cell.place[0], cell.frame)
