"""UUID keys that reflection cannot tell from text.

A database without a type for UUIDs keeps them as CHAR(32). Such a key has two spellings, with
hyphens and without; both name the same row, and only the application knows which it is sealed by.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sqltypes

if TYPE_CHECKING:
    from sqlalchemy import Column

_HEX = re.compile(r"[0-9a-f]{32}", re.ASCII)


def may_be_uuid(column: Column[Any]) -> bool:
    """Whether a reflected key column may hold UUIDs."""
    return isinstance(column.type, sqltypes.CHAR) and column.type.length == 32


def hyphenated(text: str) -> str | None:
    """The other spelling of a UUID's 32 digits, or ``None`` if `text` is no such thing."""
    return str(uuid.UUID(text)) if _HEX.fullmatch(text) else None
