"""Messages: seal and open one stored value.

A stored value is a genuine AWS Encryption SDK message (see :mod:`encfields.message.header` for
its layout) with a data key of its own, wrapped under a branch key as AWS's hierarchical keyring
does it. Any AWS Encryption SDK with that keyring opens it, and this module opens what such an SDK
writes with suite 0x0478. It implements the specification byte by byte, on OpenSSL's primitives,
because the stock client takes some hundred times as long.

The format is frozen, because data exists in it.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Callable
from contextlib import suppress

from cryptography.exceptions import InvalidTag

from encfields.branch_key import BranchKey
from encfields.context import MAX_FIELD_BYTES, deserialize, difference
from encfields.errors import (
    BindingError,
    ContextMismatchError,
    EncFieldsError,
    KeyNotFoundError,
    MalformedMessageError,
    TamperedError,
    ValueEncodingError,
)
from encfields.message import core
from encfields.message.body import (
    FIRST,
    FIRST_IV,
    FRAME_HEAD,
    FRAME_LENGTH,
    LABEL_FINAL,
    MAX_CONTENT_BYTES,
    Frame,
    pack_place,
    read_frames,
)
from encfields.message.header import (
    CONTEXT_OFFSET,
    FRAMED,
    HEADER_IV,
    MAGIC,
    BytesLike,
    Header,
    as_bytes,
    pack_u16,
    read_header,
)
from encfields.message.keys import RANDOM_BYTES, Wrapping, derive, openable

_pack_tail = struct.Struct(">BI").pack
_pack_u32 = struct.Struct(">I").pack

_FIXED_BYTES = 247
"""Bytes of a message without its content, context and branch key id: 207 of header, 40 of body."""


def seal(plaintext: BytesLike, context: bytes, key: BranchKey) -> bytes:
    """Encrypt `plaintext` under its own data key.

    :param plaintext: at most :data:`MAX_CONTENT_BYTES` bytes; may be empty.
    :param context: serialised encryption context, from :func:`encfields.context.serialize` or
        :meth:`encfields.context.RowContext.serialize`; at most 65,535 bytes. It is stored
        readable in the message and is bound to it.
    :param key: the branch key version to seal under.
    :returns: the message, :func:`sealed_size` bytes.
    :raises ValueEncodingError: `plaintext` is not bytes, or too long for one frame.
    :raises BindingError: `context` is not bytes, or it or the branch key id is too long.
    """
    message = core.seal(plaintext, context, key)
    if message is not None:
        return message
    plaintext, context = _plaintext_bytes(plaintext), _context_bytes(context)
    size, context_size = len(plaintext), len(context)
    if size > MAX_CONTENT_BYTES or context_size > MAX_FIELD_BYTES:
        raise _too_long(size, context_size)
    wrapping = Wrapping.of(key)
    frame = pack_u16(context_size) + context + wrapping.head
    return written(plaintext, context, frame, wrapping, os.urandom(RANDOM_BYTES))


def written(
    plaintext: bytes, context: bytes, frame: bytes, wrapping: Wrapping, random: bytes
) -> bytes:
    """A message from checked parts: one data key, one frame.

    :param frame: the bytes between its random ones: the context's length, the context, and the head
        of the wrapped data key.
    :param random: :data:`RANDOM_BYTES` bytes that were never used before.
    """
    size = len(plaintext)
    data_key, message_id = random[:32], random[32:64]
    cipher, commitment = derive(data_key, message_id)
    header = b"".join(
        (
            MAGIC,
            message_id,
            frame,
            wrapping.wrap(data_key, random[64:80], random[80:], context),
            _pack_tail(FRAMED, size if size > FRAME_LENGTH else FRAME_LENGTH),
            commitment,
        )
    )
    tag = cipher.encrypt(HEADER_IV, b"", header)
    aad = message_id + LABEL_FINAL + pack_place(FIRST, size)
    content = cipher.encrypt(FIRST_IV, plaintext, aad)
    return b"".join((header, tag, FRAME_HEAD, _pack_u32(size), content))


def open_(
    message: BytesLike,
    context: bytes,
    find_key: Callable[[str, str], BranchKey],
    key_ids: tuple[str, ...],
    *,
    by_cache: bool = False,
) -> bytes:
    """Decrypt `message`, if it was sealed for `context` under one of `key_ids`.

    The whole structure is read, and context and key id are compared, before `find_key` is
    called, so a value from another row or under another key costs no key access.

    :param message: the stored value.
    :param context: serialised encryption context of the place it was read from.
    :param find_key: returns the branch key of an id and version (UUID text). Its errors are let
        through.
    :param key_ids: branch key ids that the place allows.
    :param by_cache: whether the data key cache is used, if the branch key has one: not by runs over
        a whole table, which would only fill it with what is not read again.
    :returns: the plaintext.
    :raises MalformedMessageError: not a whole message of ours; ``offset`` and ``reason`` say
        where and why.
    :raises ContextMismatchError: it was sealed for another place; says which.
    :raises TamperedError: a tag or the commitment does not verify, or it was sealed under the
        key of another place.
    """
    if key_ids:
        open_one = core.open_kept if by_cache else core.open_
        plaintext = open_one(message, context, key_ids[0], find_key)
        if plaintext is not None:
            return plaintext
    data = as_bytes(message)
    header = read_header(data)
    if header.context != context:
        raise _misplaced(header, context)
    frames = read_frames(data, header)
    data_key = _find_data_key(header, find_key, key_ids)
    return _open_frames(data, header, frames, data_key, b"")


def open_with_data_key(
    message: BytesLike, header: Header, data_key: bytes, unstored_context: bytes = b""
) -> bytes:
    """Decrypt `message` with its data key, whichever keyring unwrapped that.

    :param header: from :func:`read_header`.
    :param data_key: 32 bytes.
    :param unstored_context: serialised pairs of a *required* encryption context, which a stock
        client authenticates with the header but does not store in it.
    :raises MalformedMessageError: as for :func:`open_`.
    :raises TamperedError: as for :func:`open_`.
    """
    data = as_bytes(message)
    return _open_frames(data, header, read_frames(data, header), data_key, unstored_context)


def sealed_size(plaintext_bytes: int, context_bytes: int, key_id_bytes: int) -> int:
    """Exact length of a message, in bytes.

    :param plaintext_bytes: length of the plaintext.
    :param context_bytes: length of the serialised encryption context.
    :param key_id_bytes: length of the branch key id in UTF-8.
    """
    return _FIXED_BYTES + context_bytes + key_id_bytes + plaintext_bytes


def _find_data_key(
    header: Header, find_key: Callable[[str, str], BranchKey], key_ids: tuple[str, ...]
) -> bytes:
    """The data key, from the first of the message's encrypted data keys that opens."""
    *others, last = openable(header.keys, key_ids)
    for edk in others:  # a message from a stock multi-keyring; ours have one
        with suppress(KeyNotFoundError, TamperedError):
            key = find_key(edk.key_id, edk.version)
            return Wrapping.of(key).unwrap(edk, header.context)
    return Wrapping.of(find_key(last.key_id, last.version)).unwrap(last, header.context)


