"""Checks whether values belong to their rows, by one description of their binding."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from encfields.alembic.autogenerate.sampled import SampledValue
from encfields.bulk.rows.places import ColumnPlaces, ValuePlace
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.engine import engine_encryption
from encfields.errors import BindingError, DecryptionError, KeyDestroyedError, KeyNotFoundError
from encfields.message import open_

if TYPE_CHECKING:
    from encfields.engine import Encryption


class BindingAnswer(enum.Enum):
    """``YES``, ``NO``, or ``NOBODY_KNOWS`` if its key was destroyed, so that nothing opens it."""

    YES = "yes"
    NO = "no"
    NOBODY_KNOWS = "nobody knows"


class BindingCheck:
    """Checks values of one column.

    :param spec: the table and that one column, with the binding to check.
    :param encryption: opens the values; ``None`` to compare only headers, which anybody can write.
    :raises DeclarationError: the table does not fit the spec.
    """

    def __init__(
        self, connection: Connection, spec: TableSpec, encryption: Encryption | None
    ) -> None:
        (binding,) = spec.reflect(connection).bindings
        self._identity = [column.name for column in binding.identity]
        self._places = ColumnPlaces(binding, connection.dialect)
        self._encryption = encryption

    def is_of_row(self, cell: SampledValue) -> bool:
        """Whether the header names the row, under any key."""
        place = self._place(cell)
        return place is not None and place.context == cell.context

    def belongs(self, cell: SampledValue) -> BindingAnswer:
        """Whether a value is bound to its row under the row's key, and opens.

        :raises KeyStoreError: the keys are unreachable.
        """
        place = self._place(cell)
        if place is None or (place.context, place.key_id) != (cell.context, cell.key_id):
            return BindingAnswer.NO
        if self._encryption is None or cell.value is None:
            return BindingAnswer.YES
        try:
            open_(
                cell.value,
                place.context,
                engine_encryption(self._encryption).find_key,
                place.key_ids,
            )
        except KeyDestroyedError:
            return BindingAnswer.NOBODY_KNOWS
        except (DecryptionError, KeyNotFoundError):
            return BindingAnswer.NO
        return BindingAnswer.YES

    def opened(self, cell: SampledValue) -> bytes | None:
        """The plaintext of a value bound to its row; ``None`` if it does not open there.

        :raises KeyStoreError: the keys are unreachable.
        """
        place = self._place(cell)
        if place is None or self._encryption is None or cell.value is None:
            return None
        try:
            return open_(
                cell.value,
                place.context,
                engine_encryption(self._encryption).find_key,
                place.key_ids,
            )
        except (DecryptionError, KeyDestroyedError, KeyNotFoundError):
            return None

    def _place(self, cell: SampledValue) -> ValuePlace | None:
        try:
            texts = self._places.texts([cell.row.get(name) for name in self._identity])
            return None if texts is None else self._places.find(texts, cell.context)
        except BindingError:
            return None


def binding_check_of(
    connection: Connection, table: TableSpec, column: SealedColumn, encryption: Encryption | None
) -> BindingCheck:
    """The check of one column with the binding that `column` describes.

    :raises DeclarationError: the table does not fit the description.
    """
    return BindingCheck(connection, TableSpec(table.table, (column,), table.schema), encryption)


def belonging(
    judge: BindingCheck, cells: Iterable[SampledValue]
) -> tuple[list[SampledValue], list[SampledValue]]:
    """The values that belong to their rows, and those that do not.

    :raises KeyStoreError: the keys are unreachable.
    """
    answers = [(cell, judge.belongs(cell)) for cell in cells]
    there = [cell for cell, answer in answers if answer is BindingAnswer.YES]
    return there, [cell for cell, answer in answers if answer is BindingAnswer.NO]
