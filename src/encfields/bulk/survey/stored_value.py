"""Classifies a stored value by its first bytes and its length, without any key."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from encfields.errors import MalformedMessageError
from encfields.message.body import FINAL_MARK, read_frames
from encfields.message.header import TAG_BYTES, Header, as_bytes, read_header
from encfields.message.suites import text_form

EXAMINED_HEAD_BYTES = 1024
"""Bytes of a value to read first: its whole header, unless the row's key is long."""

_OTHER_FORMAT = frozenset({"suite", "keyring", "base64", "hex"})
_TEXT_START = 10
"""Characters of a text that show a message in base64 or hexadecimal."""

_unpack_final_size = struct.Struct(">20xI").unpack_from
_unpack_unframed_size = struct.Struct(">12xQ").unpack_from
_FINAL_FRAME_BYTES = 24 + TAG_BYTES
_UNFRAMED_BYTES = 20 + TAG_BYTES


class State(enum.Enum):
    """What a stored value is.

    ``MESSAGE``: a whole message of ours, whether in its place or not.
    ``OTHER_FORMAT``: a message of another suite or keyring of the AWS Encryption SDK, or stored as
    text. ``PLAINTEXT``: not a message. ``DAMAGED``: a message cut short or altered, or a row whose
    value was never sealed. ``UNKNOWN``: the given bytes are too few to tell.
    """

    MESSAGE = "message"
    OTHER_FORMAT = "other_format"
    PLAINTEXT = "plaintext"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


class StoredValue(NamedTuple):
    """The classification of a stored value.

    :param state: what it is.
    :param header: its header, not authenticated; only of a ``MESSAGE``.
    :param reason: why it is not a message, as in
        :attr:`MalformedMessageError.reason <encfields.errors.EncFieldsError.reason>`.
    """

    state: State
    header: Header | None = None
    reason: str | None = None


_UNKNOWN = StoredValue(State.UNKNOWN)


def examine(head: object, length: int) -> StoredValue:
    """Classify a stored value.

    :param head: its first bytes, or all, as the driver gave them. Text and numbers, from a column
        that is not binary, are plaintext.
    :param length: bytes of the whole value.
    :returns: ``UNKNOWN`` only if `head` is not the whole value; never any content of the value.
    """
    if isinstance(head, str):
        return _examine_text(head)
    if not isinstance(head, bytes | bytearray | memoryview):
        return StoredValue(State.PLAINTEXT, reason="not-bytes")
    data = as_bytes(head)
    whole = len(data) >= length
    try:
        header = read_header(data)
        if whole:
            read_frames(data, header)
        else:
            return _examine_length(data, header, length)
    except MalformedMessageError as error:
        return _not_a_message(error.reason or "malformed", whole)
    return StoredValue(State.MESSAGE, header)


def _examine_text(text: str) -> StoredValue:
    if form := text_form(text[:_TEXT_START].encode("ascii", "replace")):
        return StoredValue(State.OTHER_FORMAT, reason=form)
    return StoredValue(State.PLAINTEXT, reason="text")


def _not_a_message(reason: str, whole: bool) -> StoredValue:
    if reason in _OTHER_FORMAT:
        return StoredValue(State.OTHER_FORMAT, reason=reason)
    if reason == "not-a-message":
        return StoredValue(State.PLAINTEXT, reason=reason)
    if not whole:
        return _UNKNOWN
    return StoredValue(State.DAMAGED, reason=reason)


def _examine_length(data: bytes, header: Header, length: int) -> StoredValue:
    """Check a message's length against its first bytes.

    A body of several frames, which only other software writes, must be read whole.
    """
    start = header.body_offset
    if start + _FINAL_FRAME_BYTES > len(data):
        return _UNKNOWN
    if not header.frame_length:
        (size,) = _unpack_unframed_size(data, start)
        expected = start + _UNFRAMED_BYTES + size
    elif data.startswith(FINAL_MARK, start):
        (size,) = _unpack_final_size(data, start)
        expected = start + _FINAL_FRAME_BYTES + size
        if size > header.frame_length:
            return StoredValue(State.DAMAGED, reason="frame-length")
    else:
        return _UNKNOWN
    if length == expected:
        return StoredValue(State.MESSAGE, header)
    return StoredValue(State.DAMAGED, reason="truncated" if length < expected else "trailing")
