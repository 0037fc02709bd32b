"""Reads and writes this library's own form in one pass: one data key, one frame.

Nearly every stored value has that form, and the positions of its fields are known from the context
and branch key id of its place. So it is compared with what is expected there, and never parsed. For
whatever is not of that form, byte by byte, does not authenticate, or is not of type ``bytes``, the
result is ``None``; then :mod:`encfields.message.sealing` reads or writes it the long way, and
raises every error.

A compiled implementation replaces exactly these names. Other modules get them from
:mod:`encfields.message.core`, which chooses.

====================  =========================================================================
:func:`seal`          from plaintext, context and branch key to message
:func:`seal_many`     the same of many values at once
:func:`open_`         from message, context and branch key id to plaintext
:func:`open_kept`     the same by the data key cache
:class:`CellReader`   from what a statement delivers, a row's key and the message, to plaintext
:data:`open_rows`     the same of all cells of some rows, if it can
:class:`OpenedCell`   what stands in the place of such a cell then
:func:`reseal_many`   messages opened for one context and sealed for another, as far as it can
:func:`index_code`    from an index's key and what is indexed to what a blind index is a part of
:data:`Cipher`        what hides values that stay in memory
====================  =========================================================================

An implementation raises no errors of its own, but lets those of `find_key` through. It calls
`find_key` for every value, so that a key that the cache dropped is no longer used here. What it
derives from a branch key it keeps only in that object, to be dropped with it: this one in
``BranchKey.wrapping``, a compiled one in ``BranchKey.compiled``. The data key cache is part of it
(:mod:`encfields.message.data_key_cache`), if the branch key says that there is one; only
:func:`open_kept`, :class:`CellReader` and :data:`open_rows` use it.
"""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from hmac import compare_digest
from typing import Any, NoReturn, TypeGuard

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from encfields.branch_key import BranchKey, FindKey
from encfields.context import MAX_FIELD_BYTES
from encfields.errors import BindingError
from encfields.message.body import (
    BEFORE_TAG,
    FIRST,
    FIRST_IV,
    FRAME_HEAD,
    FRAME_LENGTH,
    LABEL_FINAL,
    MAX_CONTENT_BYTES,
    ONE_FRAME_BYTES,
    pack_place,
    unpack_one_frame,
)
from encfields.message.cell import CONVERSIONS, SEPARATOR, KeyForm, is_plain
from encfields.message.data_key_cache import LONGEST_HEADER
from encfields.message.header import (
    CONTEXT_OFFSET,
    FRAMED,
    HEADER_IV,
    MAGIC,
    MAX_KEY_ID_BYTES,
    TAG_BYTES,
    BytesLike,
    pack_u16,
)
from encfields.message.index_code import index_code as index_code
from encfields.message.keys import RANDOM_BYTES, Wrapping, derive, key_head

_unpack_start = struct.Struct(">3s32sH").unpack_from  # start, message id, length of the context
_pack_tail = struct.Struct(">BI").pack
_pack_u32 = struct.Struct(">I").pack
_USUAL_TAIL = _pack_tail(FRAMED, FRAME_LENGTH)
_AT_ONCE = 256


def seal(plaintext: BytesLike, context: bytes, key: BranchKey) -> bytes | None:
    """A message of `plaintext` under its own data key.

    :param context: serialised encryption context.
    :param key: the branch key version to seal under.
    :returns: ``None`` if `plaintext` is not ``bytes`` or too long.
    """
    if not _is_sealable(plaintext, context):
        return None
    wrapping = _wrapping_of(key)
    if wrapping is None:
        return None
    return _sealed(plaintext, context, wrapping, os.urandom(RANDOM_BYTES))


def seal_many(plaintexts: list[bytes], contexts: list[bytes], key: BranchKey) -> list[bytes | None]:
    """Messages of many values, each for its own context, in order.

    This saves time by drawing the random bytes of some hundreds at once.
    """
    wrapping = _wrapping_of(key)
    if wrapping is None:
        return [None] * len(plaintexts)
    messages: list[bytes | None] = []
    random, used = b"", 0
    for plaintext, context in zip(plaintexts, contexts, strict=True):
        if not _is_sealable(plaintext, context):
            messages.append(None)
            continue
        if used == len(random):
            random, used = os.urandom(RANDOM_BYTES * _AT_ONCE), 0
        drawn = random[used : used + RANDOM_BYTES]
        used += RANDOM_BYTES
        messages.append(_sealed(plaintext, context, wrapping, drawn))
    return messages


def _is_sealable(plaintext: BytesLike, context: bytes) -> TypeGuard[bytes]:
    return (
        type(plaintext) is bytes
        and type(context) is bytes
        and len(plaintext) <= MAX_CONTENT_BYTES
        and len(context) <= MAX_FIELD_BYTES
    )


