"""Confirms within seconds that a key may still seal.

A key is unwrapped only once per time to live, because that costs a KMS call. Whether it is still
active costs one short query for all keys in use, every few seconds: a caller that seals under a key
confirmed longer ago waits for the answer. So nothing is sealed under a key that another process
destroyed or rotated, long before the cached copies expire.

The answer is not proved. It can make a process forget a key or fetch it again, but never trust one.
While the store is unreachable, as while KMS is, a cached key seals until its time to live ends.
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
    """Checks whether cached keys are active, once for all waiting callers."""

    def __init__(
        self, store: KeyStore, entries: Entries, fetcher: Fetcher, times: KeyLifetimes
    ) -> None:
        self._store = store
        self._entries = entries
        self._fetcher = fetcher
        self._times = times
        self._under_way: Future[None] | None = None

    def confirm(self, key_id: str) -> None:
        """Confirm the cached active version, or forget it."""
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
        """Check a key, together with others in use."""
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
            # Fetching them will show the error.
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
                # Rotated if it has another version; otherwise destroyed.
                self._forget(key_id, active_only=key_id in newest)

    def _forget(self, key_id: str, *, active_only: bool) -> None:
        self._fetcher.forget(lambda key: belongs(key, key_id, active_only))
