"""How a key cache fetches: once for all who ask, and with an expired key in an outage."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Any

from encfields.errors import (
    EncFieldsError,
    KeyDestroyedError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.keys.beacon_key import BeaconKey, beacons_of
from encfields.keys.cache_stats import Fetch, FetchMeter
from encfields.keys.cache_table import CacheTable
from encfields.keys.key_table import MAX_KEY_ID_CHARS
from encfields.keys.parallel import work_off
from encfields.keys.runner import Runner, ThreadRunner
from encfields.keys.slots import Jobs, Slot, key_id_of, what_of

_log = logging.getLogger(__name__)

RETRY_PAUSE = 1.0
"""Seconds for which an outage is believed before a read in its grace period asks again."""

PAUSE_FACTOR = 9
"""Of a failed fetch's own time, for which is paused at the least: a reader that has to make the
attempts itself is held up for a tenth of the time."""

GRACE_REASONS = frozenset({"unreachable", "throttled", "error"})
"""Outages. A denied or disabled key is somebody's decision and takes effect at once."""


class FetchingCache(CacheTable):
    """Fetches keys; a fetch under way is a future that everyone who asks waits for."""

    @property
    def runner(self) -> Runner:
        """How fetches run and how callers wait for them."""
        if self._runner is None:
            # Asked late, because a store learns what engine it serves when it is bound.
            self._runner = getattr(self.store, "runner", None) or ThreadRunner()
        return self._runner

    @property
    def _fetches_beside(self) -> bool:
        """Whether a thread of ours may fetch while readers go on."""
        return bool(getattr(self.store, "may_fetch_in_background", True))

    def _fetch_of(self, slot: Slot) -> Callable[[], Any]:
        """How one key is asked for."""
        if isinstance(slot, str):
            return lambda: self.store.active(slot)
        key_id, version = slot
        if version is None:
            return lambda: self._store_beacons(key_id)
        return lambda: self.store.version(key_id, version)

    def _store_beacons(self, key_id: str) -> tuple[BeaconKey, ...]:
        return tuple(beacons_of(self.store, key_id))

    def _fetch(self, slot: Slot, fetch: Callable[[], Any]) -> Any:
        """Fetch, or wait for whoever is fetching the same."""
        if len(key_id_of(slot)) > MAX_KEY_ID_CHARS:
            raise _no_key_id(key_id_of(slot))
        with self._lock:
            entry = self._entries.get(slot)
            if entry is not None and monotonic() < entry.expires:
                return entry.value
            failure = self._known_missing(slot)
            if failure is None:
                flight, leads = self._claim(slot)
        if failure is not None:
            raise failure
        if leads:
            self._launch(slot, flight, fetch)
        return self._wait(flight)

    def _fetch_many(self, jobs: Jobs, asked: float) -> None:
        """Have many keys at hand; the first failure is raised when all are settled.

        :param asked: when the key store was asked for them.
        """
        flights, led = [], []
        for slot, fetch in jobs:
            with self._lock:
                entry = self._entries.get(slot)
                if entry is not None and monotonic() < entry.expires:
                    continue
                flight, leads = self._claim(slot)
            flights.append(flight)
            if leads:
                led.append((slot, flight, fetch))
        if len(led) == 1:
            self._launch(*led[0], asked=asked)
        elif led:
            work_off([partial(self._fly, *one, asked=asked) for one in led], self.runner.start)
        failures = []
        for flight in flights:
            try:
                self._wait(flight)
            except EncFieldsError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _claim(self, slot: Slot) -> tuple[Future[Any], bool]:
        """The fetch of a slot that is under way, or a new one to be led by the caller."""
        self.stats.of(key_id_of(slot)).misses += 1
        return self._flight_of(slot)

    def _flight_of(self, slot: Slot) -> tuple[Future[Any], bool]:
        """:meth:`_claim` for a caller that does not wait."""
        flight = self._flights.get(slot)
        if flight is not None:
            return flight, False
        flight = self._flights[slot] = Future()
        # A future that runs cannot be cancelled: one waiter's cancellation must not take the
        # key away from the others.
        flight.set_running_or_notify_cancel()
        return flight, True

    def _wait(self, flight: Future[Any]) -> Any:
        try:
            return self.runner.wait(flight)
        except EncFieldsError as error:
            failure = copy.copy(error)
        # A copy, because several threads raise it and each adds its own traceback.
        raise failure

    def _launch(
        self,
        slot: Slot,
        flight: Future[Any],
        fetch: Callable[[], Any],
        *,
        asked: float | None = None,
    ) -> None:
        fly = partial(self._fly, slot, flight, fetch, asked=asked)
        self._launch_by(self.runner.start, slot, flight, fly)

    def _launch_by(
        self,
        start: Callable[[Callable[[], None]], None],
        slot: Slot,
        flight: Future[Any],
        fly: Callable[[], None],
    ) -> None:
        """Start what settles `flight`, and settle it if it cannot be started."""
        try:
            start(fly)
        except BaseException as error:
            if not flight.done():
                with self._lock:
                    if self._flights.get(slot) is flight:
                        del self._flights[slot]
                flight.set_exception(_broken_off(error))
            raise

    def _fly(
        self,
        slot: Slot,
        flight: Future[Any],
        fetch: Callable[[], Any],
        *,
        renewal: bool = False,
        asked: float | None = None,
    ) -> None:
        """Fetch and settle `flight`, whatever happens.

        :param asked: when the key store was asked for what is now only unwrapped.
        """
        when = monotonic() if asked is None else asked
        try:
            self._fetch_and_settle(slot, flight, fetch, when, renewal=renewal)
        finally:
            if not flight.done():  # interrupted between the fetch and its being told
                self._drop(lambda held: held == slot)
                flight.set_exception(_broken_off(KeyboardInterrupt()))

    def _fetch_and_settle(
        self,
        slot: Slot,
        flight: Future[Any],
        fetch: Callable[[], Any],
        asked: float,
        *,
        renewal: bool,
    ) -> None:
        meter = FetchMeter(key_id_of(slot), what_of(slot), renewal=renewal)
        try:
            value = fetch()
        except Exception as error:
            self._land(slot, flight, meter.stop(error), asked, error=error)
            flight.set_exception(error)
        except BaseException as error:
            # An interrupt is for this caller alone; the others only learn that it is over.
            self._land(slot, flight, meter.stop(error), asked, error=error)
            flight.set_exception(_broken_off(error))
            raise
        else:
            self._land(slot, flight, meter.stop(), asked, value)
            flight.set_result(value)

    def _land(
        self,
        slot: Slot,
        flight: Future[Any],
        fetch: Fetch,
        asked: float,
        value: Any = None,
        *,
        error: BaseException | None = None,
    ) -> None:
        recovered: list[Slot] = []
        with self._lock:
            self.stats.add(fetch)
            # Otherwise forgotten or cleared meanwhile: what it brings may be out of date.
            if self._flights.get(slot) is flight:
                del self._flights[slot]
                if value is not None:
                    self._outage_seen = -math.inf
                    recovered = self._keep(slot, value, asked)
                elif isinstance(error, (KeyNotFoundError, KeyDestroyedError)):
                    self._note_missing(slot, error)
                else:
                    self._note_failed(slot, fetch, error)
        # Without the lock: a handler of the log may well need a key.
        for one in recovered:
            self._note_recovered(one)
        for observer in self.observers:
            try:
                observer(fetch)
            except Exception as failure:
                _log.warning("an observer of key fetches raised %s", type(failure).__name__)

    def _note_failed(self, slot: Slot, fetch: Fetch, error: BaseException | None) -> None:
        """Remember an outage; have a decision end the use of a key that is past its time."""
        entry, now = self._entries.get(slot), monotonic()
        is_outage = isinstance(error, KeyUnavailableError) and error.reason in GRACE_REASONS
        if is_outage:
            self._outage_seen = now
        if entry is None:
            return
        if is_outage or not isinstance(error, Exception):
            pause = 0.0 if self._fetches_beside else PAUSE_FACTOR * fetch.seconds
            entry.retry_at = now + max(RETRY_PAUSE, pause)
            entry.failure = str(error) if is_outage else None
        elif now >= entry.expires:
            del self._entries[slot]

    def _note_recovered(self, slot: Slot) -> None:
        """A key whose expired copy had to stand in was fetched again."""


def _no_key_id(key_id: str) -> KeyNotFoundError:
    """The error for an id that no store holds; it is neither asked for nor remembered."""
    return KeyNotFoundError(
        f"there is no key of this id: it has {len(key_id)} characters, of which "
        f"{MAX_KEY_ID_CHARS} are allowed",
        key_id=key_id,
        reason="key-id",
    )


def _broken_off(error: BaseException) -> KeyUnavailableError:
    return KeyUnavailableError(
        f"the fetch of the key was broken off ({type(error).__name__}); retry", reason="error"
    )