def _wrapping_of(key: BranchKey) -> Wrapping | None:
    """``None`` for a key whose id is too long for the format."""
    wrapping = key.wrapping
    if type(wrapping) is Wrapping:
        return wrapping
    try:
        return Wrapping.of(key)
    except BindingError:
        return None


def _sealed(plaintext: bytes, context: bytes, wrapping: Wrapping, random: bytes) -> bytes:
    """A message, from random bytes that were never used before."""
    size = len(plaintext)
    data_key, message_id = random[:32], random[32:64]
    cipher, commitment = derive(data_key, message_id)
    header = b"".join(
        (
            MAGIC,
            message_id,
            pack_u16(len(context)),
            context,
            wrapping.head,
            wrapping.wrap(data_key, random[64:80], random[80:], context),
            _USUAL_TAIL if size <= FRAME_LENGTH else _pack_tail(FRAMED, size),
            commitment,
        )
    )
    aad = message_id + LABEL_FINAL + pack_place(FIRST, size)
    return b"".join(
        (
            header,
            cipher.encrypt(HEADER_IV, b"", header),
            FRAME_HEAD,
            _pack_u32(size),
            cipher.encrypt(FIRST_IV, plaintext, aad),
        )
    )


def open_(
    message: BytesLike, context: bytes, key_id: str, find_key: FindKey, by_cache: bool = False
) -> bytes | None:
    """The plaintext of `message`, if it was sealed for `context` under `key_id`.

    :param context: serialised encryption context of the place it was read from.
    :param find_key: called for a message that appears complete; its errors are let through.
    :param by_cache: whether the data key cache is used, if the branch key has one.
    :returns: ``None`` if it is of another form or does not authenticate.
    """
    if type(message) is not bytes:
        return None
    try:
        magic, message_id, context_size = _unpack_start(message)
        expected = context + _readable_head(key_id)
        at = CONTEXT_OFFSET + len(expected)
        salt, iv, version, wrapped, kind, length, commitment, tag, frame_head, size = (
            unpack_one_frame(message, at)
        )
        body = at + ONE_FRAME_BYTES
        if (
            not message.startswith(expected, CONTEXT_OFFSET)
            or magic != MAGIC
            or context_size != len(context)
            or kind != FRAMED
            or frame_head != FRAME_HEAD
            or not size <= length > 0
            or body + size + TAG_BYTES != len(message)
        ):
            return None
    except (struct.error, TypeError, ValueError):
        return None
    key = find_key(key_id, _version_text(version))
    wrapping = key.wrapping
    if type(wrapping) is not Wrapping:
        wrapping = Wrapping.of(key)
    header_end = at + BEFORE_TAG
    data_keys = wrapping.data_keys if by_cache and header_end <= LONGEST_HEADER else None
    try:
        aad = message_id + LABEL_FINAL + pack_place(FIRST, size)
        if data_keys is not None:
            start = message[: header_end + TAG_BYTES]
            known = data_keys.find(start)
            if known is not None:
                return known.decrypt(FIRST_IV, message[body:], aad)
        data_key = wrapping.cipher(salt).decrypt(iv, wrapped, wrapping.aad_head + context)
        cipher, committed = derive(data_key, message_id)
        if not compare_digest(committed, commitment):
            return None
        header = message[:header_end]
        cipher.decrypt(HEADER_IV, tag, header)
        plaintext = cipher.decrypt(FIRST_IV, message[body:], aad)
    except (InvalidTag, OverflowError):
        return None
    if data_keys is not None:
        data_keys.keep(start, cipher)
    return plaintext


def open_kept(message: BytesLike, context: bytes, key_id: str, find_key: FindKey) -> bytes | None:
    """:func:`open_` by the data key cache, if the branch key has one."""
    return open_(message, context, key_id, find_key, True)


class CellReader:
    """Opens the delivered cells of one encrypted column.

    :param tag: what a cell of the column starts with.
    :param head: of the column's context, from :class:`~encfields.context.RowContext`.
    :param parts: from the same: for each identity column in the context's order, its position among
        the parts of the row's key, and its serialised name.
    :param forms: the form of each part of the row's key.
    :param key: the branch key id that a row requires, in pieces: a literal text, or the position of
        a part of the row's key.
    :ivar open: ``open(cell, find_key)`` returns the plaintext, or ``None`` for a cell of another
        form and as :func:`open_`.
    """

    __slots__ = ("open",)

    def __init__(
        self,
        tag: bytes,
        head: bytes,
        parts: Sequence[tuple[int, bytes]],
        forms: Sequence[KeyForm],
        key: Sequence[str | int],
    ) -> None:
        # A closure, so that what differs by column needs no attribute access.
        self.open: Callable[[bytes, FindKey], bytes | None]
        is_fixed = all(isinstance(piece, str) for piece in key)
        if len(forms) == 1 and is_fixed:
            self.open = _simple_opener(tag, head + parts[0][1], forms[0], "".join(map(str, key)))
        else:
            self.open = _opener(tag, head, tuple(parts), tuple(forms), tuple(key))


