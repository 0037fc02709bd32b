"""Rows are dropped from a result while they are fetched, so that a stream stays one.

It stands before SQLAlchemy's own strategy, with which a result fetches rows from its cursor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine.cursor import CursorFetchStrategy

Admit = Callable[[Any], Any]
"""The row that stands in the result for one that the driver delivered; ``None`` for none."""


class FilteredFetch(CursorFetchStrategy):
    """A result's way to its rows, less those that are not to be seen.

    :param inner: the strategy that fetches.
    :param admit: tells which rows stay, and as what.
    """

    __slots__ = ("_admit", "_inner")

    def __init__(self, inner: Any, admit: Admit) -> None:
        self._inner = inner
        self._admit = admit

    @classmethod
    def over(cls, result: Any, admit: Admit) -> None:
        """Put the filter before whatever `result` fetches with."""
        result.cursor_strategy = cls(result.cursor_strategy, admit)

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.soft_close(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.hard_close(result, dbapi_cursor)

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        self._inner.yield_per(result, dbapi_cursor, num)
        if result.cursor_strategy is not self:
            self._inner, result.cursor_strategy = result.cursor_strategy, self

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        while True:
            row = self._inner.fetchone(result, dbapi_cursor, hard_close)
            if row is None:
                return None
            admitted = self._admit(row)
            if admitted is not None:
                return admitted

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        kept: list[Any] = []
        while True:
            wanted = None if size is None else size - len(kept)
            rows = self._inner.fetchmany(result, dbapi_cursor, wanted)
            kept += self._admitted(rows)
            if not rows or result.cursor is None:
                return kept
            # Fewer than asked for would be taken for the end of the result.
            if kept and (size is None or len(kept) == size):
                return kept

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        return self._admitted(self._inner.fetchall(result, dbapi_cursor))

    def _admitted(self, rows: Any) -> list[Any]:
        return [row for row in map(self._admit, rows) if row is not None]