def _open_frames(
    data: bytes, header: Header, frames: list[Frame], data_key: bytes, unstored_context: bytes
) -> bytes:
    """Verify the commitment and the header, then decrypt each frame; all or nothing."""
    cipher, commitment = derive(data_key, header.message_id)
    if not hmac.compare_digest(commitment, header.commitment):
        raise _tampered(header, "commitment", "does not commit to its data key")
    try:
        cipher.decrypt(HEADER_IV, header.tag, data[: header.tag_offset] + unstored_context)
    except InvalidTag:
        raise _tampered(header, "header-tag", "has an altered header") from None
    try:
        if len(frames) == 1:
            aad, iv, start, end = frames[0]
            return cipher.decrypt(iv, data[start:end], aad)
        return b"".join(
            [cipher.decrypt(iv, data[start:end], aad) for aad, iv, start, end in frames]
        )
    except InvalidTag:
        raise _tampered(header, "body-tag", "has an altered body") from None


def _tampered(header: Header, reason: str, what: str) -> TamperedError:
    return TamperedError(
        f"the message {what}: its bytes are not the ones that were sealed. Restore the value "
        "from a backup and find out who wrote to the column",
        key_id=header.key_id if header.keys else None,
        reason=reason,
    )


def _misplaced(header: Header, context: bytes) -> EncFieldsError:
    """The error for a message whose context is not `context`, compared pair by pair."""
    try:
        expected = deserialize(_context_bytes(context))
    except MalformedMessageError:
        return BindingError(
            "the context asked for is not a serialised encryption context", reason="context-type"
        )
    try:
        sealed_for = deserialize(header.context)
    except MalformedMessageError as error:
        return MalformedMessageError(
            error.message, offset=CONTEXT_OFFSET + (error.offset or 0), reason=error.reason
        )
    if sealed_for == expected:
        return ContextMismatchError(
            "the value was sealed for this place, but the names of its encryption context are not "
            f"in the order of their bytes ({', '.join(sealed_for)}). AWS's SDK for JavaScript "
            "sorts them by locale unless its hierarchical keyring is made with utf8Sorting: true",
            expected=expected,
            found=sealed_for,
            key_id=header.key_id,
            reason="context-order",
        )
    return ContextMismatchError(
        difference(sealed_for, expected),
        expected=expected,
        found=sealed_for,
        key_id=header.key_id,
        reason="context",
    )


def _plaintext_bytes(plaintext: object) -> bytes:
    """`plaintext` as bytes. Its type is named in the error, never its content."""
    if not isinstance(plaintext, (bytes, bytearray, memoryview)):
        raise ValueEncodingError(
            f"a message seals bytes, not a Python {type(plaintext).__name__}; encode it first",
            reason="not-bytes",
        )
    view = memoryview(plaintext)
    if view.nbytes > MAX_CONTENT_BYTES:  # before copying it
        raise _too_long(view.nbytes, 0)
    return view.tobytes()


def _context_bytes(context: object) -> bytes:
    if not isinstance(context, (bytes, bytearray, memoryview)):
        raise BindingError(
            f"the serialised encryption context is bytes, not a Python {type(context).__name__}",
            reason="context-type",
        )
    return bytes(context)


def _too_long(size: int, context_size: int) -> EncFieldsError:
    if size > MAX_CONTENT_BYTES:
        return ValueEncodingError(
            f"the value has {size} bytes; one message holds {MAX_CONTENT_BYTES}",
            reason="too-long",
        )
    return BindingError(
        f"the encryption context is {context_size} bytes long; "
        f"the message format holds {MAX_FIELD_BYTES}",
        reason="context-too-long",
    )