def _simple_opener(
    tag: bytes, head: bytes, form: KeyForm, key_id: str
) -> Callable[[bytes, FindKey], bytes | None]:
    """For a key of one column, and one branch key for all rows.

    :param head: of the context, including that column's name.
    """
    convert = CONVERSIONS[form]

    def open_cell(cell: bytes, find_key: FindKey) -> bytes | None:
        try:
            read_tag, part, message = cell.split(SEPARATOR, 2)
            text = convert(part)
            if read_tag != tag or text is None:
                return None
            context = head + pack_u16(len(text)) + text
        except (TypeError, ValueError, struct.error):
            return None
        return open_(message, context, key_id, find_key, True)

    return open_cell


def _opener(
    tag: bytes,
    head: bytes,
    parts: tuple[tuple[int, bytes], ...],
    forms: tuple[KeyForm, ...],
    key: tuple[str | int, ...],
) -> Callable[[bytes, FindKey], bytes | None]:
    """For a key of several columns, or a branch key that depends on the row."""
    conversions = [CONVERSIONS[form] for form in forms]
    fields = len(forms) + 2

    def open_cell(cell: bytes, find_key: FindKey) -> bytes | None:
        fields_of_cell = cell.split(SEPARATOR, fields - 1)
        if len(fields_of_cell) != fields or fields_of_cell[0] != tag:
            return None
        texts: list[bytes] = []
        for convert, part in zip(conversions, fields_of_cell[1:-1], strict=True):
            text = convert(part)
            if text is None or len(text) > MAX_FIELD_BYTES:
                return None
            texts.append(text)
        context = head
        for place, name in parts:
            context += name + pack_u16(len(texts[place])) + texts[place]
        key_id, message = _key_id(key, texts), fields_of_cell[-1]
        return None if key_id is None else open_(message, context, key_id, find_key, True)

    return open_cell


def _key_id(key: tuple[str | int, ...], texts: list[bytes]) -> str | None:
    """The branch key id of a row; ``None`` if a text would have to be percent-encoded."""
    pieces: list[str] = []
    for piece in key:
        if isinstance(piece, str):
            pieces.append(piece)
        elif is_plain(texts[piece]):
            pieces.append(texts[piece].decode("ascii"))
        else:
            return None
    return "".join(pieces)


class OpenedCell:
    """Replaces a cell in a driver's row that was opened before the row is processed.

    It does not show its value, just as the cell does not.

    :ivar value: the column's value.
    :ivar cell: as it was delivered.
    """

    __slots__ = ("cell", "value")

    def __init__(self, value: object, cell: Any) -> None:
        self.value = value
        self.cell = cell

    def __repr__(self) -> str:
        return "<opened value>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a value on its way out of a result is never pickled")


Column = tuple[int, CellReader, Callable[[bytes], object] | None]
"""An encrypted column of a result: its position in a row, the reader of its cells, and the function
that decodes a plaintext, ``None`` for text."""

OpenRows = Callable[[list[Any], Sequence[Column], FindKey], tuple[list[Any], int]]

open_rows: OpenRows | None = None
"""Returns the rows with an :class:`OpenedCell` for each cell of the columns that opens, and the
number of these. Every other cell is unchanged, also if its key is not found; of the errors of
`find_key` and the columns, only those that are not an ``Exception`` are let through. There is none
in Python, because opening one cell after another takes as long."""


def reseal_many(
    messages: list[bytes],
    contexts: list[bytes],
    new_contexts: list[bytes],
    key: BranchKey,
    find_key: FindKey,
) -> list[bytes | None]:
    """Messages of the key id of `key`, each opened for a context and sealed for a new one, while
    other threads run; ``None`` for each that must be processed individually: in Python, all of
    them.

    :param find_key: called once for each version; its errors are let through.
    """
    return [None] * len(messages)


Cipher = AESGCM


@lru_cache(maxsize=4096)
def _readable_head(key_id: str) -> bytes:
    """A message's bytes from the count of data keys to the ciphertext of the only one.

    :raises ValueError: the id is longer than is accepted in a message.
    """
    id_bytes = key_id.encode("utf-8")
    if len(id_bytes) > MAX_KEY_ID_BYTES:
        raise ValueError("longer than any key store's")
    return key_head(id_bytes)


@lru_cache(maxsize=4096)  # it costs more than an AES call
def _version_text(version: bytes) -> str:
    return str(uuid.UUID(bytes=version))
