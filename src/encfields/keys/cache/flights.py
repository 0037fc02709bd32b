"""Single flight: a fetch under way is a future that all who ask for the same key wait for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from encfields.errors import EncFieldsError, KeyUnavailableError
from encfields.keys.cache.cache_keys import CacheKey
from encfields.keys.cache.entries import drop
from encfields.keys.fetching.runner import Runner

Flight = Future[Any]


class Flights:
    """Fetches under way, one for each key. Call its methods under the cache's lock."""

    def __init__(self) -> None:
        self._under_way: dict[CacheKey, Flight] = {}

    def join(self, key: CacheKey) -> tuple[Flight, bool]:
        """The fetch of a key, and whether it is a new one that the caller has to make."""
        flight = self._under_way.get(key)
        if flight is not None:
            return flight, False
        flight = self._under_way[key] = new_flight()
        return flight, True

    def end(self, key: CacheKey, flight: Flight) -> bool:
        """Have a fetch come to its end.

        :returns: whether it counts: if its key was forgotten since it began, what it brings may be
            out of date.
        """
        if self._under_way.get(key) is not flight:
            return False
        del self._under_way[key]
        return True

    def forget(self, is_meant: Callable[[CacheKey], bool]) -> None:
        """Let fetches under way be answered but not kept."""
        drop(self._under_way, is_meant)


def new_flight() -> Flight:
    """A future that waiters cannot cancel: one's cancellation must not take the key away from
    the others."""
    flight: Flight = Future()
    flight.set_running_or_notify_cancel()
    return flight


def wait_for(flight: Flight, runner: Runner) -> Any:
    """What a fetch brings, or its error."""
    try:
        return runner.wait(flight)
    except EncFieldsError as error:
        failure = copy.copy(error)
    # A copy, because several threads raise it and each adds its own traceback.
    raise failure


def broken_off(error: BaseException) -> KeyUnavailableError:
    """What those who wait for an interrupted fetch are given."""
    return KeyUnavailableError(
        f"the fetch of the key was interrupted ({type(error).__name__}); retry", reason="error"
    )
