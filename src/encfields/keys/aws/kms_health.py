"""Which KMS keys do not answer, said in the log once each: when it begins and when it is over.

That the key of another region opens what one does not is no error, and would go unnoticed.
"""

from __future__ import annotations

import logging
import threading

from encfields.errors import shortened
from encfields.keys.forking import in_forked_child

log = logging.getLogger("encfields.keys")

MAX_KEYS = 100
"""Failing KMS keys that are remembered and logged: a discovery keyring takes their ARNs from
stored keys, which anybody may have written."""


class KmsHealth:
    """KMS keys of this process that failed when they were last asked."""

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        """Know of no failure."""
        self._lock = threading.Lock()
        self._failing: dict[str, str] = {}

    def failed(self, arn: str, reason: str, what: str) -> None:
        """A key did not do what it was asked for.

        :param reason: as of a ``KeyUnavailableError``.
        :param what: the service's words for it; never a key.
        """
        with self._lock:
            is_full = len(self._failing) >= MAX_KEYS and arn not in self._failing
            if is_full or self._failing.get(arn) == reason:
                return
            self._failing[arn] = reason
        log.warning("KMS key %s fails, which is logged once: %s", _printable(arn), what)

    def answered(self, arn: str) -> None:
        """A key did what it was asked for."""
        if arn not in self._failing:
            return
        with self._lock:
            reason = self._failing.pop(arn, None)
        if reason is not None:
            log.warning("KMS key %s answers again (it was: %s)", _printable(arn), reason)


def _printable(arn: str) -> str:
    """An ARN that begins no line of its own in a log."""
    return shortened(arn if arn.isprintable() else ascii(arn))


kms_health = KmsHealth()
"""The one of this process."""

in_forked_child(kms_health.start_afresh)
