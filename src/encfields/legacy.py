"""Reads values that an application encrypted itself with the AWS Encryption SDK.

::

    attach(
        engine,
        key_store,
        legacy={
            "patient.ssn": LegacyReader(
                keyrings.aws_kms(ARN),
                context=lambda row: {"table": "patient", "patient": row["id"]},
            )
        },
    )

Such a message (another suite, another keyring, format version 1, several frames, the application's
own context) is opened by AWS's client with the given keyring. It is tried only after our reader has
refused the message, so our own values cost nothing more. A legacy value takes a millisecond or more
and, with a KMS keyring, a KMS call, which blocks an event loop (``benchmarks/legacy.py``). Every
write stores our format.

**What protects it.** Only the pairs in `context` bind a legacy value to its row. Anybody with write
access to the table can exchange values that differ only in what it leaves out.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from encfields.arguments import kind
from encfields.context import COLUMN_KEY
from encfields.errors import (
    ConfigurationError,
    ContextMismatchError,
    EncFieldsError,
    KeyAccessError,
    KeyUnavailableError,
    MalformedMessageError,
    TamperedError,
    ValueDecodingError,
)
from encfields.expected_arguments import CALLABLE, FLAG, PAIRS, require
from encfields.keys.aws.kms_calls import KmsFault, kms_calls, worst_reason
from encfields.keys.keyrings.wrapping import stock_stream

if TYPE_CHECKING:
    from encfields.keys.keyrings.keyring import Keyring

Row = Mapping[str, str]
"""The canonical texts of the columns that identify a row, by column name."""

MAX_DATA_KEYS = 16
"""Most encrypted data keys to try, so that a forged value cannot cost many KMS calls."""

_NOT_OURS = frozenset({"suite", "keyring"})


def is_legacy(error: EncFieldsError) -> bool:
    """Whether our reader refused a message because another program wrote it."""
    if isinstance(error, MalformedMessageError):
        return error.reason in _NOT_OURS
    return isinstance(error, ContextMismatchError) and COLUMN_KEY not in error.found


class LegacyReader:
    """Opens one column's legacy messages. For ``attach(legacy={"table.column": ...})``.

    :param keyring: one of :mod:`encfields.keyrings`, or a function that makes a keyring or a
        materials manager of AWS's Material Providers Library; called once per thread and process.
    :param context: the encryption context that every message must contain: fixed pairs, or a
        function of the row. ``{}`` requires nothing, and binds nothing. A message may have more
        pairs.
    :param decode: converts the plaintext bytes to the value; default the column's type, from its
        canonical text (UTF-8 for text, raw bytes, JSON in UTF-8).
    :param allow_uncommitted: also open messages without key commitment: format version 1, written
        by SDKs before 2.0. AWS advises against it except for migrations.
    :ivar opened: number of messages opened in this process; with many threads it may be slightly
        low. When it stays at 0, the reader is no longer needed.
    """

    def __init__(
        self,
        keyring: Keyring | Callable[[], Any],
        *,
        context: Row | Callable[[Row], Row],
        decode: Callable[[bytes], Any] | None = None,
        allow_uncommitted: bool = False,
    ) -> None:
        build = getattr(keyring, "build", keyring)
        if not callable(build):
            raise ConfigurationError(
                "LegacyReader takes one of encfields.keyrings, or a function that makes a "
                f"keyring, not {kind(keyring)}",
                reason="keyring",
            )
        if not callable(context):
            require("context", PAIRS, context)
        require("decode", CALLABLE.or_none, decode)
        require("allow_uncommitted", FLAG, allow_uncommitted)
        self._build = build
        self._context = context
        self.decode = decode and _guarded(decode)
        self.allow_uncommitted = allow_uncommitted
        self.opened = 0
        self._built = threading.local()

    def __repr__(self) -> str:
        return f"<LegacyReader allow_uncommitted={self.allow_uncommitted}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a legacy reader may hold a wrapping key and is never pickled")

    def open(self, message: bytes, row: Row) -> bytes:
        """The plaintext of `message`, if its context has the pairs required for this row.

        :param row: the identity of the row, by column name.
        :param message: a whole message of the AWS Encryption SDK, and nothing after it.
        :raises MalformedMessageError: it is not such a message, or not an allowed one.
        :raises ContextMismatchError: it was written for another context.
        :raises TamperedError: it does not authenticate.
        :raises KeyAccessError: the keyring is not one that opens it.
        :raises KeyUnavailableError: KMS is unreachable, throttles or refuses.
        """
        if message[:1] == b"\x01" and not self.allow_uncommitted:
            raise MalformedMessageError(
                "a message of format version 1, which does not commit to its key; to read it "
                "nevertheless, give LegacyReader(allow_uncommitted=True)",
                offset=0,
                reason="uncommitted",
            )
        demanded = self._context(row) if callable(self._context) else self._context
        with kms_calls() as faults:
            outcome = self._try(message, dict(demanded))
        if isinstance(outcome, bytes):
            self.opened += 1
            return outcome
        # Raised here, so that the client's exception is not chained to ours.
        raise _explain(outcome, faults, dict(demanded))

    def _try(self, message: bytes, demanded: dict[str, str]) -> bytes | Exception:
        source = io.BytesIO(message)
        try:
            with stock_stream(
                self._client(), source, encryption_context=demanded, **self._keys()
            ) as stream:
                plaintext = bytes(stream.read())
        except Exception as error:
            return error.with_traceback(None)
        if source.tell() != len(message):  # the client stops at the message's end
            return MalformedMessageError(
                "bytes follow the end of the message", offset=source.tell(), reason="trailing"
            )
        return plaintext

    def _client(self) -> Any:
        from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient

        policy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        if self.allow_uncommitted:
            policy = CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT
        return EncryptionSDKClient(commitment_policy=policy, max_encrypted_data_keys=MAX_DATA_KEYS)

    def _keys(self) -> dict[str, Any]:
        """The materials manager of this thread and process."""
        pid, manager = getattr(self._built, "entry", (None, None))
        if manager is None or pid != os.getpid():
            manager = _manager(self._build())
            self._built.entry = (os.getpid(), manager)
        return {"materials_manager": manager}


def _guarded(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """`decode` with its exceptions, which may hold the plaintext, replaced by ours."""

    def guarded(plaintext: bytes) -> Any:
        try:
            return decode(plaintext)
        except Exception as error:
            failure = type(error).__name__
        raise ValueDecodingError(
            f"LegacyReader's decode= rejected the plaintext ({failure})", reason="legacy"
        )

    return guarded


def _manager(made: Any) -> Any:
    """A materials manager for a keyring; the client would make one per message."""
    from aws_cryptographic_material_providers.mpl import client, config, models, references

    if not isinstance(made, references.IKeyring):
        return made
    providers = client.AwsCryptographicMaterialProviders(config=config.MaterialProvidersConfig())
    return providers.create_default_cryptographic_materials_manager(
        models.CreateDefaultCryptographicMaterialsManagerInput(keyring=made)
    )


def _explain(error: Exception, faults: list[KmsFault], demanded: dict[str, str]) -> EncFieldsError:
    """The error for a legacy message that does not open, without the client's text except KMS's."""
    if isinstance(error, EncFieldsError):
        return error
    reason = worst_reason(faults)
    if reason is not None:
        reasons = "; ".join(dict.fromkeys(str(fault) for fault in faults))
        return KeyUnavailableError(f"KMS does not open the legacy value ({reasons})", reason=reason)
    from aws_encryption_sdk import exceptions
    from cryptography.exceptions import InvalidTag

    text = str(error)
    if "encryption context" in text.lower():
        return ContextMismatchError(
            f"the legacy value was not written for {demanded}: it was moved or copied here, or "
            "the context that LegacyReader demands is not the one it was written with",
            expected=demanded,
            reason="context",
        )
    if isinstance(error, InvalidTag) or "authorization failed" in text:
        return TamperedError(
            "the legacy value does not authenticate: it was altered, or it was not written with "
            f"{demanded} in its context",
            reason="legacy",
        )
    if isinstance(error, exceptions.AWSEncryptionSDKClientError) and _is_refusal(error):
        return KeyAccessError(
            "LegacyReader's keyring does not open the value: it was written with another one or "
            f"without {demanded} in its context, its data key was altered, or KMS failed (which "
            "the keyrings of encfields.keyrings tell apart)",
            reason="wrong-keyring",
        )
    return MalformedMessageError(
        f"the legacy value is not a message that the AWS client opens ({type(error).__name__})",
        reason="legacy",
    )


def _is_refusal(error: Exception) -> bool:
    """Whether the keyring gave no data key; the client raises one class for all failures."""
    from aws_encryption_sdk import exceptions

    return not isinstance(error, (exceptions.SerializationError, exceptions.NotSupportedError))
