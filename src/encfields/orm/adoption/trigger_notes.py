"""What the text of an adoption's trigger records: the stage, and the adoption's columns."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

OPEN, READY, CLOSED = "open", "ready", "closed"

STAGES = (OPEN, READY, CLOSED)
"""In the order in which an adoption goes through them."""


_NOTE = re.compile(r"/\* encfields-adoption (\{.*?\}) \*/")


def noted_stage(text: str) -> tuple[str, bool] | None:
    """What a trigger's text records: its stage, and whether a row must have a value.

    :returns: ``None`` if it is not one of ours.
    """
    note = _note_in(text)
    stage = note.get("stage")
    return (stage, note.get("required") is True) if stage in STAGES else None


def noted_indexes(text: str) -> frozenset[str]:
    """The columns of blind indexes that a trigger sets to NULL with the sealed value."""
    return frozenset(map(str, _note_in(text).get("indexes", ())))


class NotedAdoption(NamedTuple):
    """The columns of an adoption, as recorded in a trigger's text.

    :ivar plain: the plaintext column.
    :ivar sealed: the one that adopts it.
    :ivar through: see :class:`~encfields.orm.adoption.triggers.AdoptionInDatabase`.
    """

    plain: str
    sealed: str
    through: str | None


def noted_columns(text: str) -> NotedAdoption | None:
    """The columns of its adoption that a trigger's text records."""
    note = _note_in(text)
    if "plain" not in note or "sealed" not in note:
        return None
    through = note.get("through")
    return NotedAdoption(str(note["plain"]), str(note["sealed"]), through and str(through))


def _note_in(text: str) -> dict[str, Any]:
    """What this library recorded in a trigger's text; empty if nothing."""
    found = _NOTE.search(text)
    try:
        note: dict[str, Any] = json.loads(found.group(1)) if found else {}
    except ValueError:
        return {}
    return note
