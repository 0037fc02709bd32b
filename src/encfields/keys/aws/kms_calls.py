"""Records what happened at KMS during a wrap or unwrap, and keeps it out of other libraries' logs.

The Material Providers Library reports a modelled KMS error by its message alone, so a disabled
key looks like a failing service; and it lets a connection error through without trying the next
keyring, so a region that is down would defeat the keys of the other regions. Both are
mended with botocore's own event hooks: every failed call is noted with its error code, and a
connection error is turned into a service error, which makes the library go on to the next key.

If one region's key fails and another's opens, that is no error and would go unnoticed: so a failing
KMS key is logged once when it begins to fail and once when it works again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

from encfields.errors import shortened
from encfields.keys.aws.deadline import DeadlineExceeded, exceeded, limit
from encfields.keys.aws.kms_requests import announce, key_id_in
from encfields.keys.forking import in_forked_child

UNREACHABLE_CODE = "EncfieldsUnreachable"
NO_CREDENTIALS_CODE = "EncfieldsNoCredentials"

_THROTTLED = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "RequestThrottled",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "LimitExceededException",
        "SlowDown",
        "BandwidthLimitExceeded",
        "RequestThrottledException",
        "ProvisionedThroughputExceededException",
    }
)
_DENIED = frozenset(
    {
        "AccessDeniedException",
        "AccessDenied",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "ExpiredTokenException",
        "ExpiredToken",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "IncompleteSignature",
        "OptInRequired",
        "NotAuthorized",
        "RequestExpired",
        "InvalidGrantTokenException",
        "UnauthorizedOperation",
    }
) | {NO_CREDENTIALS_CODE}
_DISABLED = frozenset(
    {
        "DisabledException",
        "KMSInvalidStateException",
        "KMSInvalidState",
        "NotFoundException",
    }
)
_NOT_OURS = frozenset(
    {
        "InvalidCiphertextException",
        "IncorrectKeyException",
        "InvalidKeyUsageException",
    }
)

_URGENCY = ("unreachable", "throttled", "error", "denied", "disabled")
"""Priority of reasons when several keys failed: those that a retry may cure come first, so that an
outage is never reported as a final refusal."""


class KmsFault(NamedTuple):
    """One failed KMS call.

    :param operation: for instance ``"Decrypt"``.
    :param code: the service's error code, or one of ours for a call that got no answer.
    :param detail: the service's text, in which KMS never repeats a key.
    :param arn: the KMS key that was asked.
    """

    operation: str
    code: str
    detail: str
    arn: str | None = None

    @property
    def reason(self) -> str | None:
        """The ``reason`` of a ``KeyUnavailableError``; ``None`` if KMS refused the bytes."""
        if self.code == UNREACHABLE_CODE:
            return "unreachable"
        for reason, codes in (
            ("throttled", _THROTTLED),
            ("denied", _DENIED),
            ("disabled", _DISABLED),
        ):
            if self.code in codes:
                return reason
        return None if self.code in _NOT_OURS else "error"

    @property
    def words(self) -> str:
        """What went wrong, without operation and key."""
        return f"{self.code.removeprefix('Encfields')}: {self.detail[:300]}"

    def __str__(self) -> str:
        asked = f"{self.operation} by {shortened(self.arn)}" if self.arn else self.operation
        return f"{asked}: {self.words}"


def worst_reason(faults: list[KmsFault]) -> str | None:
    """The one reason to report for several faults; ``None`` if none of them is an outage."""
    reasons = {fault.reason for fault in faults}
    return next((reason for reason in _URGENCY if reason in reasons), None)


class _Call(threading.local):
    faults: list[KmsFault] | None = None
    attempts: int = 0
    arn: str | None = None
    key_id: str | None = None
    error: Mapping[str, Any] | None = None


_call = _Call()


@contextmanager
def kms_calls() -> Iterator[list[KmsFault]]:
    """Collects this thread's KMS faults and keeps its request bodies out of the logs."""
    _install_filters()
    outer, faults = _call.faults, []  # type: tuple[list[KmsFault] | None, list[KmsFault]]
    _call.faults = faults
    try:
        yield faults
    finally:
        _call.faults = outer


def kms_attempts() -> int:
    """Requests that this thread has sent to KMS through watched clients, including retries."""
    return _call.attempts


def watch(client: Any, timeout: float) -> Any:
    """Hook the noting of faults into a boto3 client of KMS, or of DynamoDB for a key store there.

    Doing it twice is harmless.

    :param timeout: seconds for each of its requests as a whole.
    """
    limit(client, timeout)
    events, service = client.meta.events, client.meta.service_model.service_id.hyphenize()
    events.register(f"before-call.{service}", _forget_error, unique_id="encfields-first-attempt")
    events.register("provide-client-params.kms", _note_key, unique_id="encfields-key")
    events.register("before-send.kms", _note_attempt, unique_id="encfields-attempt")
    events.register(f"needs-retry.{service}", _note_error, unique_id="encfields-error")
    events.register(f"after-call.{service}", _note_answer, unique_id="encfields-answer")
    events.register(f"after-call-error.{service}", _note_silence, unique_id="encfields-silence")
    return client


def _note_key(params: Any = None, **_: Any) -> None:
    asked = params if isinstance(params, dict) else {}
    arn = asked.get("KeyId")
    _call.arn = arn if isinstance(arn, str) else None
    _call.key_id = key_id_in(asked.get("EncryptionContext") or {})


