"""Opens the encrypted cells of a result's rows as they are fetched.

A result fetches through SQLAlchemy's own strategy; ours wraps that and changes the rows before they
are processed. It opens the cells of all rows of a fetch together: SQLAlchemy processes one value at
a time, but the compiled core opens eight in the time of two or three, while other threads run. The
function that opens a cell then finds its value. A cell that does not open stays as it is, and is
refused when it is processed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine.cursor import CursorFetchStrategy

from encfields.message import core
from encfields.orm import internals
from encfields.orm.adoption.reads import AdoptingReader
from encfields.orm.read.raw_reader import RawReader
from encfields.orm.read.row_reader import AT_ONCE, RowReader
from encfields.orm.read.union_reads import UnionReader
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from encfields.message.one_pass import Column, OpenRows
    from encfields.orm.engine_encryption import Attachment, EngineEncryption


_READING = (RowReader, RawReader, AdoptingReader, UnionReader)
_READERS = tuple(f"{reader.__name__}." for reader in _READING)
"""Prefix of the names of functions that open a cell."""


def encrypted_columns(result: Any) -> list[tuple[int, Callable[[Any], Any]]]:
    """Positions of encrypted columns in a result's rows, with the functions that open their
    cells."""
    return [
        (position, processor)
        for position, processor in enumerate(internals.result_processors(result))
        if getattr(processor, "__qualname__", "").startswith(_READERS)
    ]


class FetchedRows(CursorFetchStrategy):
    """A strategy around the one with which a result fetches its rows.

    :param inner: the strategy that fetches.
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def changed(self, rows: Any) -> Any:
        """What is returned for the rows that were fetched: as many."""
        raise NotImplementedError

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        row = self._inner.fetchone(result, dbapi_cursor, hard_close)
        return None if row is None else self.changed([row])[0]

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        return self.changed(self._inner.fetchmany(result, dbapi_cursor, size))

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        return self.changed(self._inner.fetchall(result, dbapi_cursor))

    @property
    def inner(self) -> Any:
        """The strategy that fetches."""
        return self._inner

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.soft_close(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.hard_close(result, dbapi_cursor)

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        # A strategy that fetches in batches replaces the one that it is called on.
        outermost, result.cursor_strategy = result.cursor_strategy, self._inner
        self._inner.yield_per(result, dbapi_cursor, num)
        self._inner, result.cursor_strategy = result.cursor_strategy, outermost


WORTH_WHILE = 3
"""Number of cells from which opening them together is faster than one by one."""


def open_at_once(result: Any, processors: Sequence[Any], attachment: Attachment) -> None:
    """Open the encrypted cells of a result as its rows are fetched, if the core can.

    :param processors: the result processor of each column.
    :param attachment: holds the engine's encryption while there is one.
    """
    open_rows = core.open_rows
    if open_rows is None:
        return
    columns = [
        (position, *reading)
        for position, processor in enumerate(processors)
        if processor is not None and (reading := getattr(processor, AT_ONCE, None)) is not None
    ]
    if columns:
        inner = result.cursor_strategy
        result.cursor_strategy = OpenedAtOnce(inner, columns, attachment, open_rows)


class OpenedAtOnce(FetchedRows):
    """A fetch strategy that opens the encrypted cells of the rows.

    :param inner: the strategy that fetches.
    :param columns: the encrypted ones.
    :param attachment: holds the engine's encryption while there is one.
    :param open_: of the compiled core.
    """

    __slots__ = ("_attachment", "_columns", "_open")

    def __init__(
        self, inner: Any, columns: list[Column], attachment: Attachment, open_: OpenRows
    ) -> None:
        self._inner = inner
        self._columns = columns
        self._attachment = attachment
        self._open = open_

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        row = self._inner.fetchone(result, dbapi_cursor, hard_close)
        if row is None or len(self._columns) < WORTH_WHILE:
            return row
        return self.changed([row])[0]

    def changed(self, rows: Any) -> Any:
        """The rows, with opened cells if that is worth while."""
        encryption = self._attachment.encryption
        if encryption is None or len(rows) * len(self._columns) < WORTH_WHILE:
            return rows
        return self._opened_by(encryption, rows)

    @leaves_no_trace
    def _opened_by(self, encryption: EngineEncryption, rows: Any) -> Any:
        opened, count = self._open(list(rows), self._columns, encryption.find_key)
        encryption.stats.opened += count
        return opened
