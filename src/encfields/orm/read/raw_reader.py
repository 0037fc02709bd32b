"""The type of a message in raw SQL's result: opens it once it was put together with its row's key.

The column of a database can hold any bytes, a whole cell with another row's key in it too. So
this type knows the cells that were put together here by their class, and opens nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy.types import TypeEngine

from encfields.errors import UnreadableError
from encfields.message import core
from encfields.orm.read.row_reader import RowReader, holds_text

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.read.row_reader import Decode


class PutTogether(bytes):
    """A cell that was made of a message and of the key beside it in the same row."""

    __slots__ = ()


class RawReader(RowReader):
    """Opens the cells of one column in the result of raw SQL."""

    def opener(self, dialect: Dialect, decode: Decode | None = None) -> Callable[[Any], Any]:
        """The function that opens a cell; see :meth:`RowReader.opener`."""
        open_cell, binding = super().opener(dialect, decode), self.binding
        opened = core.OpenedCell

        def open_put_together(cell: Any) -> Any:
            if type(cell) is PutTogether:
                return open_cell(bytes(cell))
            if cell is None or type(cell) is opened:
                return open_cell(cell)
            is_text = isinstance(cell, str)
            del cell
            if is_text:
                raise holds_text(binding)
            raise UnreadableError(
                "several columns of the raw SQL's result have its name, so nothing tells which of "
                "them stands beside its row's key: give each a name of its own",
                table=binding.table,
                column=binding.column_name,
                reason="untraceable",
            )

        return open_put_together


class Unreadable(TypeEngine[Any]):
    """The type of a column in raw SQL whose values cannot be read, if there are any.

    :param message: says why.
    """

    def __init__(self, message: str, table: str | None, column: str | None) -> None:
        self.message = message
        self.table = table
        self.column = column

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        def refuse(cell: Any) -> Any:
            if cell is None:
                return None
            del cell
            raise UnreadableError(
                self.message, table=self.table, column=self.column, reason="untraceable"
            )

        return refuse
