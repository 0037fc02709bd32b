"""The header of a stored value: the public part of a message, read before any key is fetched.

A stored value is a message of the AWS Encryption SDK, format version 2, algorithm suite
``0x0478`` (AES-256-GCM, HKDF-SHA512, key commitment, no signature). Its header, as the
specification's ``data-format/message-header.md`` ("Header Body Version 2.0") lays it out::

    02                      format version
    04 78                   algorithm suite
    message id              32 random bytes
    context                 2 bytes of length, then the serialised encryption context
    encrypted data keys     2 bytes of count; each: provider id, provider information and
                            ciphertext, all three with 2 bytes of length before them
    content type            01 unframed, 02 framed
    frame length            4 bytes
    commitment              32 bytes (the specification's "algorithm suite data")
    header tag              16 bytes

A data key of the AWS KMS hierarchical keyring (``framework/aws-kms/
aws-kms-hierarchical-keyring.md``) has the provider id ``aws-kms-hierarchy``, the branch key id
as its provider information, and 92 bytes of ciphertext: salt (16), IV (12), branch key version
(16), the encrypted data key (32) and its tag (16).
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from encfields.context import deserialize
from encfields.errors import MalformedMessageError
from encfields.message.suites import other_suite, suite_of, text_form

BytesLike = bytes | bytearray | memoryview
"""What a driver may return for a binary column."""

MAGIC = b"\x02\x04\x78"
"""The first three bytes of every stored value: format version 2, suite 0x0478."""

PROVIDER_ID = b"aws-kms-hierarchy"
WRAPPED_KEY_BYTES = 92
_KMS_PROVIDERS = {b"aws-kms": "'aws-kms' (a keyring of KMS itself)"}
_FORMS = {"base64": "base64 text", "hex": "hexadecimal digits"}
MAX_DATA_KEYS = 16
"""Most encrypted data keys read from one message. This library writes one. A message cannot be
authenticated before its data key is known, so without a limit it could demand 65,535 keys."""

MAX_KEY_ID_BYTES = 1020
"""Longest branch key id that is read: 255 characters of UTF-8, the limit of every key store. Ids
are cached, and the message that names one is not authenticated yet."""

HEADER_IV = bytes(12)
"""IV with which a header is authenticated; the data key encrypts nothing else with it."""

CONTEXT_OFFSET = 37
UNFRAMED, FRAMED = 1, 2

pack_u16 = struct.Struct(">H").pack
_unpack_u16 = struct.Struct(">H").unpack_from

ONE_KEY = pack_u16(1) + pack_u16(len(PROVIDER_ID)) + PROVIDER_ID
"""Start of a list of encrypted data keys with only one, of the hierarchical keyring."""
_ONE_KEY_SIZE = len(ONE_KEY)

_WRAPPED = struct.Struct(">H16s12s16s48s")
_unpack_wrapped = _WRAPPED.unpack_from
_WRAPPED_SIZE = _WRAPPED.size
_unpack_tail = struct.Struct(">BI32s16s").unpack_from
_BEFORE_TAG = 37
"""Bytes from the content type to the header tag."""
TAG_BYTES = 16


class EncryptedDataKey(NamedTuple):
    """One data key as the hierarchical keyring wraps it; every part is public.

    :param key_id: branch key id.
    :param version: branch key version, the UUID in its lower-case hyphenated form.
    :param salt: 16 bytes from which the wrapping key was derived.
    :param iv: 12 bytes.
    :param wrapped: encrypted data key (32 bytes) and tag (16 bytes).
    """

    key_id: str
    version: str
    salt: bytes
    iv: bytes
    wrapped: bytes


class Header:
    """The header of a message. Nothing in it is secret, and nothing is authenticated yet.

    :ivar message_id: 32 bytes.
    :ivar context: the serialised encryption context, for :func:`encfields.context.deserialize`.
    :ivar keys: the hierarchical keyring's encrypted data keys; this library writes one.
    :ivar frame_length: bytes of content per frame; 0 for an unframed body.
    :ivar commitment: 32 bytes that commit to the data key.
    :ivar tag: 16 bytes that authenticate the header.
    :ivar tag_offset: where the tag starts, that is, how many bytes it covers.
    :ivar body_offset: where the body starts.
    """

    __slots__ = (
        "body_offset",
        "commitment",
        "context",
        "frame_length",
        "keys",
        "message_id",
        "tag",
        "tag_offset",
    )

    def __init__(
        self,
        message_id: bytes,
        context: bytes,
        keys: tuple[EncryptedDataKey, ...],
        frame_length: int,
        commitment: bytes,
        tag: bytes,
        tag_offset: int,
    ) -> None:
        self.message_id = message_id
        self.context = context
        self.keys = keys
        self.frame_length = frame_length
        self.commitment = commitment
        self.tag = tag
        self.tag_offset = tag_offset
        self.body_offset = tag_offset + TAG_BYTES

    @property
    def key_id(self) -> str:
        """Branch key id under which the value was sealed."""
        return self.keys[0].key_id

    @property
    def version(self) -> str:
        """Branch key version: the UUID in its lower-case hyphenated form."""
        return self.keys[0].version

    @property
    def encryption_context(self) -> dict[str, str]:
        """The pairs that the value was sealed for.

        :raises MalformedMessageError: :attr:`context` is malformed.
        """
        return deserialize(self.context)

    def is_under(self, key_ids: tuple[str, ...]) -> bool:
        """Whether one of its data keys is under one of these branch key ids."""
        return any(key.key_id in key_ids for key in self.keys)

    def __repr__(self) -> str:
        return f"<Header key_id={self.key_id!r} version={self.version}>"


@lru_cache(maxsize=4096)
def _key_name(key_id: bytes, version: bytes) -> tuple[str, str]:
    """Branch key id and version as text. Cached, since the UUID's text costs more than an AES
    call."""
    return key_id.decode("utf-8"), str(uuid.UUID(bytes=version))


def as_bytes(message: object) -> bytes:
    """`message` as ``bytes``; drivers may return ``bytearray`` or ``memoryview``.

    :raises MalformedMessageError: it is none of these.
    """
    if type(message) is bytes:
        return message
    if isinstance(message, (bytes, bytearray, memoryview)):
        try:
            return memoryview(message).tobytes()
        except ValueError:
            raise MalformedMessageError(
                "the stored value is a memoryview that was released", offset=0, reason="not-bytes"
            ) from None
    raise MalformedMessageError(
        f"the stored value is a Python {type(message).__name__}; a message is bytes, "
        "in a binary column (BYTEA, BLOB)",
        offset=0,
        reason="not-bytes",
    )


def read_header(message: BytesLike) -> Header:
    """The header of `message`; needs no key.

    :param message: the stored value.
    :raises MalformedMessageError: it is not a message of suite 0x0478 with a data key of the
        hierarchical keyring. ``offset`` and ``reason`` say where and why.
    """
    data = as_bytes(message)
    header = read_any_header(data)
    if not header.keys:
        raise _no_hierarchical_key(data, CONTEXT_OFFSET + len(header.context))
    return header


def read_any_header(data: bytes) -> Header:
    """:func:`read_header` for any keyring: ``keys`` is empty when none is hierarchical."""
    if not data.startswith(MAGIC):
        raise _not_ours(data)
    try:
        (context_bytes,) = _unpack_u16(data, CONTEXT_OFFSET - 2)
        keys_offset = CONTEXT_OFFSET + context_bytes
        keys: tuple[EncryptedDataKey, ...]
        if data.startswith(ONE_KEY, keys_offset):
            key, tail = _read_hierarchical(data, keys_offset + _ONE_KEY_SIZE)
            keys = (key,)
        else:
            keys, tail = _read_keys(data, keys_offset)
        content_type, frame_length, commitment, tag = _unpack_tail(data, tail)
    except struct.error:
        raise truncated(data, "header") from None
    if content_type != (FRAMED if frame_length else UNFRAMED):
        raise MalformedMessageError(
            f"content type {content_type} with frame length {frame_length} is not defined; the "
            "value was altered or written by faulty software",
            offset=tail,
            reason="content-type",
        )
    context = data[CONTEXT_OFFSET:keys_offset]
    return Header(data[3:35], context, keys, frame_length, commitment, tag, tail + _BEFORE_TAG)


def _read_hierarchical(data: bytes, offset: int) -> tuple[EncryptedDataKey, int]:
    """One hierarchical data key, read from its provider information, and the offset after it."""
    (id_bytes,) = _unpack_u16(data, offset)
    if id_bytes > MAX_KEY_ID_BYTES:
        raise MalformedMessageError(
            f"the branch key id has {id_bytes} bytes; no key store holds one of more than "
            f"{MAX_KEY_ID_BYTES}",
            offset=offset,
            reason="key-id",
        )
    end = offset + 2 + id_bytes
    wrapped_bytes, salt, iv, version, wrapped = _unpack_wrapped(data, end)
    if wrapped_bytes != WRAPPED_KEY_BYTES:
        raise MalformedMessageError(
            f"the encrypted data key has {wrapped_bytes} bytes; the hierarchical keyring's has "
            f"{WRAPPED_KEY_BYTES}",
            offset=end,
            reason="wrapped-key",
        )
    try:
        key_id, version_text = _key_name(data[offset + 2 : end], version)
    except UnicodeDecodeError:
        raise MalformedMessageError(
            "the branch key id is not UTF-8", offset=offset + 2, reason="key-id"
        ) from None
    key = EncryptedDataKey(key_id, version_text, salt, iv, wrapped)
    return key, end + _WRAPPED_SIZE


def _read_keys(data: bytes, offset: int) -> tuple[tuple[EncryptedDataKey, ...], int]:
    """The hierarchical ones in a list of encrypted data keys, and the offset after it."""
    (count,) = _unpack_u16(data, offset)
    if count > MAX_DATA_KEYS:
        raise MalformedMessageError(
            f"{count} encrypted data keys, of which {MAX_DATA_KEYS} are looked at at most; each "
            "could cost an access to the key store",
            offset=offset,
            reason="too-many-keys",
        )
    offset += 2
    ours = []
    for _ in range(count):
        provider, end = read_field(data, offset)
        if provider == PROVIDER_ID:
            key, offset = _read_hierarchical(data, end)
            ours.append(key)
        else:
            _, offset = read_field(data, end)
            _, offset = read_field(data, offset)
    return tuple(ours), offset


def read_field(data: bytes, offset: int) -> tuple[bytes, int]:
    """A field with two bytes of length before it, and the offset after it.

    :raises struct.error: `data` ends inside it.
    """
    (size,) = _unpack_u16(data, offset)
    end = offset + 2 + size
    if end > len(data):
        raise struct.error
    return data[offset + 2 : end], end


def _no_hierarchical_key(data: bytes, offset: int) -> MalformedMessageError:
    """The error for a list of encrypted data keys that names only other keyrings."""
    (count,) = _unpack_u16(data, offset)
    providers, position = set(), offset + 2
    for _ in range(count):
        provider, position = read_field(data, position)
        _, position = read_field(data, position)
        _, position = read_field(data, position)
        providers.add(provider)
    return no_hierarchical_key(providers, offset)


def no_hierarchical_key(providers: Iterable[bytes], offset: int | None) -> MalformedMessageError:
    """The error for a message whose data keys are all from other keyrings.

    :param providers: their provider ids.
    :param offset: where the list of data keys starts.
    """
    named = ", ".join(sorted({_printable(provider) for provider in providers}))
    return MalformedMessageError(
        "no data key of the AWS KMS hierarchical keyring; the message's keyrings: "
        f"{named or 'none'}. Open it with the AWS Encryption SDK and the keyring it was written "
        "with. Whatever writes to this column must use a hierarchical keyring over its key store",
        offset=offset,
        reason="keyring",
    )


def _printable(provider: bytes) -> str:
    """A provider id for an error's text: only short, plain ASCII, since the bytes are not
    trusted."""
    if provider in _KMS_PROVIDERS:
        return _KMS_PROVIDERS[provider]
    text = provider[:64].decode("ascii", "replace")
    return repr(text) if text.isprintable() and text.isascii() else "an unprintable name"


def truncated(data: bytes, part: str) -> MalformedMessageError:
    """The error for a message that ends inside `part`."""
    return MalformedMessageError(
        f"the message ends inside its {part}, after {len(data)} bytes: the value was cut short "
        "(is the column long enough?)",
        offset=len(data),
        reason="truncated",
    )


def _empty() -> MalformedMessageError:
    """The error for an empty value, which a server stored by itself."""
    return MalformedMessageError(
        "the stored value is empty, which a message never is: MySQL and MariaDB store '' where a "
        "NOT NULL column is added to a table that has rows, and outside of strict mode where NULL "
        "is given. Such a row never had a value: let the column be NULL, set these rows to NULL "
        "or write their values, then make it NOT NULL",
        offset=0,
        reason="empty",
    )


def _not_ours(data: bytes) -> MalformedMessageError:
    """The error for a value that does not start as ours; never shows bytes that may be
    plaintext."""
    if not data:
        return _empty()
    if MAGIC.startswith(data):
        return truncated(data, "header")
    if named := suite_of(data):
        version, suite = named
        return MalformedMessageError(
            f"a message of the AWS Encryption SDK in format version {version} with "
            f"{other_suite(suite)}. Open this one with the AWS Encryption SDK",
            offset=0 if version != 2 else 1,
            reason="suite",
        )
    if form := text_form(data):
        return MalformedMessageError(
            f"the message was stored as {_FORMS[form]}; decode it into a binary column first",
            offset=0,
            reason=form,
        )
    return MalformedMessageError(
        f"these {len(data)} bytes are not a message of the AWS Encryption SDK: plaintext that was "
        "never encrypted, or another program's data",
        offset=0,
        reason="not-a-message",
    )
