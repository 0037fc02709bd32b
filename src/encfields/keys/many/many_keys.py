"""The administration of many keys at once, as ``encryption.keys.each(...)``."""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from encfields.errors import ConfigurationError, KeyExistsError
from encfields.expected_arguments import (
    ANY_TEXT,
    CALLABLE,
    FLAG,
    KEY_IDS,
    MOMENT,
    SPECS,
    TEXT,
    require,
    takes,
)
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.coroutine_twins import twin_for_coroutines
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.many.destruction import Destruction, KeepReceipt
from encfields.keys.many.report import KeysReport, OnKeys
from encfields.keys.many.worker_threads import Break, KeyWork, joined, threads_for, work_through
from encfields.keys.removal import CountableTables, CountValues
from encfields.keys.store import KeyStore
from encfields.keys.versions import KeyVersion, KeyVersionList, RewrapReport, check_key_id
from encfields.traces import leaves_no_trace


class ManyKeys:
    """Verbs on many keys; each has a twin with an ``a`` for coroutines.

    Keys are worked on eight at a time, each by itself: one that fails stops no other and is
    listed in the report with its reason. When KMS or the database is gone, the rest is left. A verb
    may be stopped at any moment, and continues when it is called again.

    :param store: where they are kept.
    :param cache: of this process.
    :param count: counts values before keys are destroyed.
    :param selection: which are meant.
    """

    def __init__(
        self, store: KeyStore, cache: KeyCache, count: CountValues | None, selection: Selection
    ) -> None:
        self._store = store
        self._cache = cache
        self._count = count
        self._selection = selection
        self._break = Break()

    def __repr__(self) -> str:
        named, like = self._selection.key_ids, self._selection.like
        which = f"like {like!r}" if like is not None else "all" if named is None else len(named)
        return f"<ManyKeys {which} of {self._store!r}>"

    def _break_off(self) -> None:
        self._break.call()

    @leaves_no_trace
    @takes(progress=CALLABLE.or_none)
    def create(self, *, progress: OnKeys | None = None) -> KeysReport:
        """Create the missing keys.

        :param progress: called after each key.
        :returns: the report.
        :raises ConfigurationError: they are not named by their ids.
        """
        return self._work(self._selection.require_named(), self._create_one, progress)

    acreate = twin_for_coroutines(create)

    def _create_one(self, key_id: str) -> bool:
        try:
            self._store.create(key_id)
        except KeyExistsError:
            return False
        self._cache.forget(key_id)
        return True

    @leaves_no_trace
    @takes(made_before=MOMENT.or_none, progress=CALLABLE.or_none)
    def rotate(
        self, *, made_before: dt.datetime | None = None, progress: OnKeys | None = None
    ) -> KeysReport:
        """Create a new version of each key. A key that somebody else rotates meanwhile is not
        rotated again.

        :param made_before: skip keys whose newest version was created at this time or later, by the
            key store's date. To continue an interrupted rotation, give the time at which it began.
        :param progress: called after each key.
        :raises ConfigurationError: the time has no time zone.
        """
        newest = {version.id: version for version in self._versions() if version.active}
        is_rotated = _is_made_since(made_before)

        def rotate_one(key_id: str) -> bool:
            known = newest.get(key_id)
            if known is None:
                self._store.rotate(key_id)  # it is missing or destroyed: the store says so
            elif is_rotated(known) or self._store.rotate_from(key_id, known.version) is None:
                return False
            self._cache.forget(key_id, active_only=True)
            return True

        return self._work(self._selection.ids_among(newest), rotate_one, progress)

    arotate = twin_for_coroutines(rotate)

    @leaves_no_trace
    @takes(progress=CALLABLE.or_none)
    def rewrap(self, keyring: Keyring, *, progress: OnKeys | None = None) -> KeysReport:
        """Move the keys to another keyring, without touching a value, until nobody has made a
        version under the old one meanwhile. See :meth:`SqlKeyStore.rewrap
        <encfields.keys.sql.store.SqlKeyStore.rewrap>`.

        :param keyring: wraps from now on.
        :param progress: called after each key.
        :raises ConfigurationError: the key store cannot rewrap, or the keyring only opens.
        """
        move, moved = self._store.mover_to(keyring), dict[str, RewrapReport]()

        def move_one(key_id: str) -> bool:
            before, report = moved.get(key_id, RewrapReport()), move(key_id)
            # What an earlier look at the key has moved is there already at the next one.
            moved[key_id] = RewrapReport(
                before.moved + report.moved, report.already - before.moved, report.destroyed
            )
            return moved[key_id].moved > 0

        seen = self._names()
        report = self._work(self._selection.ids_among(_ids(seen)), move_one, progress)
        while not report.left and (new := self._names() - seen):
            seen |= new
            report = joined(report, self._work(sorted(_ids(new)), move_one, progress))
        return replace(report, rewrapped=sum(moved.values(), RewrapReport()))

    arewrap = twin_for_coroutines(rewrap)

    @leaves_no_trace
    @takes(
        specs=SPECS.or_none,
        signed_off_by=ANY_TEXT.or_none,
        at_once=FLAG,
        keep=CALLABLE.or_none,
        progress=CALLABLE.or_none,
    )
    def destroy(
        self,
        *,
        confirm: int | None = None,
        specs: CountableTables | None,
        signed_off_by: str | None = None,
        at_once: bool = False,
        keep: KeepReceipt | None = None,
        progress: OnKeys | None = None,
    ) -> KeysReport:
        """Destroy the keys for good: crypto-shredding of everything under them. What
        :meth:`KeyAdmin.destroy <encfields.keys.admin.KeyAdmin.destroy>` does to one, with one
        wait and one look at the tables for all.

        :param confirm: the number of keys to destroy, with or without those that were destroyed
            before. Otherwise nothing is done, and the error says how many keys there are and how
            many values would become unreadable.
        :param specs: the tables to count first; ``None`` destroys without counting.
        :param signed_off_by: who is responsible; recorded in the receipts.
        :param at_once: do not wait for other processes to stop sealing.
        :param keep: takes each receipt as soon as its key is wiped, one after the other, on the
            threads that wipe: whatever comes after, what was destroyed is on record.
        :param progress: called after each key that is wiped.
        :raises ConfigurationError: not confirmed (``reason`` is ``"not-confirmed"``).
        """
        versions = self._versions()
        holding = {version.id for version in versions if not version.wiped}
        gone = {version.id for version in versions} - holding
        ids = self._selection.ids_among(holding | gone)
        destruction = Destruction(
            self._store, self._cache, self._count, specs, signed_off_by, keep, self._work
        )
        in_force = [key_id for key_id in ids if key_id in holding]
        destruction.require_confirmed(in_force, len(gone.intersection(ids)), confirm)
        meant = [key_id for key_id in ids if key_id not in gone]
        report = destruction.of(meant, at_once=at_once, progress=progress)
        return replace(report, already=tuple(sorted({*report.already, *gone.intersection(ids)})))

    adestroy = twin_for_coroutines(destroy)

    def _names(self) -> set[tuple[str, str]]:
        return {(version.id, version.version) for version in self._versions()}

    def _versions(self) -> KeyVersionList:
        return self._selection.versions(self._store)

    def _work(self, key_ids: Iterable[str], work: KeyWork, progress: OnKeys | None) -> KeysReport:
        threads = threads_for(self._store)
        checked = work if self._selection.key_ids is None else _with_id_checked(work)
        return work_through(
            key_ids, checked, threads=threads, progress=progress, break_=self._break
        )

    # Last, because the name hides the type from what follows.
    def list(self) -> KeyVersionList:
        """Every version of these keys, ordered by id and age; never any key material."""
        return self._versions()

    alist = twin_for_coroutines(list)


