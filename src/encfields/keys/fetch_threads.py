"""Threads that fetch keys for event loops: a few, and more while some are stuck.

A fetch whose KMS or database hangs keeps its thread until its time limit. So that no key waits
behind the outage of others, however many they are, a thread that has been at one fetch for
:data:`STUCK_SECONDS` does not count any more: what waits is given one beside it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, Thread, get_ident
from time import monotonic
from typing import Generic, TypeVar

from encfields.keys.forking import in_forked_child

T = TypeVar("T")

MAX_AT_WORK = 32
"""Fetches under way at once, but for those that are stuck; a thread outlives its fetch so that
its KMS client is used again."""

STUCK_SECONDS = 0.5
"""A fetch takes some 10 ms, and under much load ten times as long."""


class _Task(Generic[T]):
    """A call that is made once, by the thread that takes it first."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call: Callable[[], T] | None = call
        self._untaken = Lock()
        self.future: Future[T] = Future()

    def take(self) -> bool:
        return self._untaken.acquire(blocking=False)

    def run(self) -> None:
        """Make the call; for whoever took it."""
        call, self._call = self._call, None
        if call is None or not self.future.set_running_or_notify_cancel():
            return
        try:
            result = call()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class FetchThreads:
    """Runs calls on threads; see the module."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MAX_AT_WORK, thread_name_prefix="encfields-keys")
        self._at_work: dict[int, float] = {}

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have a call made; from an event loop's thread, also where all threads are stuck."""
        task = _Task(call)
        self._pool.submit(self._work, task)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return task.future
        loop.call_later(STUCK_SECONDS, self._look_after, loop, task)
        return task.future

    def _work(self, task: _Task[T]) -> None:
        if not task.take():
            return
        me = get_ident()
        self._at_work[me] = monotonic()
        try:
            task.run()
        finally:
            del self._at_work[me]

    def _look_after(self, loop: asyncio.AbstractEventLoop, task: _Task[T]) -> None:
        """Give a call that still waits a thread of its own, unless the others are just busy."""
        if task.future.running() or task.future.done():
            return
        stuck_since = monotonic() - STUCK_SECONDS
        busy = sum(began > stuck_since for began in list(self._at_work.values()))
        if busy < MAX_AT_WORK:
            Thread(target=self._work, args=(task,), name="encfields-keys-more", daemon=True).start()
        else:
            loop.call_later(STUCK_SECONDS, self._look_after, loop, task)


@functools.cache
def fetch_threads() -> FetchThreads:
    """The threads of this process, made when first needed."""
    return FetchThreads()


# A forked child inherits the object but none of its threads.
in_forked_child(fetch_threads.cache_clear)
