"""What the text of an adoption's trigger says: the stage, and the adoption's columns."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

OPEN, READY, CLOSED = "open", "ready", "closed"

STAGES = (OPEN, READY, CLOSED)
"""In the order in which an adoption goes through them."""


_NOTE = re.compile(r"/\* encfields-adoption (\{.*?\}) \*/")


def noted_stage(text: str) -> tuple[str, bool] | None:
    """What a trigger's text says: its stage, and whether a row has to have a value.

    :returns: ``None`` if it is none of ours.
    """
    noted = _NOTE.search(text)
    try:
        note = json.loads(noted.group(1)) if noted else {}
    except ValueError:
        return None
    stage = note.get("stage")
    return (stage, note.get("required") is True) if stage in STAGES else None


def noted_indexes(text: str) -> frozenset[str]:
    """The columns of blind indexes that a trigger makes NULL with the sealed value."""
    found = _NOTE.search(text)
    try:
        note = json.loads(found.group(1)) if found else {}
    except ValueError:
        return frozenset()
    return frozenset(map(str, note.get("indexes", ())))


class NotedAdoption(NamedTuple):
    """The columns of an adoption, as a trigger's text says them.

    :ivar plain: the plaintext one. :ivar sealed: the one that adopts it. :ivar through: see
        :class:`~encfields.orm.adoption.triggers.AdoptionInDatabase`.
    """

    plain: str
    sealed: str
    through: str | None


def noted_columns(text: str) -> NotedAdoption | None:
    """What a trigger's text says of its adoption's columns."""
    noted = _NOTE.search(text)
    try:
        note = json.loads(noted.group(1)) if noted else {}
        through = note.get("through")
        return NotedAdoption(str(note["plain"]), str(note["sealed"]), through and str(through))
    except (ValueError, KeyError):
        return None
