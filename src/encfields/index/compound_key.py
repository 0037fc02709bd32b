"""The values of several columns that are looked up together."""

from __future__ import annotations

from typing import NoReturn


class CompoundKey:
    """One value for each column of a compound index, in the index's order. It shows nothing."""

    __slots__ = ("values",)

    def __init__(self, values: tuple[object, ...]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return "<values of a compound blind index>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("values that are looked up are never pickled")
