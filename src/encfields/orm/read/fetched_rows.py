"""A result's rows on their way from its cursor, before they are processed.

What changes them stands before SQLAlchemy's own strategy, with which a result fetches.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine.cursor import CursorFetchStrategy


class FetchedRows(CursorFetchStrategy):
    """A result's way to its rows.

    :param inner: the strategy that fetches.
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.soft_close(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.hard_close(result, dbapi_cursor)

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        # What fetches in batches takes the place of the strategy that it is asked of.
        outermost, result.cursor_strategy = result.cursor_strategy, self._inner
        self._inner.yield_per(result, dbapi_cursor, num)
        self._inner, result.cursor_strategy = result.cursor_strategy, outermost
