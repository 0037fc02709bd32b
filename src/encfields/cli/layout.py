"""How text is laid out: in a terminal within its width, in a log file as wide as it is.

Paragraphs are folded between words; places are counted, not characters. Nothing of a table is ever
cut off. What is too wide for a terminal has its identifiers shortened, then its texts folded, and
is at last written row by row, one line for each cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from unicodedata import category, east_asian_width

# -- paragraphs --------------------------------------------------------------------------------

_PIECES = re.compile(r"\s+|[^\s/,:=_-]+[/,:=_-]*|[/,:=_-]+")
"""Blanks, or a part of a word: names and ARNs are long, and are folded after their separators."""


def width_of(text: str) -> int:
    """How many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_places, text))


def _places(character: str) -> int:
    if category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def fold(text: str, width: int, hanging: str = "") -> list[str]:
    """The lines of a paragraph that is folded between words.

    :param width: places of a line.
    :param hanging: what all lines but the first begin with.
    """
    if width_of(text) <= width:
        return [text]
    lines, line = [], ""
    for piece in _pieces(text, max(1, width - len(hanging))):
        if width_of(line) + width_of(piece.rstrip()) > width and line.strip():
            lines.append(line.rstrip())
            line = hanging + piece.lstrip()
        else:
            line += piece
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _pieces(text: str, width: int) -> Iterator[str]:
    """What a line can be broken between; none is wider than a line."""
    for word in _words(text):
        if width_of(word.rstrip()) <= width:
            yield word
        else:
            for piece in _PIECES.findall(word):
                yield from _chunks(piece, width)


def _words(text: str) -> list[str]:
    """Words, each with the blanks after it; the first with those before it."""
    return re.findall(r"^\s*\S*\s*|\S+\s*", text)


def _chunks(piece: str, width: int) -> Iterator[str]:
    chunk, places = "", 0
    for character in piece:
        taken = _places(character)
        if places + taken > width and chunk:
            yield chunk
            chunk, places = "", 0
        chunk, places = chunk + character, places + taken
    yield chunk


# -- tables -----------------------------------------------------------------------------------

GAP = "  "
INDENT = "  "

LEAST_WIDTH = 16
"""Places below which a text is not folded: it would no longer be read."""

_HEADING_LINES = 2

HEADING_STYLE = "bold"
RULE_STYLE = "dim"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_SHORT = (8, 13, 18, 23)
"""Where an identifier may be cut: after a group of its digits."""


class StyledText(NamedTuple):
    """A piece of text, and the style in which it is shown."""

    text: str
    style: str = ""


Line = list[StyledText]
"""The pieces of one line, next to each other."""


class Column(NamedTuple):
    """One column of a table.

    :param heading: may be empty. :param cells: from top to bottom.
    :param is_number: aligned to the right and never folded.
    """

    heading: str
    cells: list[StyledText]
    is_number: bool

    @property
    def width(self) -> int:
        """Places that it takes if nothing is folded."""
        return max(map(width_of, [self.heading, *(cell.text for cell in self.cells)]))


def lay_out(
    headings: Sequence[str], rows: Sequence[Sequence[StyledText]], *, right: int, width: int | None
) -> Iterator[Line]:
    """The lines of a table.

    :param headings: one for each column; all empty for a table without a head.
    :param right: so many of the last columns hold numbers.
    :param width: places that there are; ``None`` for as many as it takes.
    """
    if not rows:
        return
    columns = [
        Column(heading, [row[number] for row in rows], number >= len(headings) - right)
        for number, heading in enumerate(headings)
    ]
    natural = [column.width for column in columns]
    if width is None or _total_width(natural) <= width:
        yield from _lines(columns, natural)
        return
    short = [_with_short_uuids(column) for column in columns]
    widths = _fitting_widths(short, width, _HEADING_LINES) or _fitting_widths(short, width, None)
    if widths is not None:
        yield from _lines(short, widths)
    else:
        yield from _row_by_row(columns, width)


def _total_width(widths: Sequence[int]) -> int:
    return len(INDENT) + sum(widths) + len(GAP) * (len(widths) - 1)


