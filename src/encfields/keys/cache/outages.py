"""What a key cache knows of an outage of KMS or the key store, and says of it in the log."""

from __future__ import annotations

import logging
import math
from time import monotonic

from encfields.errors import KeyUnavailableError
from encfields.keys.cache.entries import CacheKey, Entry, named

log = logging.getLogger("encfields.keys")

RETRY_PAUSE = 1.0
"""Seconds for which an outage is believed before a read in its grace period asks again."""

BELIEF = 30.0
"""Seconds for which one key's outage is believed to be that of others."""

GRACE_REASONS = frozenset({"unreachable", "throttled", "error"})
"""Outages. A denied or disabled key is somebody's decision and takes effect at once."""


class Outages:
    """When an outage was seen last."""

    def __init__(self) -> None:
        self._seen_at = -math.inf

    @property
    def is_known(self) -> bool:
        """Whether KMS or the key store is believed to be out of reach now."""
        return monotonic() - self._seen_at < BELIEF

    def seen(self) -> None:
        """A fetch met an outage, or does not come to its end."""
        self._seen_at = monotonic()

    def over(self) -> None:
        """A fetch brought a key."""
        self._seen_at = -math.inf


def is_outage(error: BaseException | None) -> bool:
    """Whether an error leaves a key past its time to live readable, within its grace."""
    return isinstance(error, KeyUnavailableError) and error.reason in GRACE_REASONS


def log_standing_in(
    key: CacheKey, entry: Entry, seconds: float, error: KeyUnavailableError | None
) -> None:
    """Say that an expired key is read with.

    :param seconds: for which it will be.
    """
    log.warning(
        "the %s is past its time to live and cannot be fetched: reads continue with it for "
        "%.0f s more, writes fail (%s)",
        named(key),
        max(0.0, seconds),
        error or entry.failure or "no answer yet",
    )


def log_recovered(key: CacheKey) -> None:
    """Say that a key whose expired copy stood in was fetched."""
    log.warning("the %s was fetched again after an outage", named(key))
