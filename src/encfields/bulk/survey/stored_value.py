"""What one stored value is, by its first bytes and its length, without any key."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from encfields.errors import MalformedMessageError
from encfields.message.body import FINAL_MARK, read_frames
from encfields.message.header import TAG_BYTES, Header, as_bytes, read_header
from encfields.message.suites import text_form

EXAMINED_HEAD_BYTES = 1024
"""Bytes of a value that are read at first: its whole header unless the row's key is long."""

_OTHER_FORMAT = frozenset({"suite", "keyring", "base64", "hex"})
_TEXT_START = 10
"""Characters of a text that tell whether it is a message in base64 or in hexadecimal digits."""

_unpack_final_size = struct.Struct(">20xI").unpack_from
_unpack_unframed_size = struct.Struct(">12xQ").unpack_from
_FINAL_FRAME_BYTES = 24 + TAG_BYTES
_UNFRAMED_BYTES = 20 + TAG_BYTES


class State(enum.Enum):
    """What a stored value is.

    ``MESSAGE``: a whole message of ours, which says nothing yet of whether it is in its place.
    ``OTHER_FORMAT``: another suite or keyring of the AWS Encryption SDK, or one that was stored
    as text.
    ``PLAINTEXT``: no message at all. ``DAMAGED``: a message that was cut short or altered, or a
    row whose value was never sealed. ``UNKNOWN``: the bytes given do not suffice to tell.
    """

    MESSAGE = "message"
    OTHER_FORMAT = "other_format"
    PLAINTEXT = "plaintext"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


class StoredValue(NamedTuple):
    """What a value was found to be.

    :param state: what it is.
    :param header: what it says of itself; of a ``MESSAGE`` only.
    :param reason: why it is not a message, in the word of
        :attr:`MalformedMessageError.reason <encfields.errors.EncFieldsError.reason>`.
    """

    state: State
    header: Header | None = None
    reason: str | None = None


_UNKNOWN = StoredValue(State.UNKNOWN)


def examine(head: object, length: int) -> StoredValue:
    """What a stored value is.

    :param head: its first bytes, at best all of them, as the driver gave them. Text and numbers,
        which a column that is not binary gives, are plaintext.
    :param length: how many bytes the whole value has.
    :returns: ``UNKNOWN`` only if `head` is not the whole value; never anything of the value.
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
    """Whether the length of a message fits what its first bytes say of it.

    A body of several frames, which only other software writes, has to be read as a whole.
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
