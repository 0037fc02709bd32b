"""Primary keys as text, for cursors, range bounds and the quarantine.

It is the key as the database's driver gave it that has to come back, not the row's identity:
a run walks tables by keys, timestamps for instance, that cannot identify a row.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from encfields.errors import DeclarationError

Key = tuple[Any, ...]
"""A primary key: its columns' values in order, as SQLAlchemy gives them."""

_WRITE: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bool: ("o", bool),
    int: ("i", int),
    str: ("s", str),
    uuid.UUID: ("u", str),
    bytes: ("b", bytes.hex),
    dt.datetime: ("t", dt.datetime.isoformat),
    dt.date: ("d", dt.date.isoformat),
    decimal.Decimal: ("n", str),
    float: ("f", float),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "o": bool,
    "i": int,
    "s": str,
    "u": uuid.UUID,
    "b": bytes.fromhex,
    "t": dt.datetime.fromisoformat,
    "d": dt.date.fromisoformat,
    "n": decimal.Decimal,
    "f": float,
}


def key_to_text(key: Sequence[Any]) -> str:
    """A key as JSON that tells each value's type.

    :raises DeclarationError: a value is of a type that has no exact text.
    """
    parts = []
    for value in key:
        value = bytes(value) if isinstance(value, bytearray | memoryview) else value
        known = _WRITE.get(type(value))
        if known is None:
            raise DeclarationError(
                "the table cannot be read in batches by a primary key of type "
                f"{type(value).__name__}",
                reason="primary-key",
            )
        mark, write = known
        parts.append([mark, write(value)])
    return json.dumps(parts, separators=(",", ":"))


def key_from_text(text: str) -> Key:
    """The inverse of :func:`key_to_text`."""
    return tuple(_READ[mark](value) for mark, value in json.loads(text))


def readable_key(names: Sequence[str], text: str) -> dict[str, str]:
    """A key for people: column names and plain text."""
    return {name: str(value) for name, (_, value) in zip(names, json.loads(text), strict=True)}
