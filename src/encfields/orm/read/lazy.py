"""The cells of a lazy column: delivered unopened, and opened when their value is requested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.util.concurrency import in_greenlet

from encfields.errors import EncFieldsError, KeyUnavailableError, UnreadableError
from encfields.message import MAGIC, read_header
from encfields.orm.engine_encryption import attachment_of
from encfields.orm.sealed import Reveal, Sealed, sealed_in
from encfields.orm.write.pending import Carried

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding

Open = Callable[[Any], Any]


class LazyCells:
    """One column's cells on one engine; implements :class:`~encfields.orm.sealed.LazyColumn`.

    :param open_: returns a cell's value.
    :param carry: returns it as :class:`~encfields.orm.write.pending.Carried`.
    :param row_of: returns the identity of a cell's row, by column name.
    """

    def __init__(
        self,
        binding: ColumnBinding,
        dialect: Dialect,
        open_: Open,
        carry: Open,
        row_of: Callable[[Any, Dialect], Mapping[str, str]],
    ) -> None:
        self._binding = binding
        self._dialect = dialect
        self._attachment = attachment_of(dialect)
        self._open = open_
        self._carry = carry
        self._row_of = row_of

    def deliver(self, cell: Any) -> Sealed[Any] | None:
        """What a result contains for a cell."""
        if cell is None:
            return None
        return sealed_in(cell if type(cell) is bytes else _kept(cell), self)

    def note(self, cell: bytes, purpose: str | None) -> None:
        """Report that a value is about to be shown."""
        binding = self._binding
        encryption = self._attachment.require(binding.table, binding.column_name)
        if encryption.on_reveal is not None:
            row = self._row(cell)
            encryption.on_reveal(Reveal(binding.table, binding.column_name, row, purpose))

    def open(self, cell: bytes) -> Any:
        """The value in a cell.

        :raises KeyUnavailableError: fetching its key would block an event loop.
        """
        if self._dialect.is_async and not in_greenlet():
            from encfields.keys.fetching.loop_runner import on_event_loop  # and asyncio

            if on_event_loop():
                self._refuse_to_wait(cell)
        return self._open(cell)

    def carry(self, cell: bytes) -> object:
        """The value, to be sealed again.

        :raises UnreadableError: its key was destroyed, and ``attach(destroyed=...)`` replaces such
            values.
        """
        carried = self._carry(cell)
        encryption = self._attachment.require()
        if carried is None or carried is encryption.destroyed:
            raise UnreadableError(
                "the value that is written back cannot be read, because its key was destroyed: "
                "leave the column out, or give it a new value",
                table=self._binding.table,
                column=self._binding.column_name,
                row=self._row(cell),
                reason="unread",
            )
        return carried

    def is_of(self, cell: bytes, column: str, texts: Sequence[str | None]) -> bool:
        """Whether a cell belongs to a column, by logical name, and a row."""
        own = list(self._row(cell).values())
        return column == self._binding.logical_name and own == list(texts)

    def _row(self, cell: bytes) -> dict[str, str]:
        try:
            return dict(self._row_of(cell, self._dialect))
        except (TypeError, ValueError):
            return {}  # opening it raises a fuller error

    def _refuse_to_wait(self, cell: bytes) -> None:
        encryption = self._attachment.require(self._binding.table, self._binding.column_name)
        try:
            header = read_header(cell[cell.index(MAGIC) :])
        except (EncFieldsError, TypeError, ValueError):
            return  # opening it raises the error
        if not encryption.holds_key(header.key_id, header.version):
            raise KeyUnavailableError(
                "the value's key is not at hand, and reveal() would block the event loop "
                "until it is fetched: write `await value.areveal()`",
                table=self._binding.table,
                column=self._binding.column_name,
                key_id=header.key_id,
                row=self._row(cell),
                reason="would-block",
            )


def carried(data: bytes, dialect: Dialect) -> Carried:
    """A plaintext, kept as bytes."""
    return Carried(data)


def _kept(cell: Any) -> Any:
    """A copy of a cell whose memory the driver may reuse; text, which cannot be opened, as
    bytes."""
    return bytes(cell) if isinstance(cell, bytearray | memoryview) else cell