def _note_attempt(event_name: str = "", **_: Any) -> None:
    _call.attempts += 1
    announce(event_name.rpartition(".")[2], _call.arn, _call.key_id)


def _forget_error(**_: Any) -> None:
    _call.error = None


def _note_error(response: Any = None, **_: Any) -> None:
    """Called after each attempt: keeps what the service answered, should time end the next one."""
    http_response, parsed = response or (None, None)
    error = parsed.get("Error") if isinstance(parsed, dict) else None
    if error and not _is_cut_short(http_response):
        _call.error = error


class _CutShort(Exception):
    """A truncated answer."""


def _note_answer(
    parsed: Any = None, model: Any = None, http_response: Any = None, **_: Any
) -> None:
    # The client library parses what there is, and an answer of nothing reads as "no such item".
    silence = exceeded() or (_CutShort() if _is_cut_short(http_response) else None)
    if silence is not None:
        _raise_silence(silence, getattr(model, "name", "?"))
    error = parsed.get("Error") if isinstance(parsed, dict) else None
    if error and _call.faults is not None:
        code, detail = str(error.get("Code", "")), str(error.get("Message", ""))
        _add(KmsFault(getattr(model, "name", "?"), code, detail, _take_arn()))
    elif not error and (arn := _take_arn()):
        kms_health.answered(arn)


def _take_arn() -> str | None:
    """The KMS key of the request that has just ended."""
    arn, _call.arn = _call.arn, None
    return arn


def _add(fault: KmsFault) -> None:
    """Record a fault of the current call."""
    if _call.faults is not None:
        _call.faults.append(fault)
    if fault.arn and fault.reason:
        kms_health.failed(fault.arn, fault.reason, f"{fault.operation}: {fault.words}")


def _note_silence(exception: Any = None, event_name: str = "", **_: Any) -> None:
    """Raise a service error, which the library can handle, in place of a connection error."""
    from botocore.exceptions import ClientError

    late = exceeded()
    if late is not None or (_call.faults is not None and not isinstance(exception, ClientError)):
        _raise_silence(late or exception, event_name.rpartition(".")[2])


def _raise_silence(exception: Any, operation: str) -> NoReturn:
    from botocore.exceptions import ClientError, CredentialRetrievalError, NoCredentialsError

    no_credentials = isinstance(exception, (NoCredentialsError, CredentialRetrievalError))
    code = NO_CREDENTIALS_CODE if no_credentials else UNREACHABLE_CODE
    detail = _describe(exception)
    if isinstance(exception, DeadlineExceeded) and _call.error is not None:
        # Time was up while it was repeated, so the service is within reach, and said why not.
        code, detail = (str(_call.error.get(name, "")) for name in ("Code", "Message"))
    _add(KmsFault(operation, code, detail, _take_arn()))
    error = {"Error": {"Code": code, "Message": detail}}
    raise ClientError(error, operation) from None


def _is_cut_short(http_response: Any) -> bool:
    declared = getattr(http_response, "headers", {}).get("content-length", "")
    return str(declared).isdigit() and len(http_response.content) < int(declared)


def _describe(exception: Any) -> str:
    """The class, and the endpoint where botocore names one; never a request's body."""
    if isinstance(exception, DeadlineExceeded):
        return str(exception)
    if isinstance(exception, _CutShort):
        return "the connection ended within an answer"
    endpoint = getattr(exception, "kwargs", {}).get("endpoint_url")
    return f"{type(exception).__name__}{f' at {endpoint}' if endpoint else ''}"


class _QuietFilter(logging.Filter):
    """Drops log records that would print a key, only during our own calls.

    botocore logs request and response bodies at DEBUG, and KMS's hold plaintext data keys.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return _call.faults is None


_QUIET = _QuietFilter()
_QUIET_LOGGERS = ("botocore.endpoint", "botocore.parsers")


def _install_filters() -> None:
    for name in _QUIET_LOGGERS:
        # addFilter() adds an object once however often it is called.
        logging.getLogger(name).addFilter(_QUIET)


log = logging.getLogger("encfields.keys")

MAX_WATCHED_KEYS = 100
"""Most failing KMS keys to remember: a discovery keyring takes ARNs from stored keys, which anybody
may have written."""


class KmsHealth:
    """KMS keys that failed in their last request in this process."""

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        """Forget all failures."""
        self._lock = threading.Lock()
        self._failing: dict[str, list[str]] = {}

    def failed(self, arn: str, reason: str, what: str) -> None:
        """Record a failed request to a key.

        :param reason: as in ``KeyUnavailableError``.
        :param what: the service's text; never a key.
        """
        with self._lock:
            is_full = len(self._failing) >= MAX_WATCHED_KEYS and arn not in self._failing
            # An overloaded KMS throttles at one time, and does not answer at another.
            if is_full or reason in self._failing.get(arn, ()):
                return
            self._failing.setdefault(arn, []).append(reason)
        log.warning("KMS key %s fails, which is logged once: %s", _printable(arn), what)

    def answered(self, arn: str) -> None:
        """Record a successful request to a key."""
        if arn not in self._failing:
            return
        with self._lock:
            reasons = self._failing.pop(arn, None)
        if reasons is not None:
            was = ", ".join(reasons)
            log.warning("KMS key %s answers again (it was: %s)", _printable(arn), was)


def _printable(arn: str) -> str:
    """An ARN escaped for the log."""
    return shortened(arn if arn.isprintable() else ascii(arn))


kms_health = KmsHealth()
"""This process's instance."""

in_forked_child(kms_health.start_afresh)
