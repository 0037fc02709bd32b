"""A cell of a result that was opened before its row is processed, so that it is opened once."""

from __future__ import annotations

from typing import NoReturn


class OpenedCell:
    """Stands in a driver's row for a cell that a look-up opened to compare it.

    It shows nothing of its value, as the cell itself does not.

    :ivar value: the column's value.
    """

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<opened value>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a value on its way out of a result is never pickled")
