"""Doing one thing to many keys, a few at a time, each by itself.

A key that fails stops no other. What stops all is an interrupt, an error of nobody's planning,
and failures in a row that say nothing of the keys: KMS or the database is gone, and each further
attempt would only wait for its time limit. Work on a key that has begun is ended in any case.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from threading import Condition, Lock

from encfields.errors import ConfigurationError, EncFieldsError, KeyUnavailableError
from encfields.keys.fetching.threads import MAX_PARALLEL_UNWRAPS
from encfields.keys.many.report import KeyFailure, KeysProgress, KeysReport, OnKeys
from encfields.keys.store import KeyStore

GIVE_UP_AFTER = 25
"""Failures in a row, none of which is the key's own, after which the rest is left."""

_OF_THE_KEY = frozenset({"denied", "disabled", "key-id"})
"""Reasons that another key need not fail for: a policy may name keys."""

KeyWork = Callable[[str], bool]
"""Does it to one key; says whether there was anything to do."""


def threads_for(store: KeyStore) -> int:
    """How many threads may work on a store's keys: where its database has one connection, which
    is the caller's, only the caller."""
    return MAX_PARALLEL_UNWRAPS if store.may_fetch_in_background else 1


@dataclass(frozen=True, slots=True)
class _Outcome:
    key_id: str
    did: bool = False
    failure: KeyFailure | None = None
    says_nothing_of_the_key: bool = False
    ends_all: BaseException | None = None


class Break:
    """Breaks work off from another thread, as an interrupt does on its own."""

    def __init__(self) -> None:
        self._wanted = Lock()

    def call(self) -> None:
        """Have the work begin with no further key."""
        self._wanted.acquire(blocking=False)

    def answer(self) -> bool:
        """Whether it was called for; asked once, it is forgotten."""
        if not self._wanted.locked():
            return False
        with suppress(RuntimeError):  # another thread has answered
            self._wanted.release()
            return True
        return False


def work_through(
    key_ids: Iterable[str],
    work: KeyWork,
    *,
    threads: int,
    progress: OnKeys | None,
    break_: Break,
) -> KeysReport:
    """Do `work` to each key.

    :param threads: how many do so; 1 for the caller's own.
    :param progress: called before the first key and after each.
    :param break_: ends it as an interrupt would, with a ``CancelledError``.
    :raises BaseException: what `work` raised that is no error of this library's, what `progress`
        raised, or an interrupt.
    """
    run = _Run(deque(dict.fromkeys(key_ids)), work, break_)
    tally = _Tally(len(run.waiting), progress)
    tally.show_progress()
    outcomes = run.here() if threads == 1 else run.on_threads(threads)
    try:
        for outcome in outcomes:
            tally.add(outcome)
    except BaseException:
        run.stop()
        outcomes.close()
        tally.count_anew(run.ended)
        raise
    return tally.report(run.left)


