"""What the command prints: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, TextIO

from encfields.bulk.runs.progress_display import TimedLog
from encfields.cli.layout import INDENT, Line, StyledText, fold, lay_out
from encfields.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

Cell = str | tuple[str, str]
"""Text, or text and rich style."""


class Output:
    """Where one run of the command writes.

    Tables and paragraphs are folded to the width of a terminal. A log file gets them unfolded, one
    line per row, without colours; progress is logged in timestamped lines.

    :param as_json: write one JSON document to standard output, and nothing else there.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console = None if as_json else new_console(sys.stdout)
        self._has_written = False

    def json(self, document: Any) -> None:
        """Write the command's JSON document."""
        sys.stdout.write(json.dumps(document, indent=2) + "\n")

    def gap(self) -> None:
        """Write an empty line, unless nothing is above it."""
        if self._has_written:
            self._write([])

    def line(self, text: str, style: str = "") -> None:
        """Write a paragraph for people; if it is indented, its further lines are indented more."""
        for paragraph in plain(text).split("\n"):
            indent = paragraph[: len(paragraph) - len(paragraph.lstrip())]
            hanging = indent + INDENT if indent else ""
            width = self._width()
            lines = [paragraph] if width is None else fold(paragraph, width, hanging)
            for line in lines:
                self._write([StyledText(line, style)])

    def table(
        self, title: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]], right: int = 0
    ) -> None:
        """Write a table for people.

        :param headings: one for each column; all empty for a table without a head.
        :param right: so many of the last columns hold numbers.
        """
        self.gap()
        self.line(title, style="bold")
        cells = [[_piece(cell) for cell in row] for row in rows]
        for line in lay_out(headings, cells, right=right, width=self._width()):
            self._write(line)

    @contextmanager
    def progress(self, what: str, unit: str = "rows") -> Iterator[Callable[[int], None]]:
        """Show on standard error how many rows were read.

        :param unit: what is counted, if not rows.
        """
        if self.as_json:
            yield lambda rows: None
            return
        what = plain(what)
        if not self.has_terminal:
            log = TimedLog(sys.stderr, begins_at_once=False)
            yield lambda rows: log.write(f"{what}: {rows:,} {unit}")
            return
        from rich.console import Console
        from rich.text import Text as RichText

        with Console(stderr=True).status(RichText(what)) as shown:
            yield lambda rows: shown.update(RichText(f"{what}: {rows:,} {unit}"))

    @property
    def has_terminal(self) -> bool:
        """Whether standard error is a terminal that can show a bar."""
        console = new_console(sys.stderr) if sys.stderr.isatty() else None
        return console is not None and console.is_interactive

    def _width(self) -> int | None:
        """Columns of a line; unlimited if the output is not a terminal and $COLUMNS is not set."""
        if not sys.stdout.isatty():
            columns = os.environ.get("COLUMNS", "")
            return int(columns) if columns.isdecimal() and int(columns) else None
        return get_terminal_size().columns if self._console is None else self._console.width

    def _write(self, line: Line) -> None:
        self._has_written = True
        if self._console is None or not self._console.is_terminal:
            sys.stdout.write("".join(writable(piece.text) for piece in line) + "\n")
            return
        from rich.text import Text as RichText

        pieces = [(writable(piece.text), piece.style) for piece in line]
        try:
            self._console.print(RichText.assemble(*pieces), soft_wrap=True)
        except SystemExit:
            # rich exits with status 1 if the reader is gone, which has another meaning here.
            raise BrokenPipeError from None


def new_console(file: TextIO) -> Console | None:
    """A console for coloured output; ``None`` without the rich library, so without colours and
    bars."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=file)


def _piece(cell: Cell) -> StyledText:
    """A cell on one line whatever it holds."""
    text, style = (cell, "") if isinstance(cell, str) else cell
    return StyledText(plain(text).replace("\n", r"\n"), style)


def writable(text: str) -> str:
    """`text` with characters that standard output cannot encode written as escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def plain(text: str) -> str:
    """`text` without control characters: key ids and contexts may come from anybody, and must not
    control the terminal."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def pairs_of(texts: Mapping[str, str | None]) -> str:
    """A row's identity, or an encryption context, in one line whatever it holds."""
    return ", ".join(f"{name}={printable(str(text))}" for name, text in texts.items())


def how_many(number: int, noun: str) -> str:
    """A number and what is counted."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
