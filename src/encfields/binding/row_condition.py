"""What a statement's comparisons by blind index demand of each row that it delivers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encfields.binding.lookups import LookupBind
    from encfields.binding.row_cell import RowReader


@dataclass(frozen=True, slots=True)
class DeliveredCell:
    """Where a row delivers one of the columns that an index is of.

    :ivar position: in the row, as the driver delivers it.
    :ivar reader: the column's, which tells a cell's row.
    :ivar open: gives a cell's value.
    """

    position: int
    reader: RowReader
    open: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class RowFilter:
    """What one comparison asked for, and where its rows deliver it.

    :ivar lookups: the binds that were looked up for it.
    :ivar cells: one for each column of the index.
    """

    lookups: tuple[LookupBind, ...]
    cells: tuple[DeliveredCell, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """An OR, of whose parts each can be compared."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """An AND; parts that cannot be compared are left out of it."""

    parts: tuple[Condition, ...]


Condition = RowFilter | AnyOf | AllOf