def _with_short_uuids(column: Column) -> Column:
    """The column with its UUIDs cut where they still differ."""
    if not column.heading:
        return column  # of a list of properties, each on its own line
    whole = {cell.text for cell in column.cells if _UUID.fullmatch(cell.text)}
    for digits in _SHORT:
        if len({identifier[:digits] for identifier in whole}) == len(whole):
            cells = [
                cell._replace(text=f"{cell.text[:digits]}…") if cell.text in whole else cell
                for cell in column.cells
            ]
            return column._replace(cells=cells)
    return column


def _fitting_widths(
    columns: Sequence[Column], width: int, heading_lines: int | None
) -> list[int] | None:
    """The widths of the columns within that of the terminal; ``None`` if texts would be folded
    beyond reading.

    :param heading_lines: lines that a heading of numbers is folded to; ``None`` for one a word.

    Numbers get what they need. The others, the narrowest first, get what they need or an equal
    share of what is left, and leave to the rest what folding between words does not use of it.
    """
    natural = [column.width for column in columns]
    if _total_width(natural) <= width:
        return natural
    widths = list(natural)
    for number, column in enumerate(columns):
        if column.is_number:
            cells = max(map(width_of, _texts(column)))
            widths[number] = max(cells, _heading_width(column.heading, heading_lines))
    left = [number for number, column in enumerate(columns) if not column.is_number]
    rest = width - _total_width([0 if number in left else one for number, one in enumerate(widths)])
    left.sort(key=natural.__getitem__)
    while left:
        share, number = rest // len(left), left.pop(0)
        if natural[number] > share:
            if share < LEAST_WIDTH:
                return None
            column = columns[number]
            folded = (fold(text, share) for text in [column.heading, *_texts(column)])
            widths[number] = max(width_of(line) for lines in folded for line in lines)
        rest -= widths[number]
    return widths if rest >= 0 else None


def _heading_width(heading: str, lines: int | None) -> int:
    """Places that a heading takes if it is folded, between words alone."""
    widest = max(map(width_of, heading.split()), default=0)
    if lines is None:
        return widest
    return next(
        w for w in range(widest, len(heading) + widest + 1) if len(fold(heading, w)) <= lines
    )


def _texts(column: Column) -> Iterator[str]:
    return (cell.text for cell in column.cells)


def _lines(columns: Sequence[Column], widths: Sequence[int]) -> Iterator[Line]:
    """The head, a rule, and the rows; each may take several lines."""
    if any(column.heading for column in columns):
        head = [StyledText(column.heading, HEADING_STYLE) for column in columns]
        yield from _row(columns, head, widths, at_the_bottom=True)
        yield from _row(columns, [StyledText("-" * width, RULE_STYLE) for width in widths], widths)
    for cells in zip(*(column.cells for column in columns), strict=True):
        yield from _row(columns, cells, widths)


def _row(
    columns: Sequence[Column],
    cells: Sequence[StyledText],
    widths: Sequence[int],
    *,
    at_the_bottom: bool = False,
) -> Iterator[Line]:
    folded = [fold(cell.text, width) for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, folded))
    for lines in folded:
        blank = [""] * (height - len(lines))
        lines[:] = [*blank, *lines] if at_the_bottom else [*lines, *blank]
    for texts in zip(*folded, strict=True):
        line: Line = [StyledText(INDENT)]
        blanks = ""
        for column, cell, text, width in zip(columns, cells, texts, widths, strict=True):
            padding = " " * (width - width_of(text))
            before, after = (padding, "") if column.is_number else ("", padding)
            if text:  # no blanks at the end of a line
                line += [StyledText(blanks + before), StyledText(text, cell.style)]
                blanks = after + GAP
            else:
                blanks += padding + GAP
        yield [piece for piece in line if piece.text]


def _row_by_row(columns: Sequence[Column], width: int) -> Iterator[Line]:
    """Where the terminal is too narrow for columns: a line or more for each cell."""
    names = max(width_of(column.heading) for column in columns)
    rest = max(LEAST_WIDTH, width - len(INDENT) - names - len(GAP))
    for number, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        if number:
            yield []
        for column, cell in zip(columns, cells, strict=True):
            name = column.heading
            for text in fold(cell.text, rest) if cell.text else ():
                padding = " " * (names - width_of(name)) + GAP
                yield [
                    StyledText(INDENT),
                    StyledText(name, RULE_STYLE),
                    StyledText(padding),
                    StyledText(text, cell.style),
                ]
                name = ""
