"""Converts failures of DynamoDB, KMS and AWS's key store to our errors, which say what to do."""

from __future__ import annotations

from encfields.errors import (
    ConfigurationError,
    EncFieldsError,
    KeyAccessError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.keys.aws.kms_calls import KmsFault, worst_reason
from encfields.keys.store import Conflict

_ADVICE = {
    "unreachable": "is out of reach; check network, region and endpoint, then retry",
    "throttled": "throttles requests; retry later or raise the quota",
    "denied": "denies access; check credentials, IAM and the key policy",
    "disabled": "says that the KMS key is disabled, pending deletion or gone",
    "error": "or its client failed",
}
_CONFLICTS = frozenset(
    {
        "TransactionCanceledException",
        "TransactionConflictException",
        "TransactionInProgressException",
        "ConditionalCheckFailedException",
    }
)
_OTHER_KMS_KEY = (
    "does not match Key Store's configured KMS Key ARN",
    "KMS Key ARN does not match configured value",
)
_NO_TABLE = "ResourceNotFoundException"
_OF_KMS = ("Decrypt", "Encrypt", "ReEncrypt", "GenerateDataKey")


def no_such_key(table_name: str, key_id: str | None) -> KeyNotFoundError:
    """The error for an id, or a version, that is not in the table."""
    return KeyNotFoundError(
        f"there is no such key, or no such version of it, in {table_name!r}; make a key once "
        f"with `encryption.keys.create({key_id!r})`",
        key_id=key_id,
        reason="no-key",
    )


def explain(
    error: Exception, faults: list[KmsFault], key_id: str | None, table_name: str
) -> EncFieldsError | Conflict:
    """The exception to raise in place of `error`, which may hold a key and is never chained.

    :param faults: the calls of KMS and DynamoDB that failed meanwhile.
    """
    codes = {fault.code for fault in faults}
    if _NO_TABLE in codes:
        return ConfigurationError(
            f"there is no DynamoDB table {table_name!r} in this account and region; make it with "
            "`encryption.keys.create_table()`, or attach(..., create=True)",
            table=table_name,
            reason="no-key-table",
        )
    if codes & _CONFLICTS:
        return Conflict()
    reason = worst_reason(faults)
    if reason is not None:
        details = "; ".join(dict.fromkeys(str(fault) for fault in faults))
        kms = any(fault.operation.startswith(_OF_KMS) for fault in faults)
        return KeyUnavailableError(
            f"{'KMS' if kms else 'DynamoDB'} {_ADVICE[reason]} ({details})",
            key_id=key_id,
            reason=reason,
        )
    return _of_library(error, bool(faults), key_id, table_name)


def _of_library(
    error: Exception, kms_refused: bool, key_id: str | None, table_name: str
) -> EncFieldsError:
    """The error for a failure of the Material Providers Library itself, which has one class for
    all."""
    text = str(error)
    if "No item found" in text:
        return no_such_key(table_name, key_id)
    if any(words in text for words in _OTHER_KMS_KEY):
        return KeyAccessError(
            "this key is wrapped by another KMS key than the key store was given; its item's "
            "kms-arn names that",
            key_id=key_id,
            reason="wrong-keyring",
        )
    if kms_refused or "not a valid" in text or "corrupted" in text:
        return KeyAccessError(
            "KMS does not open the wrapped key: its item was altered, or belongs to a key store "
            "of another logical name; give name= as it was created, or restore the item",
            key_id=key_id,
            reason="tampered",
        )
    # Only the class: the library's texts may hold key material.
    name = f"{type(error).__module__}.{type(error).__name__}"
    return KeyUnavailableError(
        f"AWS's key store or its client failed ({name})", key_id=key_id, reason="error"
    )
