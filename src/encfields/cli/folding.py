"""Text within the width of a terminal: counted in places, not characters, and folded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import category, east_asian_width

_PIECES = re.compile(r"\s+|[^\s/,:=_-]+[/,:=_-]*|[/,:=_-]+")
"""Blanks, or a part of a word: names and ARNs are long, and are folded after their separators."""


def width_of(text: str) -> int:
    """How many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_places, text))


def _places(one: str) -> int:
    if category(one) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(one) in "WF" else 1


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
    for one in piece:
        taken = _places(one)
        if places + taken > width and chunk:
            yield chunk
            chunk, places = "", 0
        chunk, places = chunk + one, places + taken
    yield chunk
