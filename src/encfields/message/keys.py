"""The keys of a message: the branch key wraps the data key, which gives the encryption key.

The hierarchical keyring's wrapping (``framework/aws-kms/aws-kms-hierarchical-keyring.md``,
"Branch Key Wrapping and Unwrapping") and the algorithm suite's key derivation with commitment
(``framework/algorithm-suites.md`` and RFC 5869). SHA-2 is OpenSSL's, through `hashlib`, and AES-GCM
through `cryptography`; only their composition is ours.

Every hash is one of `hashlib`'s, which may have another OpenSSL than `cryptography` has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from encfields.branch_key import BranchKey
from encfields.errors import BindingError, TamperedError, shortened
from encfields.message.data_key_cache import DataKeyCache
from encfields.message.header import (
    ONE_KEY,
    PROVIDER_ID,
    WRAPPED_KEY_BYTES,
    EncryptedDataKey,
    pack_u16,
)

_sha512 = hashlib.sha512().copy
"""A new SHA-512. Copying one is faster than creating one, for which OpenSSL looks it up again."""

# RFC 2104: a key, padded with zeros to a block (of SHA-512, 128 bytes), XOR 0x36 and XOR 0x5c.
INNER = bytes(byte ^ 0x36 for byte in range(256))
OUTER = bytes(byte ^ 0x5C for byte in range(256))
"""Tables for ``bytes.translate()``, of the inner and the outer hash of an HMAC."""

_INNER_96, _INNER_64 = b"\x36" * 96, b"\x36" * 64
_OUTER_96, _OUTER_64 = b"\x5c" * 96, b"\x5c" * 64

INNER_32, OUTER_32 = b"\x36" * 32, b"\x5c" * 32
"""What fills a key of 32 bytes up to a block of SHA-256, 64 bytes."""

# NIST SP 800-108 counter mode: i = 1, label, 0x00, context (the salt), L = 256 bits.
_KDF_START = b"\x00\x00\x00\x01" + PROVIDER_ID + b"\x00"
_KDF_END = b"\x00\x00\x01\x00"

# RFC 5869 Expand: info, then the counter of the first and only block.
_EXPAND_KEY = b"\x04\x78DERIVEKEY\x01"
_EXPAND_COMMITMENT = b"COMMITKEY\x01"


RANDOM_BYTES = 92
"""Random bytes of a message: data key (32), message id (32), salt (16), IV (12)."""


def key_head(id_bytes: bytes) -> bytes:
    """A message's bytes from the count of encrypted data keys to the ciphertext of the only one.

    :param id_bytes: branch key id in UTF-8, at most 65,535 bytes.
    """
    return ONE_KEY + pack_u16(len(id_bytes)) + id_bytes + pack_u16(WRAPPED_KEY_BYTES)


class Wrapping:
    """What one branch key version needs to wrap and unwrap data keys, computed once.

    It is kept in the branch key's own ``wrapping`` slot, not in a cache here, so that everything
    derived from a branch key is dropped with it.

    :ivar head: a message's bytes from the count of encrypted data keys up to the ciphertext.
    :ivar aad_head: the authenticated data of a data key, before the context.
    :ivar data_keys: what messages under it that were opened before are opened with; ``None`` if
        that is not kept.
    """

    __slots__ = ("_inner", "_outer", "_version", "aad_head", "data_keys", "head")

    def __init__(self, key: BranchKey) -> None:
        if len(key.id_bytes) > 0xFFFF:
            raise BindingError(
                f"the branch key id is {len(key.id_bytes)} bytes long; "
                f"the message format holds {0xFFFF}",
                reason="key-id-too-long",
            )
        self.head = key_head(key.id_bytes)
        self._version = key.version_bytes
        self.aad_head = PROVIDER_ID + key.id_bytes + key.version_bytes
        # The two hashes of its HMAC-SHA-256, which are copied for each message: saves keying them.
        inner = key.material.translate(INNER) + INNER_32 + _KDF_START
        outer = key.material.translate(OUTER) + OUTER_32
        self._inner, self._outer = hashlib.sha256(inner).copy, hashlib.sha256(outer).copy
        self.data_keys = DataKeyCache() if key.keeps_data_keys else None

    @classmethod
    def of(cls, key: BranchKey) -> Wrapping:
        """The wrapping of `key`, created on first use."""
        wrapping = key.wrapping
        if not isinstance(wrapping, Wrapping):
            # Two threads may each create one; they are equal, and either may be kept.
            wrapping = key.wrapping = cls(key)
        return wrapping

    def cipher(self, salt: bytes) -> AESGCM:
        """The wrapping key of one message, as a cipher.

        :param salt: 16 bytes, the message's own.
        """
        inner, outer = self._inner(), self._outer()
        inner.update(salt + _KDF_END)
        outer.update(inner.digest())
        return AESGCM(outer.digest())

    def wrap(self, data_key: bytes, salt: bytes, iv: bytes, context: bytes) -> bytes:
        """The 92 bytes of ciphertext of `data_key` in a message.

        :param data_key: 32 bytes.
        :param salt: 16 bytes.
        :param iv: 12 bytes.
        :param context: the serialised encryption context.
        """
        wrapped = self.cipher(salt).encrypt(iv, data_key, self.aad_head + context)
        return salt + iv + self._version + wrapped

    def unwrap(self, edk: EncryptedDataKey, context: bytes) -> bytes:
        """The 32-byte data key in `edk`, which was wrapped for `context`.

        :raises TamperedError: it is altered, or this is not the branch key that wrapped it.
        """
        try:
            return self.cipher(edk.salt).decrypt(edk.iv, edk.wrapped, self.aad_head + context)
        except InvalidTag:
            raise TamperedError(
                "the message's data key does not authenticate: the message was altered, or it "
                f"was sealed under other key material than the store holds as {edk.version}",
                key_id=edk.key_id,
                reason="wrapped-key",
            ) from None


def openable(edks: Sequence[EncryptedDataKey], key_ids: tuple[str, ...]) -> list[EncryptedDataKey]:
    """A message's encrypted data keys that are under a key id that its place allows.

    The writer of a message chose the key that it names, and may have another branch key. AWS's
    keyring also considers only those of its own branch key.

    :param key_ids: the required id, then the former ones.
    :raises TamperedError: there is none.
    """
    matching = [edk for edk in edks if edk.key_id in key_ids]
    if matching:
        return matching
    named = edks[0].key_id
    raise TamperedError(
        f"the value is sealed under the branch key {shortened(named)!r}, but only "
        f"{' or '.join(map(repr, key_ids))} is allowed here: it was written by somebody who holds "
        "that other key. If key= was changed since, name its former value in former_keys=",
        key_id=named,
        reason="key-id",
    )


def derive(data_key: bytes, message_id: bytes) -> tuple[AESGCM, bytes]:
    """The cipher of a message and the 32 bytes that commit to its data key.

    HKDF-SHA512 with the message id as salt, expanded twice. Its HMAC (RFC 2104) is composed here
    from OpenSSL's SHA-512, by copying states: for keys that are used once or twice this takes four
    fifths of the time of any library's HMAC object.

    :param data_key: 32 bytes.
    :param message_id: 32 bytes.
    """
    inner, outer = _sha512(), _sha512()
    inner.update(message_id.translate(INNER) + _INNER_96 + data_key)
    outer.update(message_id.translate(OUTER) + _OUTER_96 + inner.digest())
    extracted = outer.digest()

    inner, outer = _sha512(), _sha512()
    inner.update(extracted.translate(INNER) + _INNER_64)
    outer.update(extracted.translate(OUTER) + _OUTER_64)
    commitment, commitment_outer = inner.copy(), outer.copy()
    inner.update(_EXPAND_KEY)
    outer.update(inner.digest())
    commitment.update(_EXPAND_COMMITMENT)
    commitment_outer.update(commitment.digest())
    return AESGCM(outer.digest()[:32]), commitment_outer.digest()[:32]
