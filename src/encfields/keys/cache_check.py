"""How a process learns within seconds that a key must not seal any more.

A key is unwrapped once in its time to live, because that costs a call to KMS. Whether it is still
in force costs one short query for all keys in use, and is asked every few seconds: whoever seals
under a key that was last confirmed longer ago waits for the answer. So values stop coming under a
key that another process destroyed or rotated, long before the copies in memory expire.

The answer is the key store's word without proof. It makes a process forget a key, or fetch it
anew, and never makes it believe one. While the store is out of reach, a key at hand keeps sealing
until its time to live is over, as it does while KMS is.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Any

from encfields.errors import EncFieldsError, KeyUnavailableError
from encfields.keys.cache_fetch import RETRY_PAUSE
from encfields.keys.cache_renewal import RenewingCache
from encfields.keys.store import ConfirmingKeyStore


class ConfirmingCache(RenewingCache):
    """Asks whether keys at hand are in force, once for all who wait."""

    def _confirm(self, key_id: str) -> None:
        """Have the active version at hand confirmed, or forgotten."""
        while self._is_due(key_id):
            with self._lock:
                flight, leads = self._confirming, False
                if flight is None:
                    flight, leads = Future[Any](), True
                    flight.set_running_or_notify_cancel()
                    self._confirming = flight
            if leads:
                self.runner.start(partial(self._ask_and_settle, key_id, flight))
            self.runner.wait(flight)
            if leads:
                return

    def _is_due(self, key_id: str) -> bool:
        entry = self._entries.get(key_id)
        return entry is not None and entry.confirmed <= monotonic() < entry.expires

    def _ask_and_settle(self, key_id: str, flight: Future[Any]) -> None:
        """Ask for a key, and for others in use along with it."""
        try:
            self._ask(self._to_be_confirmed(key_id))
        finally:
            with self._lock:
                if self._confirming is flight:
                    self._confirming = None
            flight.set_result(None)

    def _to_be_confirmed(self, key_id: str) -> list[str]:
        found, now = [key_id], monotonic()
        limit = getattr(self.store, "confirms_at_once", 1)
        with self._lock:
            for slot, entry in self._entries.items():
                if len(found) >= limit:
                    break
                in_use = isinstance(slot, str) and slot != key_id and entry.used > entry.asked
                if in_use and entry.confirmed - self.check / 2 <= now < entry.expires:
                    found.append(slot)  # type: ignore[arg-type]
        return found

    def _ask(self, key_ids: list[str]) -> None:
        asked, store = monotonic(), self.store
        if not isinstance(store, ConfirmingKeyStore):
            return
        try:
            newest = store.newest_versions(key_ids)
        except KeyUnavailableError:
            self._believe_for_now(key_ids)
        except EncFieldsError:
            # Fetching them will tell what is the matter.
            for key_id in key_ids:
                self.forget(key_id)
        else:
            self._take_note(key_ids, newest, asked)

    def _believe_for_now(self, key_ids: list[str]) -> None:
        now = monotonic()
        with self._lock:
            for key_id in key_ids:
                if (entry := self._entries.get(key_id)) is not None:
                    entry.confirm(now, min(RETRY_PAUSE, self.check))

    def _take_note(self, key_ids: list[str], newest: Mapping[str, str], asked: float) -> None:
        for key_id in key_ids:
            entry = self._entries.get(key_id)
            if entry is None:
                continue
            if newest.get(key_id) == entry.value.version:
                entry.confirm(asked, self.check)
            else:
                # Rotated, if it has another one; otherwise it is gone with all its versions.
                self.forget(key_id, active_only=key_id in newest)
