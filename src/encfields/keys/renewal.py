"""Renewal of cached keys before they expire: one thread for all caches of a process.

The thread is made when a cache that renews keeps its first key, never at import; it ends when
no such cache is left. A forked child has no such thread and starts its own when it needs one.
"""

from __future__ import annotations

import threading
import weakref
from time import monotonic
from typing import Protocol

from encfields.keys.forking import in_forked_child

MAX_SLEEP = 60.0
"""Seconds after which the thread looks whether a cache is left, at the latest."""


class Renewable(Protocol):
    """A cache, as the thread sees it."""

    def renew_due(self) -> float:
        """Renew what is due; seconds until it should be asked again."""
        ...


class Renewer:
    """Calls ``renew_due()`` of every watched cache when it is time."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._wake = threading.Condition()
        self._caches: weakref.WeakSet[Renewable] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._woken = False

    def watch(self, cache: Renewable) -> None:
        """Renew the keys of `cache` from now on; doing it twice is harmless and cheap."""
        if cache in self._caches:
            return
        with self._wake:
            self._caches.add(cache)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="encfields-renewal", daemon=True
                )
                self._thread.start()
            self._woken = True
            self._wake.notify()

    def forget(self, cache: Renewable) -> None:
        """Renew no key of `cache` any more."""
        with self._wake:
            self._caches.discard(cache)
            self._woken = True
            self._wake.notify()

    @property
    def is_running(self) -> bool:
        """Whether this process has the thread."""
        return self._thread is not None

    def _run(self) -> None:
        while True:
            pause = self._renew_all()
            with self._wake:
                if not self._caches:
                    self._thread = None
                    return
                if not self._woken:
                    self._wake.wait(pause)
                self._woken = False

    def _renew_all(self) -> float:
        # In a function of its own, because a cache held by a local name while the thread sleeps
        # would never be collected.
        with self._wake:
            caches = list(self._caches)
        return min([cache.renew_due() for cache in caches], default=MAX_SLEEP)


renewer = Renewer()
"""The one of this process."""

in_forked_child(renewer._start_afresh)


class RenewalPlan:
    """When keys of one cache are renewed.

    :param ttl: seconds for which a key is used.
    :param lead: seconds before its end at which it is renewed at the earliest; 0 for never.
    """

    __slots__ = ("lead", "pause", "tick", "ttl")

    def __init__(self, ttl: float, lead: float) -> None:
        self.ttl = ttl
        self.lead = lead
        # Not each key by itself: looking for what is due takes a millisecond for 10,000 keys.
        self.tick = min(1.0, max(0.01, lead / 20))
        self.pause = max(self.tick, lead / 10)

    def next_look(self, earliest: float | None) -> float:
        """Seconds to sleep when the earliest known key is due at `earliest`.

        A key that is kept meanwhile is due no sooner than `ttl` less `lead` from now, so that
        nobody has to wake the thread for it.
        """
        longest = min(MAX_SLEEP, max(self.tick, self.ttl - self.lead))
        if earliest is None:
            return longest
        return min(longest, max(self.tick, earliest - monotonic()))
