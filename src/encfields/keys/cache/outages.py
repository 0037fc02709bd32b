"""Tracks and logs outages of KMS or the key store."""

from __future__ import annotations

import logging
import math
from time import monotonic

from encfields.errors import KeyUnavailableError
from encfields.keys.cache.entries import CacheKey, Entry, named

log = logging.getLogger("encfields.keys")

RETRY_PAUSE = 1.0
"""Seconds after which a read in its grace period retries during an outage."""

OUTAGE_SECONDS = 30.0
"""Seconds during which one key's outage counts for other keys."""

GRACE_REASONS = frozenset({"unreachable", "throttled", "error"})
"""Reasons of outages. A denied or disabled key is deliberate and takes effect at once."""


class Outages:
    """Remembers when an outage was last seen."""

    def __init__(self) -> None:
        self._seen_at = -math.inf

    @property
    def is_known(self) -> bool:
        """Whether KMS or the key store is assumed to be unreachable."""
        return monotonic() - self._seen_at < OUTAGE_SECONDS

    def note_outage(self) -> None:
        """A fetch met an outage, or hangs."""
        self._seen_at = monotonic()

    def note_success(self) -> None:
        """A fetch succeeded."""
        self._seen_at = -math.inf


def is_outage(error: BaseException | None) -> bool:
    """Whether after this error an expired key may still be read, within its grace."""
    return isinstance(error, KeyUnavailableError) and error.reason in GRACE_REASONS


def log_expired_use(
    key: CacheKey, entry: Entry, seconds: float, error: KeyUnavailableError | None
) -> None:
    """Log that reads use an expired key.

    :param seconds: how long they may.
    """
    log.warning(
        "the %s is past its time to live and cannot be fetched: reads continue with it for "
        "%.0f s more, writes fail (%s)",
        named(key),
        max(0.0, seconds),
        error or entry.failure or "no answer yet",
    )


def log_recovered(key: CacheKey) -> None:
    """Log that a key was fetched after its expired copy was used."""
    log.warning("the %s was fetched again after an outage", named(key))