def _with_id_checked(work: KeyWork) -> KeyWork:
    def on_an_id(key_id: str) -> bool:
        check_key_id(key_id)
        return work(key_id)

    return on_an_id


def _ids(names: Iterable[tuple[str, str]]) -> set[str]:
    return {key_id for key_id, _ in names}


def _is_made_since(made_before: dt.datetime | None) -> Callable[[KeyVersion], bool]:
    """Whether a version was made at this time or later: not one that is dated in the future."""
    if made_before is None:
        return lambda version: False
    if made_before.tzinfo is None:
        raise ConfigurationError(
            "made_before= needs a time zone, such as datetime.UTC", reason="no-time-zone"
        )
    since, now = made_before, dt.datetime.now(dt.UTC)
    return lambda version: since <= version.created_at <= max(now, dt.datetime.now(dt.UTC))


class Selection:
    """Some keys of a key store.

    :param key_ids: their ids; ``None`` for all.
    :param like: a pattern: ``*`` is any text, ``?`` any one character, and anything else is literal
        and case-sensitive.
    :raises ConfigurationError: both are given, or an empty one.
    """

    def __init__(self, key_ids: Iterable[str] | None, like: str | None) -> None:
        if key_ids is not None and like is not None:
            raise ConfigurationError(
                "keys are named by their ids or by a pattern, not by both", reason="selection"
            )
        if isinstance(key_ids, str):
            raise ConfigurationError(
                "key_ids is a list of ids, and one text was given", reason="selection"
            )
        listed = None if key_ids is None else [*_several(key_ids)]
        require("key_ids", KEY_IDS.or_none, listed)
        require("like", TEXT.or_none, like)
        self.key_ids = None if listed is None else tuple(dict.fromkeys(listed))
        self.like = like
        self._matches = None if like is None else _pattern(like).fullmatch

    def require_named(self) -> tuple[str, ...]:
        """The ids, for keys that need not be there.

        :raises ConfigurationError: they are not named.
        """
        if self.key_ids is None:
            raise ConfigurationError(
                "name the keys to create: a pattern finds only those that are there",
                reason="selection",
            )
        return self.key_ids

    def versions(self, store: KeyStore) -> list[KeyVersion]:
        """All versions of the keys that are meant, in one query where that is possible."""
        named = self.key_ids
        # An invalid id may not even be valid text for the database, and would fail the query.
        all_versions = store.versions_of(None if named is None else list(filter(_is_id, named)))
        if self._matches is None:
            return all_versions
        return [version for version in all_versions if self._matches(version.id)]

    def ids_among(self, present: Collection[str]) -> list[str]:
        """The ids that are named, there or not; else those that were found."""
        return sorted(present) if self.key_ids is None else list(self.key_ids)


def _several(key_ids: Any) -> Iterable[Any]:
    return key_ids if isinstance(key_ids, Iterable) else (key_ids,)


def _is_id(text: str) -> bool:
    try:
        check_key_id(text)
    except ConfigurationError:
        return False
    return True


def _pattern(like: str) -> re.Pattern[str]:
    # Python's own translation backtracks nowhere, however many stars meet a long id.
    return re.compile(fnmatch.translate(like.replace("[", "[[]")))
