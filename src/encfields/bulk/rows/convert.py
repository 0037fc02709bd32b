"""The run that converts values from one inner type to another, in their places, losing nothing."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sa
from sqlalchemy.engine import Dialect

from encfields.bulk.rows.cells import SealedCell
from encfields.bulk.rows.changes import OF_THIS_VALUE, Outcome
from encfields.bulk.rows.inner_types import type_from_data
from encfields.bulk.rows.job import PreparedJob
from encfields.bulk.rows.reseal_and_index import Cell, ResealAndIndex
from encfields.codecs import codec_for
from encfields.errors import EncFieldsError, ValueDecodingError, ValueEncodingError
from encfields.message.header import CONTEXT_OFFSET

if TYPE_CHECKING:
    from encfields.engine import Encryption


class Convert(ResealAndIndex):
    """Opens every value of the columns to be converted, and seals anew those of the former type.

    No header tells the type, so sweeps open the values again. What was converted is in place and
    of the new type, so a run that is broken off and taken up again converts nothing twice. See
    :class:`~encfields.bulk.rows.changes.RowWork`.
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

    def _place(self, row: Any, number: int, key: Any, outcome: Outcome) -> Cell:
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
        if cell.plaintext != stored:
            # What is derived from it changes, as where it is bound anew.
            cell.is_current, cell.moves = False, True
        return cell

    def _is_old(self, row: Any, source: SealedCell, cell: Cell) -> bool | None:
        """Whether a value is of the former type, as far as its binding tells."""
        context, data = cell.place[0], cell.data or b""
        if not self._moves or source.place(row, data)[0] == context:
            return None
        return not data.startswith(context, CONTEXT_OFFSET)

    def _open_cell(self, row: Any, number: int, cell: Cell, key: Any, outcome: Outcome) -> None:
        if number not in self._conversions:
            super()._open_cell(row, number, cell, key, outcome)
        elif cell.plaintext is not None and not cell.is_current:
            # One that was refused is left as it is.
            cell.new = cell.resealer.seal(cell.plaintext, cell.place[0], cell.frame)


_NUMBERS = (int, float, decimal.Decimal)


class _Lossy(Exception):
    """The value has no equal of the other type."""


class Conversion:
    """Converts plaintexts.

    :param was: the type that wrote them. :param to: the type that is to read them.
    :param dialect: of the database.
    """

    def __init__(self, was: sa.TypeEngine[Any], to: sa.TypeEngine[Any], dialect: Dialect) -> None:
        self._was, self._to, self._dialect = was, to, dialect
        self._old, self._new = codec_for(was), codec_for(to)

    def of(self, data: bytes, is_old: bool | None) -> bytes:
        """The plaintext that the new type reads.

        :param is_old: whether the former type wrote `data`; ``None`` if only `data` can tell.
        :returns: the same where nothing is to be done.
        :raises ValueDecodingError: it is of neither type, of either with another meaning, or has
            no equal under the new one.
        """
        if is_old is not True and self._reads(self._new, data):
            if is_old is None:
                self._require_one_meaning(data)
            return data
        if is_old is False or not self._reads(self._old, data):
            raise ValueDecodingError(
                f"it is neither of the former type, {self._was!r}, nor of the new one, "
                f"{self._to!r}; it is left as it is",
                reason="neither-type",
            )
        return self._converted(data)

    def _require_one_meaning(self, data: bytes) -> None:
        """See that what the new type reads is not also something else of the former one."""
        if not self._reads(self._old, data):
            return
        try:
            if self._converted(data) == data:
                return
        except EncFieldsError:
            return  # as a value of the former type it could not be converted: it is a new one
        raise ValueDecodingError(
            f"both {self._was!r} and {self._to!r} read it, as different values, so that nobody "
            "can tell whether it was converted; it is left as it is. Give the new type a name of "
            "its own, EncryptedType(..., name=), and the former one in was_bound=",
            reason="ambiguous-type",
        )

    def _converted(self, data: bytes) -> bytes:
        dialect, failure = self._dialect, "it has no equal of the new type"
        try:
            value = adapted(self._old.decode(data, dialect), self._to)
            new = self._new.encode(value, dialect)
            if self._new.decode(new, dialect) == value:
                return new
        except ValueEncodingError as error:
            failure = error.message.removesuffix("; nothing was stored")
        except (_Lossy, UnicodeError, ArithmeticError, ValueError, TypeError):
            pass
        raise ValueDecodingError(
            f"it cannot be converted from {self._was!r} to {self._to!r} without loss ({failure}); "
            "it is left as it is",
            reason="not-convertible",
        )

    def _reads(self, codec: Any, data: bytes) -> bool:
        try:
            codec.decode(data, self._dialect)
        except ValueDecodingError:
            return False
        return True


def adapted(value: object, to: sa.TypeEngine[Any]) -> object:
    """The value of a type that equals `value`.

    :raises _Lossy: there is none.
    """
    if isinstance(to, sa.DateTime):
        is_day = isinstance(value, dt.date) and not isinstance(value, dt.datetime)
        return dt.datetime.combine(value, dt.time()) if is_day else value  # type: ignore[arg-type]
    if isinstance(to, sa.Date):
        return _day(value)
    if isinstance(to, sa.JSON):
        return _json(value)
    if isinstance(to, sa.String) and not isinstance(to, sa.Enum):
        return value.decode() if isinstance(value, bytes) else _text(value)
    if isinstance(to, sa.LargeBinary):
        return value.encode() if isinstance(value, str) else value
    return _number(value, to)


def _day(value: object) -> object:
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None or value.time() != dt.time():
            raise _Lossy
        return value.date()
    return value


def _text(value: object) -> object:
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    is_plain = isinstance(value, (int, decimal.Decimal, uuid.UUID)) and not isinstance(value, bool)
    return str(value) if is_plain else value


def _json(value: object) -> object:
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


def _number(value: object, to: sa.TypeEngine[Any]) -> object:
    if not isinstance(value, _NUMBERS):
        return value
    number: Any
    if isinstance(to, sa.Boolean):
        number = bool(value)
    elif isinstance(to, sa.Integer):
        number = int(value)
    elif isinstance(to, sa.Numeric):
        number = decimal.Decimal(value) if to.asdecimal else float(value)
    else:
        return value
    if number != value:
        raise _Lossy
    return number
