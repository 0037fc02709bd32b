"""What the command prints: tables for people, JSON for programs, errors for both."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unicodedata import combining, east_asian_width

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from encfields.errors import ConfigurationError, EncFieldsError, printable

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 160

MAX_DRAWN_ROWS = 200
"""Rows of a table that is drawn with rules, folded to the terminal's width."""

Cell = str | tuple[str, str]
"""Text, or text and rich style."""


class Output:
    """Where one run of the command writes.

    :param as_json: write one JSON document to standard output, and nothing else there. Only
        people's tables need the rich library.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console: Console | None = None

    def json(self, document: Any) -> None:
        """Write the run's one document."""
        sys.stdout.write(json.dumps(document, indent=2) + "\n")

    def line(self, text: str, style: str = "") -> None:
        """Write one paragraph for people."""
        self._print(plain(text), style=style, markup=False, highlight=False)

    def table(
        self, title: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]], right: int = 0
    ) -> None:
        """Write a table for people.

        :param headings: one for each column; all empty for a table without a head.
        :param right: so many of the last columns hold numbers.
        """
        self._require_rich()
        if len(rows) > MAX_DRAWN_ROWS:
            self._write_plainly(title, headings, rows, right)
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(plain(title)), title_justify="left", show_header=any(headings))
        for number, heading in enumerate(headings):
            is_number = number >= len(headings) - right
            table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            cells = [(cell, "") if isinstance(cell, str) else cell for cell in row]
            table.add_row(*(Text(plain(text), style=style) for text, style in cells))
        self._print(table)

    def _write_plainly(
        self, title: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]], right: int
    ) -> None:
        """A table that is too long to be drawn: rich takes milliseconds for each row."""
        texts = [[plain(one if isinstance(one, str) else one[0]) for one in row] for row in rows]
        lines = plain_table(headings, texts, right)
        sys.stdout.write("".join(f"{line}\n" for line in (plain(title), *lines)))

    @contextmanager
    def progress(self, what: str, unit: str = "rows") -> Iterator[Callable[[int], None]]:
        """Show on standard error, if that is a terminal, how many rows were looked at.

        :param unit: what is counted, if not rows.
        """
        if not self.shows_progress:
            yield lambda rows: None
            return
        from rich.console import Console
        from rich.text import Text

        with Console(stderr=True).status(Text(plain(what))) as shown:
            yield lambda rows: shown.update(Text(plain(f"{what}: {rows:,} {unit}")))

    @property
    def shows_progress(self) -> bool:
        """Whether somebody watches standard error."""
        return not self.as_json and sys.stderr.isatty()

    def _print(self, what: Any, **options: Any) -> None:
        console = self._require_rich()
        try:
            console.print(what, **options)
        except SystemExit:
            # rich ends the process with status 1 if the reader is gone; 1 has a meaning of ours.
            raise BrokenPipeError from None

    def _require_rich(self) -> Console:
        """The rich console.

        :raises ConfigurationError: rich is not installed.
        """
        if self._console is None:
            self._console = _new_console()
        return self._console


def _new_console() -> Console:
    try:
        from rich.console import Console
    except ImportError:
        raise ConfigurationError(
            "tables need the rich library: pip install 'encfields[cli]', or use --json",
            reason="no-rich",
        ) from None
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=WIDTH_WITHOUT_TERMINAL)
    return console


def plain(text: str) -> str:
    """`text` without control characters: key ids and contexts come from whoever wrote a value,
    and must not steer the terminal."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text
    )


def pairs_of(texts: Mapping[str, str | None]) -> str:
    """A row's identity, or an encryption context, in one line whatever it holds."""
    return ", ".join(f"{name}={printable(str(text))}" for name, text in texts.items())


def tell_error(error: EncFieldsError | SQLAlchemyError, *, as_json: bool) -> None:
    """One message on standard error, never a traceback; with `as_json`, a document as well."""
    message = str(error) if isinstance(error, EncFieldsError) else _database_message(error)
    sys.stderr.write(f"encfields: {plain(message)}\n")
    if as_json:
        document: dict[str, Any] = {"type": type(error).__name__, "message": message}
        for name in ("table", "column", "key_id", "reason"):
            document[name] = getattr(error, name, None)
        sys.stdout.write(json.dumps({"error": document}, indent=2) + "\n")


def _database_message(error: SQLAlchemyError) -> str:
    """What the driver says in its first line: the rest may hold the statement's parameters."""
    if isinstance(error, DBAPIError):
        lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        return f"the database says: {lines[0]}"
    return f"SQLAlchemy says: {type(error).__name__}: {str(error).splitlines()[0]}"


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
