"""Rows are dropped from a result while they are fetched, so that a stream stays one.

It stands before SQLAlchemy's own strategy, with which a result fetches rows from its cursor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine.cursor import CursorFetchStrategy

Keep = Callable[[Any], bool]
"""Whether a row, as the driver delivered it, stays in the result."""


class FilteredFetch(CursorFetchStrategy):
    """A result's way to its rows, less those that are not to be seen.

    :param inner: the strategy that fetches.
    :param keep: tells which rows stay.
    """

    __slots__ = ("_inner", "_keep")

    def __init__(self, inner: Any, keep: Keep) -> None:
        self._inner = inner
        self._keep = keep

    @classmethod
    def over(cls, result: Any, keep: Keep) -> None:
        """Put the filter before whatever `result` fetches with."""
        result.cursor_strategy = cls(result.cursor_strategy, keep)

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
            if row is None or self._keep(row):
                return row

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        kept: list[Any] = []
        while True:
            wanted = None if size is None else size - len(kept)
            rows = self._inner.fetchmany(result, dbapi_cursor, wanted)
            kept += [row for row in rows if self._keep(row)]
            if not rows or result.cursor is None:
                return kept
            # Fewer than asked for would be taken for the end of the result.
            if kept and (size is None or len(kept) == size):
                return kept

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        return [row for row in self._inner.fetchall(result, dbapi_cursor) if self._keep(row)]
