"""Canonical text of the values that identify a row.

It is part of the encryption context of every stored message, the same on every database and driver,
and must never change:

=========  =====================================  ==============================
kind       Python value                           canonical text
=========  =====================================  ==============================
integer    ``42``                                 ``42``
uuid       ``UUID('0F...')`` or its text          lower case, hyphenated
text       ``"Ada"``                              as it is
char       ``"Ada  "`` (blank-padded CHAR)        without trailing blanks
binary     ``b"\\x01\\xff"``                        ``01ff``
date       ``date(2026, 1, 31)``                  ``2026-01-31``
=========  =====================================  ==============================
"""

from __future__ import annotations

import datetime as dt
import enum
import operator
import uuid
from collections.abc import Callable

from encfields.arguments import kind as argument_kind
from encfields.errors import UnknownIdentityError


class IdentityKind(enum.Enum):
    """The families of row keys that have one canonical text."""

    INTEGER = "integer"
    UUID = "uuid"
    TEXT = "text"
    CHAR = "char"
    BINARY = "binary"
    DATE = "date"


def _mismatch(kind: IdentityKind, value: object) -> UnknownIdentityError:
    if value is None:
        return UnknownIdentityError(
            "a part of the row's identity is NULL, so no value can belong to it",
            reason="no-identity",
        )
    return UnknownIdentityError(
        f"the row's key should be of kind {kind.value}, but {argument_kind(value)} was given",
        reason="identity-type",
    )


def _integer(value: object) -> str:
    try:
        # Drivers store a bool as a number, so its text is that number.
        return int.__repr__(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        raise _mismatch(IdentityKind.INTEGER, value) from None


def _uuid(value: object) -> str:
    if isinstance(value, uuid.UUID):
        return str(value)
    if not isinstance(value, str):
        raise _mismatch(IdentityKind.UUID, value)
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise _mismatch(IdentityKind.UUID, value) from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _mismatch(IdentityKind.TEXT, value)
    return str.__str__(value)  # also the stored form of a str enum


def _char(value: object) -> str:
    if not isinstance(value, str):
        raise _mismatch(IdentityKind.CHAR, value)
    return str.__str__(value).rstrip(" ")


def _binary(value: object) -> str:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _mismatch(IdentityKind.BINARY, value)
    return bytes(value).hex()


def _date(value: object) -> str:
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise _mismatch(IdentityKind.DATE, value)
    return value.isoformat()


CANONICAL: dict[IdentityKind, Callable[[object], str]] = {
    IdentityKind.INTEGER: _integer,
    IdentityKind.UUID: _uuid,
    IdentityKind.TEXT: _text,
    IdentityKind.CHAR: _char,
    IdentityKind.BINARY: _binary,
    IdentityKind.DATE: _date,
}
"""For each kind, the function from a Python value to its canonical text.

Each raises :class:`~encfields.errors.UnknownIdentityError` for a value of another type.
"""


FROM_TEXT: dict[IdentityKind, Callable[[str], object]] = {
    IdentityKind.INTEGER: int,
    IdentityKind.UUID: uuid.UUID,
    IdentityKind.TEXT: str,
    IdentityKind.CHAR: str,
    IdentityKind.BINARY: bytes.fromhex,
    IdentityKind.DATE: dt.date.fromisoformat,
}
"""For each kind, the function from a canonical text back to a Python value."""
