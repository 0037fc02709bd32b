"""Fetches keys for a cache, once for all callers.

A current fetch is a future (a flight) that all callers for the same key wait for.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any

from encfields.errors import (
    EncFieldsError,
    KeyDestroyedError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.keys.cache.entries import (
    CacheKey,
    Entries,
    Jobs,
    drop,
    fetch_from,
    key_id_of,
    what_of,
)
from encfields.keys.cache.outages import RETRY_PAUSE, Outages, is_outage, log_recovered
from encfields.keys.cache.stats import CacheStats, Fetch, FetchMeter, FetchObserver
from encfields.keys.fetching.runner import Runner
from encfields.keys.fetching.threads import work_off
from encfields.keys.store import KeyStore
from encfields.keys.versions import MAX_KEY_ID_CHARS

_log = logging.getLogger(__name__)

PAUSE_FACTOR = 9
"""Minimum pause after a failed fetch, as a multiple of its duration: a reader that must try by
itself is delayed at most a tenth of the time."""

Call = Callable[[], Any]


class Fetcher:
    """Fetches keys from a store into the cache.

    :ivar lock: guards the cache. No fetching, logging or observing under it.
    """

    def __init__(
        self,
        store: KeyStore,
        entries: Entries,
        outages: Outages,
        stats: CacheStats,
        runner: Runner | None,
        observers: list[FetchObserver],
    ) -> None:
        self.lock = Lock()
        self._store = store
        self._entries = entries
        self._flights = Flights()
        self._outages = outages
        self._stats = stats
        self._runner = runner
        self._observers = observers

    @property
    def runner(self) -> Runner:
        """How fetches run and how callers wait for them."""
        if self._runner is None:
            # Looked up late, since a store learns its engine when it is bound.
            self._runner = self._store.runner
        return self._runner

    def fetch(self, key: CacheKey) -> Any:
        """A cached or fetched key, or one that another caller is fetching.

        :raises KeyStoreError: it cannot be fetched, or was missing a moment ago.
        """
        if len(key_id_of(key)) > MAX_KEY_ID_CHARS:
            raise _no_key_id(key_id_of(key))
        with self.lock:
            value = self._entries.value(key)
            if value is not None:
                return value
            failure = self._entries.known_missing(key)
            if failure is None:
                flight, leads = self._join(key)
        if failure is not None:
            raise failure
        if leads:
            self._launch(key, flight)
        return wait_for(flight, self.runner)

    def refetch(self, key: CacheKey) -> Any:
        """Fetch a key again. The cached one stays if the store is unreachable."""
        with self.lock:
            flight, leads = self._join(key)
        if leads:
            self._launch(key, flight)
        return wait_for(flight, self.runner)

    def fetch_many(self, jobs: Jobs, asked: float) -> None:
        """Cache many keys; the first failure is raised when all are settled.

        :param asked: when the key store was asked for them.
        """
        flights, led = [], []
        for key, call in jobs:
            with self.lock:
                if self._entries.value(key) is not None:
                    continue
                flight, leads = self._join(key)
            flights.append(flight)
            if leads:
                led.append((key, flight, call))
        if len(led) == 1:
            self._launch(*led[0], asked=asked)
        elif led:
            work_off(
                [partial(self.fetch_into, *one, asked=asked) for one in led], self.runner.start
            )
        failures = []
        for flight in flights:
            try:
                wait_for(flight, self.runner)
            except EncFieldsError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def join(self, key: CacheKey) -> tuple[Flight, bool]:
        """The fetch of a key, and whether the caller must launch it; for callers that may not wait
        for it."""
        with self.lock:
            return self._flights.join(key)

    def _join(self, key: CacheKey) -> tuple[Flight, bool]:
        self._stats.of(key_id_of(key)).misses += 1
        return self._flights.join(key)

    def forget(self, is_meant: Callable[[CacheKey], bool]) -> None:
        """Forget some keys; current fetches of them are answered but not cached."""
        with self.lock:
            self._entries.forget(is_meant)
            self._flights.forget(is_meant)

    def _launch(
        self,
        key: CacheKey,
        flight: Flight,
        call: Call | None = None,
        *,
        asked: float | None = None,
    ) -> None:
        self.launch_on(
            self.runner.start, key, flight, partial(self.fetch_into, key, flight, call, asked=asked)
        )

    def launch_on(
        self,
        start: Callable[[Callable[[], None]], None],
        key: CacheKey,
        flight: Flight,
        fetch_into: Callable[[], None],
    ) -> None:
        """Start the job that settles `flight`; settle it with an error if it cannot start."""
        try:
            start(fetch_into)
        except BaseException as error:
            if not flight.done():
                with self.lock:
                    self._flights.end(key, flight)
                flight.set_exception(interrupted(error))
            raise

    def fetch_into(
        self,
        key: CacheKey,
        flight: Flight,
        call: Call | None = None,
        *,
        renewal: bool = False,
        asked: float | None = None,
    ) -> None:
        """Fetch and settle `flight`, whatever happens.

        :param call: fetches it, instead of the store.
        :param asked: when the key store was asked for what is now only unwrapped.
        """
        when = monotonic() if asked is None else asked
        try:
            self._fetch_and_settle(
                key, flight, call or partial(fetch_from, self._store, key), when, renewal
            )
        finally:
            if not flight.done():  # interrupted between fetching and settling
                self.forget(lambda held: held == key)
                flight.set_exception(interrupted(KeyboardInterrupt()))

    def _fetch_and_settle(
        self, key: CacheKey, flight: Flight, call: Call, asked: float, renewal: bool
    ) -> None:
        meter = FetchMeter(key_id_of(key), what_of(key), renewal=renewal)
        try:
            value = self._entries.own(key, call())
        except Exception as error:
            self._settle_failure(key, flight, meter.stop(error), error)
            flight.set_exception(error)
        except BaseException as error:
            # An interrupt is only for this caller; others get an error to retry.
            self._settle_failure(key, flight, meter.stop(error), error)
            flight.set_exception(interrupted(error))
            raise
        else:
            self._settle(key, flight, meter.stop(), value, asked)
            flight.set_result(value)

    def _settle(
        self, key: CacheKey, flight: Flight, fetch: Fetch, value: Any, asked: float
    ) -> None:
        recovered: list[CacheKey] = []
        with self.lock:
            self._stats.add(fetch)
            if self._flights.end(key, flight):
                self._outages.note_success()
                can_confirm = self._store.confirms_at_once > 0
                recovered = self._entries.keep(key, value, asked if can_confirm else None)
        # Without the lock: a log handler may need a key.
        for stood_in in recovered:
            log_recovered(stood_in)
        self._report_fetch(fetch)

    def _settle_failure(
        self, key: CacheKey, flight: Flight, fetch: Fetch, error: BaseException
    ) -> None:
        with self.lock:
            self._stats.add(fetch)
            if self._flights.end(key, flight):
                if isinstance(error, (KeyNotFoundError, KeyDestroyedError)):
                    self._entries.note_missing(key, error)
                else:
                    self._note_failed(key, fetch, error)
        self._report_fetch(fetch)

    def _note_failed(self, key: CacheKey, fetch: Fetch, error: BaseException) -> None:
        """Record an outage; a deliberate refusal ends the use of an expired key."""
        entry, now = self._entries.held.get(key), monotonic()
        if is_outage(error):
            self._outages.note_outage()
        if entry is None:
            return
        if is_outage(error) or not isinstance(error, Exception):
            pause = 0.0 if self._store.may_fetch_in_background else PAUSE_FACTOR * fetch.seconds
            entry.retry_at = now + max(RETRY_PAUSE, pause)
            entry.failure = str(error) if is_outage(error) else None
        elif now >= entry.expires:
            del self._entries.held[key]

    def _report_fetch(self, fetch: Fetch) -> None:
        for observer in self._observers:
            try:
                observer(fetch)
            except Exception as failure:
                _log.warning("an observer of key fetches raised %s", type(failure).__name__)


def _no_key_id(key_id: str) -> KeyNotFoundError:
    """The error for an id that no store can have; it is neither requested nor remembered."""
    return KeyNotFoundError(
        f"no key has this id: it has {len(key_id)} characters, and at most {MAX_KEY_ID_CHARS} "
        "are allowed",
        key_id=key_id,
        reason="key-id",
    )


Flight = Future[Any]


class Flights:
    """Current fetches, one per key. Call its methods under the cache's lock."""

    def __init__(self) -> None:
        self._under_way: dict[CacheKey, Flight] = {}

    def join(self, key: CacheKey) -> tuple[Flight, bool]:
        """The fetch of a key, and whether it is new, so that the caller must run it."""
        flight = self._under_way.get(key)
        if flight is not None:
            return flight, False
        flight = self._under_way[key] = new_flight()
        return flight, True

    def end(self, key: CacheKey, flight: Flight) -> bool:
        """End a fetch.

        :returns: whether its result is valid; not if its key was forgotten since it began.
        """
        if self._under_way.get(key) is not flight:
            return False
        del self._under_way[key]
        return True

    def forget(self, is_meant: Callable[[CacheKey], bool]) -> None:
        """Answer current fetches, but do not cache them."""
        drop(self._under_way, is_meant)


def new_flight() -> Flight:
    """A future that waiters cannot cancel, since others wait for it, too."""
    flight: Flight = Future()
    flight.set_running_or_notify_cancel()
    return flight


def wait_for(flight: Flight, runner: Runner) -> Any:
    """Wait for the result of a fetch, or raise its error."""
    try:
        return runner.wait(flight)
    except EncFieldsError as error:
        failure = copy.copy(error)
    # A copy, because each raising thread adds its traceback.
    raise failure


def interrupted(error: BaseException) -> KeyUnavailableError:
    """The error for those who wait for an interrupted fetch."""
    return KeyUnavailableError(
        f"the fetch of the key was interrupted ({type(error).__name__}); retry", reason="error"
    )
