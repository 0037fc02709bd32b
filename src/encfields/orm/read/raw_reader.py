"""The type of a message in raw SQL's result: opens it once it was put together with its row's key.

The column of a database can hold any bytes, a whole cell with another row's key in it too. So
this type knows the cells that were put together here by their class, and opens nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
