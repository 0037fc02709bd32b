"""Which KMS actions this role may take on which keys, determined by trying them.

A data key is generated, encrypted and decrypted under the encryption context of a branch key, and
discarded at once, so that policies with conditions on that context are really tested.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from typing import Any

from encfields.branch_key import BRANCH_KEY_BYTES
from encfields.doctor import Finding, Severity
from encfields.keys.aws.kms_calls import KmsFault, kms_calls, worst_reason
from encfields.keys.keyrings.aws_kms import AwsKmsKeyring, DiscoveryKeyring
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.keyrings.local import LocalKeyring
from encfields.keys.keyrings.wrapping import WrappingContext


def check_keyring(keyring: Keyring, key_id: str, store: str) -> list[Finding]:
    """The keyring, and for each of its KMS keys the actions that this role may take.

    :param key_id: branch key id to ask for, because policies may be conditioned on it.
    :param store: the key store's logical name, for the same reason.
    """
    if isinstance(keyring, LocalKeyring):
        detail = "a local wrapping key, for development: whoever has its file has all keys"
        return [Finding("keyring", "warning", detail)]
    if isinstance(keyring, DiscoveryKeyring):
        detail = "a discovery keyring opens keys and cannot make, rotate or rewrap them"
        return [Finding("keyring", "ok", detail)]
    if not isinstance(keyring, AwsKmsKeyring):
        return [
            Finding(
                "keyring",
                "skipped",
                f"{keyring!r} is a keyring of a kind that doctor does not know",
            )
        ]
    findings = [_region_finding(keyring)]
    for number, arn in enumerate(keyring.arns):
        findings += _Probe(keyring, arn, key_id, store).findings(generates=number == 0)
    return findings


def _region_finding(keyring: AwsKmsKeyring) -> Finding:
    regions = {arn.split(":")[3] for arn in keyring.arns}
    if len(regions) == 1:
        detail = (
            f"all wrapping keys are in {next(iter(regions))}: while that region is out of reach, "
            "no key can be opened"
        )
        return Finding("keyring", "warning", detail)
    return Finding("keyring", "ok", f"full key ARNs, in {len(regions)} regions")


class _Probe:
    """Tries one KMS key."""

    def __init__(self, keyring: AwsKmsKeyring, arn: str, key_id: str, store: str) -> None:
        self._keyring = keyring
        self._arn = arn
        place = WrappingContext(store, key_id, str(uuid.uuid4()), 1, "branch-key")
        self._context = place.pairs()

    def findings(self, *, generates: bool) -> list[Finding]:
        """One for each action.

        :param generates: whether this KMS key generates new keys; others encrypt them.
        """
        client = self._keyring.options.client(self._arn.split(":")[3])
        named = {"KeyId": self._arn, "EncryptionContext": self._context}
        made, generate = self._try(lambda: client.generate_data_key(NumberOfBytes=32, **named))
        secret = secrets.token_bytes(BRANCH_KEY_BYTES)
        sealed, encrypt = self._try(lambda: client.encrypt(Plaintext=secret, **named))
        wrapped = (made or sealed or {}).get("CiphertextBlob")
        detail = [
            self._writing("GenerateDataKey", generate, needed=generates),
            self._writing("Encrypt", encrypt, needed=not generates),
        ]
        if wrapped is None:
            detail.append(
                Finding(
                    self._name("Decrypt"),
                    "skipped",
                    "could not be tried, because this role may not wrap anything; the check that "
                    "keys open shows it",
                )
            )
            return detail
        _, decrypt = self._try(lambda: client.decrypt(CiphertextBlob=wrapped, **named))
        verdict: Severity = "ok" if not decrypt else "problem"
        return [*detail, Finding(self._name("Decrypt"), verdict, _described(decrypt) or "allowed")]

    def _writing(self, action: str, faults: list[KmsFault], *, needed: bool) -> Finding:
        """The finding for an action that an application does not need, only the creation, rotation
        and rewrapping of keys."""
        name = self._name(action)
        if not faults:
            return Finding(name, "ok", "allowed")
        if worst_reason(faults) == "denied":
            detail = (
                "denied, as is right for an application; creating, rotating and rewrapping keys "
                "need it"
            )
            return Finding(name, "ok" if not needed else "warning", detail)
        return Finding(name, "problem", _described(faults))

    def _name(self, action: str) -> str:
        return f"kms:{action} {self._arn}"

    def _try(self, call: Callable[[], Any]) -> tuple[Any, list[KmsFault]]:
        with kms_calls() as faults:
            try:
                return call(), []
            except Exception as error:
                # Not an answer from KMS, such as an endpoint that does not exist.
                other = KmsFault("", type(error).__name__, "the call could not be made")
                return None, list(faults) or [other]


def _described(faults: list[KmsFault]) -> str:
    reason = worst_reason(faults)
    return f"{reason}: {'; '.join(dict.fromkeys(str(fault) for fault in faults))}" if faults else ""
