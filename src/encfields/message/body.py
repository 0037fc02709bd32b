"""The body of a message: the position of its frames, and what authenticates each.

Layouts from the AWS Encryption SDK specification, ``data-format/message-body.md``, and the
authenticated data of a frame from ``data-format/message-body-aad.md``. This library writes one
final frame; it reads the other forms because the stock client writes them.
"""

from __future__ import annotations

import struct

from encfields.errors import MalformedMessageError
from encfields.message.header import TAG_BYTES, Header, truncated

MAX_CONTENT_BYTES = 2**31 - 1 - TAG_BYTES
"""Longest content of a frame, the limit of one AES-GCM call of the `cryptography` library. The
format itself allows 2^32 - 1."""

LABEL_FRAME = b"AWSKMSEncryptionClient Frame"
LABEL_FINAL = b"AWSKMSEncryptionClient Final Frame"
LABEL_UNFRAMED = b"AWSKMSEncryptionClient Single Block"

FINAL_MARK = b"\xff\xff\xff\xff"
FIRST = 1
FIRST_IV = FIRST.to_bytes(12, "big")
FRAME_HEAD = FINAL_MARK + FIRST.to_bytes(4, "big") + FIRST_IV
"""The bytes before the content's length in a message of one frame."""

FRAME_LENGTH = 4096
"""Frame length written for contents up to this size, the stock client's default. A longer content
gets a frame of its own length, so there is always one frame."""

pack_place = struct.Struct(">IQ").pack
"""Sequence number and content length, the end of a frame's authenticated data."""

unpack_one_frame = struct.Struct(">16s12s16s48sBI32s16s20sI").unpack_from
"""In a message of one data key and one frame, what is between the data key's names and its content:
salt, IV, version, wrapped key; content type, frame length, commitment, header tag; head and length
of the frame."""
ONE_FRAME_BYTES = 169
BEFORE_TAG = 129
"""The bytes of these that the header tag covers."""

_unpack_final = struct.Struct(">4sI12sI").unpack_from
_FINAL_SIZE = 24
_unpack_regular = struct.Struct(">I12s").unpack_from
_REGULAR_SIZE = 16
_unpack_unframed = struct.Struct(">12sQ").unpack_from
_UNFRAMED_SIZE = 20


Frame = tuple[bytes, bytes, int, int]
"""A frame: its authenticated data, its IV (12 bytes), the offset at which the ciphertext starts,
and the offset after its tag. (A plain tuple, because one is created for every value.)"""


def read_frames(data: bytes, header: Header) -> list[Frame]:
    """The frames of a whole message. Needs no key; nothing is authenticated yet.

    :raises MalformedMessageError: a frame is cut short, out of order or too long, or bytes
        follow the last one.
    """
    offset, sequence = header.body_offset, FIRST
    frames: list[Frame] = []
    try:
        if not header.frame_length:
            return [_read_unframed(data, header)]
        while not data.startswith(FINAL_MARK, offset):
            frame = _read_regular(data, header, offset, sequence)
            frames.append(frame)
            offset, sequence = frame[3], sequence + 1
        frames.append(_read_final(data, header, offset, sequence))
    except struct.error:
        raise truncated(data, "body") from None
    return frames


def _read_final(data: bytes, header: Header, offset: int, sequence: int) -> Frame:
    _, number, iv, size = _unpack_final(data, offset)
    if number != sequence:
        raise _out_of_order(number, sequence, offset + 4)
    if size > header.frame_length:
        raise MalformedMessageError(
            f"the final frame holds {size} bytes, the frame length is {header.frame_length}",
            offset=offset + 20,
            reason="frame-length",
        )
    aad = header.message_id + LABEL_FINAL + pack_place(sequence, size)
    return _last(data, aad, iv, offset + _FINAL_SIZE, size)


def _read_regular(data: bytes, header: Header, offset: int, sequence: int) -> Frame:
    number, iv = _unpack_regular(data, offset)
    if number != sequence:
        raise _out_of_order(number, sequence, offset)
    start = offset + _REGULAR_SIZE
    end = start + header.frame_length + TAG_BYTES
    if end > len(data):
        raise struct.error
    aad = header.message_id + LABEL_FRAME + pack_place(sequence, header.frame_length)
    return aad, iv, start, end


def _read_unframed(data: bytes, header: Header) -> Frame:
    iv, size = _unpack_unframed(data, header.body_offset)
    aad = header.message_id + LABEL_UNFRAMED + pack_place(FIRST, size)
    return _last(data, aad, iv, header.body_offset + _UNFRAMED_SIZE, size)


def _last(data: bytes, aad: bytes, iv: bytes, start: int, size: int) -> Frame:
    """The last frame, after which the message must end."""
    end = start + size + TAG_BYTES
    if end > len(data):
        raise struct.error
    if end < len(data):
        raise MalformedMessageError(
            f"{len(data) - end} bytes follow the end of the message: the column pads its values, "
            "or something was appended",
            offset=end,
            reason="trailing",
        )
    if size > MAX_CONTENT_BYTES:
        raise MalformedMessageError(
            f"one frame of {size} bytes; {MAX_CONTENT_BYTES} can be opened at once",
            offset=start,
            reason="frame-length",
        )
    return aad, iv, start, end


def _out_of_order(number: int, expected: int, offset: int) -> MalformedMessageError:
    return MalformedMessageError(
        f"frame {number} is where frame {expected} belongs", offset=offset, reason="sequence"
    )
