"""Opens stored values and seals them again under another version of their key, in bulk.

It does what :func:`~encfields.message.open_` and :func:`~encfields.message.seal` do, with the same
checks, for the form that `seal` writes: one data key, one frame. The layout of such a message is
known from its context and branch key id, so nothing is parsed twice or created for nothing, which
takes a quarter of the time. Whatever has another form, or does not authenticate, is left to
`open_`, which raises the error.
"""

from __future__ import annotations

import hmac
import os
import struct
import uuid
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag

from encfields.branch_key import BranchKey, FindKey
from encfields.errors import BindingError
from encfields.message import core
from encfields.message.body import (
    BEFORE_TAG,
    FIRST,
    FIRST_IV,
    FRAME_HEAD,
    LABEL_FINAL,
    MAX_CONTENT_BYTES,
    ONE_FRAME_BYTES,
    pack_place,
    unpack_one_frame,
)
from encfields.message.compiled import status
from encfields.message.header import CONTEXT_OFFSET, FRAMED, HEADER_IV, MAGIC, TAG_BYTES, pack_u16
from encfields.message.keys import RANDOM_BYTES, Wrapping, derive
from encfields.message.sealing import open_, seal, written

_VERSION_OFFSET = 28
"""Bytes between the data key's names and the branch key version."""

_FRAMED_OFFSET = CONTEXT_OFFSET - 2
_AT_ONCE = 256


class Resealer:
    """Seals values of one branch key id again under its active version.

    It keeps derived keys, so a new one is created for every batch: a revoked key must not be used
    for longer than the key cache would use it.

    :param key: the version to seal under.
    :param find_key: returns the others; its errors are let through.
    """

    def __init__(self, key: BranchKey, find_key: FindKey) -> None:
        self._key = key
        self._find_key = find_key
        # The compiled core, which processes each value as a whole, is faster than anything here.
        self._is_native = status().is_native
        self._new = Wrapping.of(key)
        self._version = key.version_bytes
        self._version_offset = CONTEXT_OFFSET + len(self._new.head) + _VERSION_OFFSET
        self._old: dict[bytes, Wrapping] = {}
        self._random = b""
        self._used = 0

    def frame(self, context: bytes) -> bytes:
        """The bytes between the random ones in every message of this key id for a context.

        :param context: serialised, at most 65,535 bytes.
        :raises BindingError: it is longer.
        """
        try:
            return pack_u16(len(context)) + context + self._new.head
        except struct.error:
            raise BindingError(
                "the encryption context is longer than the message format holds",
                reason="context-too-long",
            ) from None

    def is_current(self, data: bytes, context: bytes) -> bool:
        """Whether a value, or its first bytes, names a context, this branch key and version.

        This is judged by the header alone, without a key, so an altered message is not recognised.

        :param context: serialised, at most 65,535 bytes.
        :raises BindingError: it is longer, and the version is this one.
        """
        return (
            # First, what differs in most values that a run rewrites.
            data.startswith(self._version, self._version_offset + len(context))
            and data.startswith(MAGIC)
            and data.startswith(self.frame(context), _FRAMED_OFFSET)
        )

    def stale(
        self, numbers: Sequence[int], messages: Sequence[bytes], contexts: Sequence[bytes]
    ) -> list[int]:
        """Which of these messages are not :meth:`is_current`, each in its context.

        :raises BindingError: a context is too long, and the value's version is this one.
        """
        version, offset, is_current = self._version, self._version_offset, self.is_current
        return [
            number
            for number in numbers
            # The first of the checks decides about most values of a run.
            if not messages[number].startswith(version, offset + len(contexts[number]))
            or not is_current(messages[number], contexts[number])
        ]

    def open_(self, data: bytes, context: bytes, frame: bytes, key_ids: tuple[str, ...]) -> bytes:
        """:func:`encfields.message.sealing.open_`, but faster for messages of this branch key id.

        :param frame: of `context`, from :meth:`frame`.
        :param key_ids: under which the message may be.
        :raises EncFieldsError: as `open_`.
        """
        plaintext = self._open(data, context, frame) if self.opens_under(key_ids) else None
        if plaintext is None:
            return open_(data, context, self._find_key, key_ids)
        return plaintext

    def seal(self, plaintext: bytes, context: bytes, frame: bytes) -> bytes:
        """:func:`encfields.message.sealing.seal` under this key version.

        :param frame: of `context`, from :meth:`frame`.
        """
        if self._is_native or len(plaintext) > MAX_CONTENT_BYTES:
            return seal(plaintext, context, self._key)  # raises the error for a long one
        return written(plaintext, context, frame, self._new, self._random_bytes())

    def reseal_many(
        self, messages: list[bytes], contexts: list[bytes], new_contexts: list[bytes]
    ) -> list[bytes | None]:
        """Each message opened for a context and sealed for a new one, all at once by the compiled
        core; ``None`` for each that is left to :meth:`open_` and :meth:`seal`.

        :raises EncFieldsError: a key cannot be found.
        """
        find_key = self._find_key
        return core.reseal_many(messages, contexts, new_contexts, self._key, find_key)

    def opens_under(self, key_ids: tuple[str, ...]) -> bool:
        """Whether its branch key id is one of these."""
        return self._key.id in key_ids

    def _open(self, data: bytes, context: bytes, frame: bytes) -> bytes | None:
        """The plaintext of a message in the form that `seal` writes, or ``None``."""
        if self._is_native:
            return core.open_(data, context, self._key.id, self._find_key)
        at = _FRAMED_OFFSET + len(frame)
        if not data.startswith(frame, _FRAMED_OFFSET) or not data.startswith(MAGIC):
            return None
        body = at + ONE_FRAME_BYTES
        if len(data) < body:
            return None
        salt, iv, version, wrapped, kind, length, commitment, tag, head, size = unpack_one_frame(
            data, at
        )
        if kind != FRAMED or head != FRAME_HEAD or not 0 <= size <= length > 0:
            return None
        if body + size + TAG_BYTES != len(data) or size > MAX_CONTENT_BYTES:
            return None
        message_id = data[len(MAGIC) : _FRAMED_OFFSET]
        wrapping = self._old.get(version) or self._wrapping(version)
        try:
            # Its unwrap() takes a parsed header, which is not available here.
            data_key = wrapping.cipher(salt).decrypt(iv, wrapped, wrapping.aad_head + context)
            cipher, committed = derive(data_key, message_id)
            if not hmac.compare_digest(committed, commitment):
                return None
            cipher.decrypt(HEADER_IV, tag, data[: at + BEFORE_TAG])
            aad = message_id + LABEL_FINAL + pack_place(FIRST, size)
            return cipher.decrypt(FIRST_IV, data[body:], aad)
        except InvalidTag:
            return None

    def _wrapping(self, version: bytes) -> Wrapping:
        key = self._find_key(self._key.id, str(uuid.UUID(bytes=version)))
        wrapping = self._old[version] = Wrapping.of(key)
        return wrapping

    def _random_bytes(self) -> bytes:
        """The random bytes of one message, drawn from the system for many at a time."""
        if self._used == len(self._random):
            self._random, self._used = os.urandom(RANDOM_BYTES * _AT_ONCE), 0
        start = self._used
        self._used += RANDOM_BYTES
        return self._random[start : self._used]
