"""Destroying many keys: refused one after the other, waited for and counted once, then wiped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from threading import Lock

from encfields.errors import ConfigurationError, KeyDestroyedError
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.many.report import KeysReport, OnKeys
from encfields.keys.many.worker_threads import KeyWork
from encfields.keys.removal import (
    CountableTables,
    CountValues,
    DestructionReceipt,
    ValuesUnder,
    loss,
    no_database,
    receipt_of,
)
from encfields.keys.store import KeyStore

KeepReceipt = Callable[[DestructionReceipt], None]


class Destruction:
    """What is the same for every key that is destroyed.

    :param count: counts values; ``None`` where no database is known.
    :param specs: the tables to count; ``None`` for no counting.
    :param signed_off_by: stands in the receipts.
    :param keep: takes each receipt as soon as its key is wiped.
    :param through: does something to each of some keys.
    """

    def __init__(
        self,
        store: KeyStore,
        cache: KeyCache,
        count: CountValues | None,
        specs: CountableTables | None,
        signed_off_by: str | None,
        keep: KeepReceipt | None,
        through: Callable[[Iterable[str], KeyWork, OnKeys | None], KeysReport],
    ) -> None:
        self._store = store
        self._cache = cache
        self._count = count
        self._specs = specs
        self._signed_off_by = signed_off_by
        self._keep = keep
        self._keeping = Lock()
        self._through = through
        self._receipts: dict[str, DestructionReceipt] = {}

    def require_confirmed(self, key_ids: Sequence[str], gone: int, confirm: int | None) -> None:
        """Refuse another number than there are keys.

        :param gone: how many more are named that were destroyed before. Whoever counts them too
            says the same again that was broken off.
        :raises ConfigurationError: says how many there are, and what would be lost.
        """
        if confirm not in (len(key_ids), len(key_ids) + gone) or isinstance(confirm, bool):
            raise self._not_confirmed(key_ids)

    def of(self, key_ids: Sequence[str], *, at_once: bool, progress: OnKeys | None) -> KeysReport:
        """Destroy them.

        :param at_once: refuse none, and wait for nobody.
        """
        if at_once:
            return self._wipe(key_ids, progress)
        ours: list[str] = []

        def refuse(key_id: str) -> bool:
            if not self._store.refuse(key_id):
                return False
            ours.append(key_id)
            return True

        try:
            refused = self._through(key_ids, refuse, None)
            # Some stores can refuse nothing, and a missing key has nothing to refuse.
            ready = [*refused.done, *refused.already]
            if refused.done:
                self._have_it_known(refused.done)
            report = self._wipe(ready, progress)
        finally:
            self._readmit(ours)
        return replace(
            report,
            failed=(*refused.failed, *report.failed),
            left=(*refused.left, *report.left),
        )

    def _have_it_known(self, key_ids: Sequence[str]) -> None:
        for key_id in key_ids:
            self._cache.forget(key_id)
        self._cache.runner.pause(self._cache.check)

    def _wipe(self, key_ids: Sequence[str], progress: OnKeys | None) -> KeysReport:
        tables, unreadable = self._counted(key_ids)

        def wipe(key_id: str) -> bool:
            try:
                wiped = self._store.destroy(key_id)
            except KeyDestroyedError:  # another process did meanwhile
                return False
            finally:
                self._cache.forget(key_id)
            receipt = receipt_of(
                self._store,
                self._cache,
                key_id,
                wiped,
                tables=tables,
                unreadable=unreadable.get(key_id, []),
                signed_off_by=self._signed_off_by,
            )
            with self._keeping:
                self._receipts[key_id] = receipt
                if self._keep is not None:
                    self._keep(receipt)
            return True

        report = self._through(key_ids, wipe, progress)
        return replace(report, receipts=tuple(self._receipts[key_id] for key_id in report.done))

    def _readmit(self, key_ids: Sequence[str]) -> None:
        """Take it back for those that were not wiped: work on them failed, or was broken off."""

        def readmit(key_id: str) -> bool:
            self._store.readmit(key_id)
            return True

        self._through([key_id for key_id in key_ids if key_id not in self._receipts], readmit, None)

    def _counted(self, key_ids: Sequence[str]) -> tuple[list[str] | None, Unreadable]:
        if self._specs is None:
            return None, {}
        if self._count is None:
            raise no_database()
        return self._count.under_each(self._specs, key_ids)

    def _not_confirmed(self, key_ids: Sequence[str]) -> ConfigurationError:
        tables, unreadable = self._counted(key_ids)
        lost = None if tables is None else _by_column(unreadable)
        keys = len(key_ids)
        return ConfigurationError(
            f"nothing was destroyed: there are {keys:,} keys to destroy, and {loss(lost)}. "
            f"Confirm with confirm={keys} (on the command line: --confirm {keys})",
            reason="not-confirmed",
        )


Unreadable = dict[str, list[ValuesUnder]]


def _by_column(unreadable: Unreadable) -> list[ValuesUnder]:
    """The values of all keys together, column by column."""
    totals: Counter[tuple[str, str]] = Counter()
    for columns in unreadable.values():
        for column in columns:
            totals[column.table, column.column] += column.values
    return [ValuesUnder(*place, values) for place, values in sorted(totals.items())]
