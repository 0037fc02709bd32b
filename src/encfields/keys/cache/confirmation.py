"""How a process learns within seconds that a key must not seal any more.

A key is unwrapped once in its time to live, because that costs a call to KMS. Whether it is still
in force costs one short query for all keys in use, and is asked every few seconds: a caller that
seals under a key that was last confirmed longer ago waits for the answer. So nothing is sealed any
more under a key that another process destroyed or rotated, long before the copies in memory expire.

The answer is the key store's word without proof. It makes a process forget a key, or fetch it
again, and never makes it believe one. While the store is out of reach, a key at hand keeps sealing
until its time to live is over, as it does while KMS is.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from time import monotonic

from encfields.errors import EncFieldsError, KeyUnavailableError
from encfields.keys.cache.entries import Entries, KeyLifetimes, belongs
from encfields.keys.cache.fetcher import Fetcher, new_flight
from encfields.keys.cache.outages import RETRY_PAUSE
from encfields.keys.store import KeyStore


class Confirmation:
    """Asks whether keys at hand are in force, once for all who wait."""

    def __init__(
        self, store: KeyStore, entries: Entries, fetcher: Fetcher, times: KeyLifetimes
    ) -> None:
        self._store = store
        self._entries = entries
        self._fetcher = fetcher
        self._times = times
        self._under_way: Future[None] | None = None

    def confirm(self, key_id: str) -> None:
        """Have the active version at hand confirmed, or forgotten."""
        while self._is_due(key_id):
            with self._fetcher.lock:
                flight, leads = self._under_way, False
                if flight is None:
                    flight, leads = new_flight(), True
                    self._under_way = flight
            if leads:
                self._fetcher.runner.start(partial(self._ask_and_settle, key_id, flight))
            self._fetcher.runner.wait(flight)
            if leads:
                return

    def _is_due(self, key_id: str) -> bool:
        entry = self._entries.held.get(key_id)
        return entry is not None and entry.usable <= monotonic() < entry.expires

    def _ask_and_settle(self, key_id: str, flight: Future[None]) -> None:
        """Ask for a key, and for others in use along with it."""
        try:
            self._ask(self._to_be_confirmed(key_id))
        finally:
            with self._fetcher.lock:
                if self._under_way is flight:
                    self._under_way = None
            flight.set_result(None)

    def _to_be_confirmed(self, key_id: str) -> list[str]:
        key_ids, now = [key_id], monotonic()
        with self._fetcher.lock:
            for key, entry in self._entries.held.items():
                if len(key_ids) >= self._store.confirms_at_once:
                    break
                if not isinstance(key, str) or key == key_id or entry.used <= entry.asked:
                    continue
                if entry.usable - self._times.check / 2 <= now < entry.expires:
                    key_ids.append(key)
        return key_ids

    def _ask(self, key_ids: list[str]) -> None:
        asked = monotonic()
        try:
            newest = self._store.newest_versions(key_ids)
        except KeyUnavailableError:
            self._believe_for_now(key_ids)
        except EncFieldsError:
            # Fetching them will show what is wrong.
            for key_id in key_ids:
                self._forget(key_id, active_only=False)
        else:
            self._take_note(key_ids, newest, asked)

    def _believe_for_now(self, key_ids: list[str]) -> None:
        now = monotonic()
        with self._fetcher.lock:
            for key_id in key_ids:
                if (entry := self._entries.held.get(key_id)) is not None:
                    entry.confirm(now, min(RETRY_PAUSE, self._times.check))

    def _take_note(self, key_ids: list[str], newest: Mapping[str, str], asked: float) -> None:
        for key_id in key_ids:
            entry = self._entries.held.get(key_id)
            if entry is None:
                continue
            if newest.get(key_id) == entry.value.version:
                entry.confirm(asked, self._times.check)
            else:
                # Rotated, if it has another one; otherwise it is gone with all its versions.
                self._forget(key_id, active_only=key_id in newest)

    def _forget(self, key_id: str, *, active_only: bool) -> None:
        self._fetcher.forget(lambda key: belongs(key, key_id, active_only))
