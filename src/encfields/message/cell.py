"""A cell of a result: a message after the key of its row::

    <tag> ':' <key part> ':' ... <message>

The tag names the column. This module has the forms of a key part that can be read in one pass, and
converts each to its canonical text, as bytes: see :mod:`encfields.identity`. For any other form,
such as a key that is NULL, the result is ``None``, and it is handled elsewhere.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable

SEPARATOR = b":"


class KeyForm(enum.StrEnum):
    """The form of one part of a row's key in a cell."""

    INTEGER = "integer"
    """In decimal digits."""
    UUID = "uuid"
    """In lower case and hyphenated."""
    UUID_DIGITS = "uuid-digits"
    """In 32 digits in lower case."""
    UUID_DIGITS_HEX = "uuid-digits-hex"
    """In 32 digits in lower case, each digit's ASCII code in hexadecimal."""
    TEXT_HEX = "text-hex"
    """The text's UTF-8 in hexadecimal."""
    BINARY_HEX = "binary-hex"
    """The bytes in hexadecimal."""


Conversion = Callable[[bytes], bytes | None]
"""Converts a part to the UTF-8 of its canonical text; returns ``None`` if it has another form."""

_is_uuid = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_is_uuid_digits = re.compile(rb"[0-9a-f]{32}").fullmatch
is_plain = re.compile(rb"[A-Za-z0-9._~-]*").fullmatch
"""Whether a canonical text is in a branch key id unchanged, without percent-encoding."""


def _integer(part: bytes) -> bytes | None:
    # Negative keys are left to the long way, and so are those with a leading zero, which it
    # refuses.
    return part if part.isdigit() and (part[0] != 48 or len(part) == 1) else None


def _uuid(part: bytes) -> bytes | None:
    return part if _is_uuid(part) else None


def _uuid_digits(part: bytes) -> bytes | None:
    if not _is_uuid_digits(part):
        return None
    return b"-".join((part[:8], part[8:12], part[12:16], part[16:20], part[20:]))


def _unhexed(part: bytes) -> bytes | None:
    try:
        return bytes.fromhex(part.decode("ascii"))
    except ValueError:
        return None


def _uuid_digits_hex(part: bytes) -> bytes | None:
    digits = _unhexed(part)
    return None if digits is None else _uuid_digits(digits)


def _text_hex(part: bytes) -> bytes | None:
    try:
        text = bytes.fromhex(part.decode("ascii"))
        text.decode("utf-8")
    except ValueError:
        return None
    return text


def _binary_hex(part: bytes) -> bytes | None:
    data = _unhexed(part)
    return None if data is None else data.hex().encode("ascii")


CONVERSIONS: dict[KeyForm, Conversion] = {
    KeyForm.INTEGER: _integer,
    KeyForm.UUID: _uuid,
    KeyForm.UUID_DIGITS: _uuid_digits,
    KeyForm.UUID_DIGITS_HEX: _uuid_digits_hex,
    KeyForm.TEXT_HEX: _text_hex,
    KeyForm.BINARY_HEX: _binary_hex,
}
