"""Counts and names the statements that write only the plaintext of a column being adopted."""

from __future__ import annotations

import logging
import sys
from types import FrameType
from typing import TYPE_CHECKING

from encfields.orm.engine_encryption import attachment_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.orm.declare.columns import ColumnBinding

log = logging.getLogger("encfields.adoption")

MAX_PLACES = 1_000
"""Most places remembered, so that each is logged once."""

_LIBRARIES = ("encfields.", "sqlalchemy.", "greenlet", "asyncio.", "contextlib")


def note_unsealed(connection: Connection, binding: ColumnBinding, why: str) -> None:
    """Count a statement that writes only the plaintext.

    :param why: its value cannot be sealed, in a few words.
    """
    encryption = attachment_of(connection.dialect).encryption
    name = f"{binding.table}.{binding.column_name}"
    if encryption is None:
        return
    stats, place = encryption.stats.adoption, _place()
    stats.unsealed_statements[name] += 1
    if (name, place, why) in stats.places or len(stats.places) >= MAX_PLACES:
        return
    stats.places.add((name, place, why))
    log.warning(
        "%s: %s in %s; the rows are left in plaintext until the next backfill, and from the phase "
        '"write-sealed" on the statement is refused',
        name,
        why,
        place,
    )


def _place() -> str:
    """File, line and function of the application's frame that executes the statement."""
    for start in (sys._getframe(1), _frame_around_greenlet()):
        frame = start
        while frame is not None:
            module = str(frame.f_globals.get("__name__", ""))
            if not module.startswith(_LIBRARIES):
                return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"
            frame = frame.f_back
    return "an unknown place"


def _frame_around_greenlet() -> FrameType | None:
    """The frame in which an asynchronous engine's greenlet was entered."""
    try:
        from greenlet import getcurrent  # type: ignore[import-untyped]
    except ImportError:
        return None
    parent = getcurrent().parent
    frame: FrameType | None = getattr(parent, "gr_frame", None)
    return frame