class _Run:
    """Takes keys one after the other until it is stopped.

    :ivar ended: what became of each, in the order in which they ended.
    """

    def __init__(self, waiting: deque[str], work: KeyWork, break_: Break) -> None:
        self.waiting = waiting
        self.left: list[str] = []
        self._work = work
        self._break = break_
        self._in_a_row = 0
        self._counting = Lock()
        self._under_way = 0
        self._changed = Condition()
        self.ended: list[_Outcome] = []

    def stop(self) -> None:
        """Begin with no further key."""
        while True:
            try:
                self.left.append(self.waiting.popleft())
            except IndexError:
                return

    def here(self) -> Generator[_Outcome, None, None]:
        """The outcomes, on the caller's thread."""
        while (outcome := self._next()) is not None:
            yield outcome

    def on_threads(self, count: int) -> Generator[_Outcome, None, None]:
        """The outcomes, as they come; closing it waits for what has begun."""
        outcomes: SimpleQueue[_Outcome | None] = SimpleQueue()

        def take_and_work() -> None:
            try:
                while (outcome := self._next()) is not None:
                    outcomes.put(outcome)
            finally:
                outcomes.put(None)

        at_work = min(count, len(self.waiting))
        with ThreadPoolExecutor(count, thread_name_prefix="encfields-many") as pool:
            try:
                for _ in range(at_work):
                    pool.submit(take_and_work)
                while at_work:
                    outcome = outcomes.get()
                    if outcome is None:
                        at_work -= 1
                    else:
                        yield outcome
            finally:
                # Before the pool waits for its threads: Ctrl-C arrives here, where the caller's
                # own thread waits.
                self.stop()
                # The pool does not know a thread in whose start the interrupt came.
                with self._changed:
                    self._changed.wait_for(lambda: not self._under_way)

    def _next(self) -> _Outcome | None:
        if self._break.answer():
            return _Outcome("", ends_all=CancelledError())
        with self._changed:
            try:
                key_id = self.waiting.popleft()
            except IndexError:
                return None
            self._under_way += 1
        try:
            outcome = _outcome_of(self._work, key_id)
            self.ended.append(outcome)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()
        self._give_up_after(outcome)
        return outcome

    def _give_up_after(self, outcome: _Outcome) -> None:
        with self._counting:
            self._in_a_row = self._in_a_row + 1 if outcome.says_nothing_of_the_key else 0
            if self._in_a_row >= GIVE_UP_AFTER:
                self.stop()


def _outcome_of(work: KeyWork, key_id: str) -> _Outcome:
    try:
        return _Outcome(key_id, work(key_id))
    except EncFieldsError as error:
        general = isinstance(error, (KeyUnavailableError, ConfigurationError))
        return _Outcome(
            key_id,
            failure=KeyFailure.of(key_id, error),
            says_nothing_of_the_key=general and error.reason not in _OF_THE_KEY,
        )
    except BaseException as error:
        return _Outcome(key_id, ends_all=error)


@dataclass(slots=True)
class _Tally:
    """The outcomes so far, kept on the thread that called the verb."""

    total: int
    progress: OnKeys | None
    done: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    failed: list[KeyFailure] = field(default_factory=list)

    def add(self, outcome: _Outcome) -> None:
        """Count a key, and say how far it is.

        :raises BaseException: what ends all.
        """
        if outcome.ends_all is not None:
            raise outcome.ends_all
        self._count(outcome)
        self.show_progress()

    def count_anew(self, outcomes: Iterable[_Outcome]) -> None:
        """Say how far it came that was broken off, with the keys on which work was ended since."""
        self.done, self.already, self.failed = [], [], []
        for outcome in outcomes:
            if outcome.ends_all is None:
                self._count(outcome)
        with suppress(Exception, KeyboardInterrupt):  # it may be what has broken it off
            self.show_progress()

    def _count(self, outcome: _Outcome) -> None:
        if outcome.failure is not None:
            self.failed.append(outcome.failure)
        else:
            (self.done if outcome.did else self.already).append(outcome.key_id)

    def show_progress(self) -> None:
        """Say how far it is."""
        if self.progress is not None:
            counts = len(self.done), len(self.already), len(self.failed)
            self.progress(KeysProgress(self.total, *counts))

    def report(self, left: Iterable[str]) -> KeysReport:
        """All of it, in order of the ids."""
        return KeysReport(
            tuple(sorted(self.done)),
            tuple(sorted(self.already)),
            tuple(sorted(self.failed, key=lambda failure: failure.key_id)),
            tuple(sorted(left)),
        )


def joined(first: KeysReport, second: KeysReport) -> KeysReport:
    """Two reports as one. A key is counted by what became of it last."""
    again = {
        *second.done,
        *second.already,
        *second.left,
        *(failure.key_id for failure in second.failed),
    }
    return replace(
        second,
        done=tuple(
            sorted({*second.done, *(key_id for key_id in first.done if key_id not in again)})
        ),
        already=(*(key_id for key_id in first.already if key_id not in again), *second.already),
        failed=(
            *(failure for failure in first.failed if failure.key_id not in again),
            *second.failed,
        ),
        left=(*(key_id for key_id in first.left if key_id not in again), *second.left),
    )
