"""Wraps a branch key for storage as an AWS Encryption SDK message, with AWS's client
(docs/format.md).

The encryption context names the key store, the key, its version, the version's number and its
purpose. So a wrapped key opens only in one place of one key store; KMS key policies can be
conditioned on it (``kms:EncryptionContext:enc:key-id``), and CloudTrail shows which key was opened.
It never holds a row's identity.
"""

from __future__ import annotations

import io
import os
import secrets
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from encfields.arguments import kind
from encfields.branch_key import BRANCH_KEY_BYTES
from encfields.errors import ConfigurationError, KeyAccessError, KeyStoreError, KeyUnavailableError
from encfields.keys.aws.kms_calls import KmsFault, kms_calls, worst_reason
from encfields.keys.aws.kms_requests import announce
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.keyrings.local import LocalKeyring

Purpose = Literal["branch-key", "beacon-key"]

KEY_STORE = "enc:key-store"
KEY_ID = "enc:key-id"
KEY_VERSION = "enc:key-version"
KEY_NUMBER = "enc:key-number"
KEY_PURPOSE = "enc:purpose"
"""Names of the pairs in a wrapped key's encryption context. They must never change."""

MAX_WRAPPING_KEYS = 16
"""Most encrypted data keys to try, so that a forged row cannot cost many KMS calls."""


class WrappingContext(NamedTuple):
    """What a wrapped key is bound to.

    :ivar store: the key store's logical name.
    :ivar key_id: branch key id.
    :ivar version: UUID text of the version.
    :ivar number: the version's number, 1 for the first. The highest one seals.
    :ivar purpose: branch key or beacon key.
    """

    store: str
    key_id: str
    version: str
    number: int
    purpose: Purpose

    def pairs(self) -> dict[str, str]:
        """The encryption context."""
        return {
            KEY_STORE: self.store,
            KEY_ID: self.key_id,
            KEY_VERSION: self.version,
            KEY_NUMBER: str(self.number),
            KEY_PURPOSE: self.purpose,
        }


class KeyWrapper:
    """Wraps new keys with a keyring and opens wrapped ones.

    Safe to call from any thread and process: each has its own keyring and KMS clients.

    :param keyring: one of :mod:`encfields.keyrings`.
    :raises ConfigurationError: it is not a keyring.
    """

    def __init__(self, keyring: Keyring) -> None:
        if not isinstance(keyring, Keyring):
            raise ConfigurationError(
                "a key store takes a keyring, such as keyrings.aws_kms(...) or "
                f"keyrings.local(...), not {kind(keyring)}",
                reason="keyring",
            )
        self.keyring = keyring
        self._built = threading.local()

    def __repr__(self) -> str:
        return f"<KeyWrapper {self.keyring!r}>"

    def wrap_new(self, place: WrappingContext) -> bytes:
        """Create a new random key and return it wrapped.

        :param place: what it is bound to.
        :returns: an AWS Encryption SDK message, format 2, suite 0x0478; some 600 bytes and 200
            more per further KMS key.
        :raises ConfigurationError: the keyring only opens (discovery).
        :raises KeyUnavailableError: KMS is out of reach, throttles or refuses.
        """
        return self.wrap(secrets.token_bytes(BRANCH_KEY_BYTES), place)

    def wrap(self, material: bytes, place: WrappingContext) -> bytes:
        """A given key wrapped; as :meth:`wrap_new`."""
        if not self.keyring.can_wrap:
            raise ConfigurationError(
                "a discovery keyring opens keys and cannot wrap new ones; create and rotate "
                "keys with keyrings.aws_kms(arn, ...)",
                key_id=place.key_id,
                reason="cannot-wrap",
            )
        self._announce("GenerateDataKey", place.key_id)
        with kms_calls() as faults:
            outcome = self._try_wrap(material, place.pairs())
        if isinstance(outcome, bytes):
            return outcome
        # Raised out here, so that the library's own exception is not chained to ours.
        raise _wrap_error(outcome, faults, place.key_id)

    def unwrap(self, wrapped: bytes, place: WrappingContext) -> bytes:
        """The 32 secret bytes of a wrapped key.

        :raises KeyAccessError: no wrapping key of the keyring opens it, it was altered, or it
            was wrapped for another place.
        :raises KeyUnavailableError: KMS is out of reach, throttles or refuses.
        """
        return self.unwrap_bound_to(place.pairs(), wrapped, place.key_id)

    def unwrap_bound_to(self, context: dict[str, str], wrapped: bytes, key_id: str) -> bytes:
        """:meth:`unwrap`, given the encryption context itself.

        :param key_id: for messages.
        """
        self._announce("Decrypt", key_id)
        with kms_calls() as faults:
            outcome = self._try_unwrap(bytes(wrapped), context)
        if isinstance(outcome, bytes):
            return outcome
        raise _unwrap_error(outcome, faults, key_id)

    def _announce(self, operation: str, key_id: str) -> None:
        """Announce a local keyring's operation; KMS clients announce their own."""
        if isinstance(self.keyring, LocalKeyring):
            announce(operation, self.keyring.name, key_id)

    def _try_wrap(self, material: bytes, context: dict[str, str]) -> bytes | Exception:
        try:
            from aws_encryption_sdk.identifiers import AlgorithmSuite

            message, _ = self._client().encrypt(
                source=material,
                keyring=self._keyring(),
                encryption_context=context,
                # Without a signature: anybody who can open the key could have signed it.
                algorithm=AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
            )
            return bytes(message)
        except Exception as error:
            return error.with_traceback(None)

    def _try_unwrap(self, wrapped: bytes, context: dict[str, str]) -> bytes | Exception:
        try:
            client, keyring = self._client(), self._keyring()
        except Exception as error:
            return _NotBuilt(f"{type(error).__module__}.{type(error).__name__}")
        try:
            with stock_stream(
                client, wrapped, keyring=keyring, encryption_context=context
            ) as stream:
                material, header = stream.read(), stream.header
        except Exception as error:
            return error.with_traceback(None)
        if dict(header.encryption_context) != context or len(material) != BRANCH_KEY_BYTES:
            return ValueError("not what was wrapped under this context")
        return bytes(material)

    def _client(self) -> Any:
        from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient

        return EncryptionSDKClient(
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
            max_encrypted_data_keys=MAX_WRAPPING_KEYS,
        )

    def _keyring(self) -> Any:
        """The keyring of this thread and process."""
        pid, keyring = getattr(self._built, "entry", (None, None))
        if pid != os.getpid():
            keyring = self.keyring.build()
            self._built.entry = (os.getpid(), keyring)
        return keyring


