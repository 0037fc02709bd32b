"""How a key cache renews keys in use before they expire."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from time import monotonic
from typing import Any

from encfields.errors import EncFieldsError
from encfields.keys.beacon_key import BeaconKey
from encfields.keys.bulk_store import BulkBeaconStore, BulkKeyStore
from encfields.keys.cache_grace import GraceCache
from encfields.keys.slots import Jobs, Slot, key_id_of


class RenewingCache(GraceCache):
    """Renews keys; called by the thread of :mod:`encfields.keys.renewal` alone."""

    def renew_due(self) -> float:
        """Renew what is due; for the thread of :mod:`encfields.keys.renewal` alone.

        :returns: seconds after which to call again.
        """
        if self._plan.lead:
            due = self._due()
            with self.runner.aside() if due else nullcontext():
                asked = monotonic()
                fetches = self._renewals(due)
                for slot in due:
                    found = fetches.get(slot)
                    self._renew(slot, found or self._fetch_of(slot), asked if found else None)
        with self._lock:
            times = [entry.renew_at for entry in self._entries.values() if entry.renew_at]
        return self._plan.next_look(min(times, default=None))

    def _due(self) -> list[Slot]:
        """Keys to renew, the active versions first: fetching one renews that version as well."""
        now = monotonic()
        due = []
        with self._lock:
            for slot, entry in self._entries.items():
                if not entry.renew_at or now < entry.renew_at:
                    continue
                if entry.used > entry.fetched and now < entry.expires:
                    due.append(slot)
                    entry.renew_at = now + self._plan.pause
                elif now >= entry.expires:
                    entry.renew_at = 0.0
                else:
                    entry.renew_at = now + self._plan.pause
        return sorted(due, key=lambda slot: not isinstance(slot, str))

    def _renewals(self, due: list[Slot]) -> dict[Slot, Callable[[], Any]]:
        """Wrapped keys of what is due, in one query where the store has one."""
        if len(due) < 2 or not isinstance(self.store, BulkKeyStore):
            return {}
        epoch = self._epoch
        indexed = frozenset(slot[0] for slot in due if isinstance(slot, tuple) and slot[1] is None)
        try:
            found = self.store.wrapped_many(frozenset(key_id_of(slot) for slot in due))
            beacons = self._beacon_jobs(indexed) if indexed else []
        except EncFieldsError:
            return {}
        if epoch != self._epoch:
            return {}
        fetches: dict[Slot, Callable[[], Any]] = dict(beacons)
        for one in found:
            if one.told.active:
                fetches[one.told.id] = one.unwrap
            fetches[(one.told.id, one.told.version)] = one.unwrap
        return fetches

    def _renew(self, slot: Slot, fetch: Callable[[], Any], asked: float | None) -> None:
        with self._lock:
            entry = self._entries.get(slot)
            renewed = entry is None or entry.renew_at > monotonic() + self._plan.pause
            if renewed or slot in self._flights:
                return
            flight: Future[Any] = Future()
            flight.set_running_or_notify_cancel()
            self._flights[slot] = flight
        self._fly(slot, flight, fetch, renewal=True, asked=asked)

    def _beacon_jobs(self, key_ids: frozenset[str]) -> Jobs:
        """How the beacon keys of some keys are had: from one query, where the store has one."""
        if not isinstance(self.store, BulkBeaconStore):
            return [((key_id, None), self._fetch_of((key_id, None))) for key_id in sorted(key_ids)]
        return [
            ((one.id, None), _as_tuple(one.unwrap)) for one in self.store.wrapped_beacons(key_ids)
        ]


def _as_tuple(unwrap: Callable[[], list[BeaconKey]]) -> Callable[[], tuple[BeaconKey, ...]]:
    return lambda: tuple(unwrap())
