"""The threads on which keys are fetched and unwrapped, of three kinds.

* :func:`fetch_threads`, for event loops: a few, and more while some are stuck. A fetch whose KMS or
  database hangs keeps its thread until its time limit. So that no key waits for the outage of any
  number of others, a thread that has been busy with one fetch for :data:`STUCK_SECONDS` no longer
  counts: waiting fetches get another one.
* :func:`daemon_threads`, for fetches that nobody needs to wait for: they do not delay the end of
  the process.
* :func:`unwrap_threads`, for many unwraps at once; each thread has its own keyring and KMS clients.

Each is created on first use, and a forked child creates its own.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread, get_ident
from time import monotonic
from typing import Generic, TypeVar

from encfields.errors import KeyUnavailableError
from encfields.keys.forking import in_forked_child

T = TypeVar("T")

MAX_AT_WORK = 32
"""Most fetches at once, not counting stuck ones. A thread outlives its fetch so that its KMS client
is reused."""

STUCK_SECONDS = 0.5
"""A fetch takes some 10 ms, and ten times as long under heavy load."""


class _Task(Generic[T]):
    """A call that is executed once, by the thread that takes it first."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call: Callable[[], T] | None = call
        self._untaken = Lock()
        self.future: Future[T] = Future()

    def take(self) -> bool:
        return self._untaken.acquire(blocking=False)

    def run(self) -> None:
        """Execute the call, if no other thread took it."""
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
        """Execute a call on a thread; if called on an event loop's thread, even if all threads are
        stuck.

        :raises KeyUnavailableError: the interpreter is ending and starts no threads.
        """
        task = _Task(call)
        try:
            self._pool.submit(self._work, task)
        except RuntimeError:
            # The main thread has ended, and pools with it, but not a loop on another thread.
            self._start_own_thread_at_the_end(task)
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
        """Give a call that is still waiting its own thread, unless the others are merely busy."""
        if task.future.running() or task.future.done():
            return
        stuck_since = monotonic() - STUCK_SECONDS
        busy = sum(began > stuck_since for began in list(self._at_work.values()))
        if busy < MAX_AT_WORK:
            self._on_own_thread(task)
        else:
            loop.call_later(STUCK_SECONDS, self._look_after, loop, task)

    def _start_own_thread_at_the_end(self, task: _Task[T]) -> None:
        try:
            self._on_own_thread(task)
        except RuntimeError:
            raise KeyUnavailableError(
                "the interpreter is ending and starts no thread on which a key could be fetched "
                "beside an event loop: do this before the end, or with a synchronous engine",
                reason="error",
            ) from None

    def _on_own_thread(self, task: _Task[T]) -> None:
        Thread(target=self._work, args=(task,), name="encfields-keys-more", daemon=True).start()


@functools.cache
def fetch_threads() -> FetchThreads:
    """The threads of this process, made when first needed."""
    return FetchThreads()


MAX_THREADS = 4
"""Most fetches at once. Later ones wait, but their readers do not."""

IDLE_SECONDS = 30.0
"""Seconds by which a thread outlives its fetch, so that its KMS client is reused."""


class DaemonThreads:
    """Runs jobs on threads that start when they are needed, and end when they are not."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()
        self._count = 0
        self._unfinished = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job, which must not raise.

        :raises RuntimeError: the interpreter is ending and starts no threads.
        """
        with self._lock:
            if self._unfinished >= self._count and self._count < MAX_THREADS:
                Thread(target=self._work, name="encfields-grace", daemon=True).start()
                self._count += 1
            self._unfinished += 1
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                if self._may_end():
                    return
                continue
            try:
                job()
            finally:
                # Otherwise it would be kept, with the key that it fetched, until the next job.
                del job
                with self._lock:
                    self._unfinished -= 1

    def _may_end(self) -> bool:
        """Whether this thread is not needed; a job that was just submitted may wait for it."""
        with self._lock:
            if self._unfinished:
                return False
            self._count -= 1
            return True


@functools.cache
def daemon_threads() -> DaemonThreads:
    """The threads of this process, made when first needed."""
    return DaemonThreads()


MAX_PARALLEL_UNWRAPS = 8
"""Most unwraps of one process at once. KMS responds in some 10 ms and its client works for 1 to 2
ms under Python's lock, so more threads would gain nothing."""


@functools.cache
def unwrap_threads() -> ThreadPoolExecutor:
    """Threads of this process for unwrapping, created on first use.

    They are separate from those that fetch for an event loop, whose jobs may wait for these.
    """
    return ThreadPoolExecutor(MAX_PARALLEL_UNWRAPS, thread_name_prefix="encfields-unwrap")


def work_off(
    jobs: Iterable[Callable[[], None]], lead: Callable[[Callable[[], None]], None]
) -> None:
    """Run jobs on one leader, helped by as many threads as are free.

    The leader does not depend on the helpers: they may all be busy with keys whose KMS hangs.

    :param jobs: none of them raises anything but an interrupt.
    :param lead: runs what it is given, here or on another thread.
    """
    left = deque(jobs)

    def work() -> None:
        with suppress(IndexError):  # another thread took the last one
            while left:
                left.popleft()()

    def work_or_hand_over() -> None:
        try:
            work()
        except BaseException:
            # Interrupted, but others may be waiting for the remaining jobs.
            unwrap_threads().submit(work)
            raise

    helpers = min(MAX_PARALLEL_UNWRAPS, len(left)) - 1
    with suppress(RuntimeError):  # the interpreter is ending and starts no threads
        for _ in range(helpers):
            unwrap_threads().submit(work)
    lead(work_or_hand_over)


# A forked child inherits these objects but none of their threads.
in_forked_child(fetch_threads.cache_clear)
in_forked_child(daemon_threads.cache_clear)
in_forked_child(unwrap_threads.cache_clear)