_ADVICE = {
    "unreachable": "KMS is out of reach; check network, region and endpoint, then retry",
    "throttled": "KMS throttles requests; retry later or raise the quota",
    "denied": "KMS denies access; check credentials, IAM and the key policy",
    "disabled": "the KMS key is disabled, pending deletion or gone",
    "error": "KMS or its client failed",
}


def _outage(faults: list[KmsFault], key_id: str) -> KeyUnavailableError | None:
    reason = worst_reason(faults)
    if reason is None:
        return None
    details = "; ".join(dict.fromkeys(str(fault) for fault in faults))
    return KeyUnavailableError(f"{_ADVICE[reason]} ({details})", key_id=key_id, reason=reason)


class _NotBuilt(Exception):
    """The keyring or its clients could not be built; holds the cause's class name."""


@contextmanager
def stock_stream(client: Any, source: bytes | io.BytesIO, **arguments: Any) -> Iterator[Any]:
    """AWS's stream that decrypts `source`, closed at the end whether it opened or not.

    :param client: an ``EncryptionSDKClient``. :param arguments: as its ``stream()`` takes them.
    """
    stream = client.stream(mode="decrypt", source=source, **arguments)
    try:
        yield stream
    finally:
        # Its own close() raises where the message was not read to its end, and is called again
        # when it is collected: Python 3.13 and newer then write a traceback to stderr.
        io.IOBase.close(stream)


def _unexpected(error: Exception, key_id: str) -> KeyUnavailableError:
    # Only the class: the library's texts may hold key material.
    name = f"{type(error).__module__}.{type(error).__name__}"
    return KeyUnavailableError(
        f"{_ADVICE['error']} ({error if isinstance(error, _NotBuilt) else name})",
        key_id=key_id,
        reason="error",
    )


def _wrap_error(error: Exception, faults: list[KmsFault], key_id: str) -> KeyStoreError:
    return _outage(faults, key_id) or _unexpected(error, key_id)


def _unwrap_error(error: Exception, faults: list[KmsFault], key_id: str) -> KeyStoreError:
    outage = _outage(faults, key_id)
    if outage is not None:
        return outage
    if _is_altered(error):
        return KeyAccessError(
            "the wrapped key was altered, or belongs to another key store, key id, version or "
            "purpose; restore its row from a backup",
            key_id=key_id,
            reason="tampered",
        )
    if faults or _is_refusal(error):
        return KeyAccessError(
            "none of the keyring's wrapping keys opens this key: it was wrapped by others, or "
            "its wrap was altered; attach with the keyring that created it",
            key_id=key_id,
            reason="wrong-keyring",
        )
    return _unexpected(error, key_id)


def _is_altered(error: Exception) -> bool:
    """Whether the message is broken or not the one expected, whatever the keyring."""
    from aws_encryption_sdk import exceptions
    from cryptography.exceptions import InvalidTag

    broken = (
        # What the stock reader raises on bytes that are no message, as fuzzing it shows.
        InvalidTag,
        ValueError,
        IndexError,
        struct.error,
        exceptions.SerializationError,
        exceptions.NotSupportedError,
        exceptions.MasterKeyProviderError,
    )
    if isinstance(error, broken):
        return True
    return _is_refusal(error) and "does not match reproduced encryption context" in str(error)


def _is_refusal(error: Exception) -> bool:
    from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError

    return isinstance(error, AWSEncryptionSDKClientError)
