"""A table as lines of text, for more rows than anybody looks at one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unicodedata import combining, east_asian_width

GAP = "  "


def plain_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0
) -> Iterator[str]:
    """The lines of a table with its headings, aligned and not folded.

    :param right: so many of the last columns are aligned to the right.
    """
    widths = [max(map(_width, column)) for column in zip(headings, *rows, strict=True)]
    first_right = len(headings) - right
    for row in (headings, ["-" * width for width in widths], *rows):
        cells = [
            _padded(cell, width, to_the_right=number >= first_right)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield GAP.join(cells).rstrip()


def _padded(cell: str, width: int, *, to_the_right: bool) -> str:
    blanks = " " * (width - _width(cell))
    return blanks + cell if to_the_right else cell + blanks


def _width(text: str) -> int:
    """How many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(one) else 1 + (east_asian_width(one) in "WF") for one in text)
