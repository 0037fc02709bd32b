"""A few threads for fetches that nobody has to wait for: they do not hold up the process's end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from encfields.keys.forking import in_forked_child

MAX_THREADS = 4
"""Fetches under way at once. What comes later waits; its readers do not."""

IDLE_SECONDS = 30.0
"""A thread outlives its fetch by this, so that its KMS client is used again."""


class DaemonThreads:
    """Runs jobs on threads that start when they are needed and end when they are not."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()
        self._count = 0
        self._unfinished = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Have a job done; it raises nothing.

        :raises RuntimeError: the interpreter is ending and starts no thread.
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
                # Else it would be kept, with the key that it fetched, until the next one comes.
                del job
                with self._lock:
                    self._unfinished -= 1

    def _may_end(self) -> bool:
        """Whether this thread is not needed; a job that was just handed in may wait for it."""
        with self._lock:
            if self._unfinished:
                return False
            self._count -= 1
            return True


@functools.cache
def daemon_threads() -> DaemonThreads:
    """The threads of this process, made when first needed."""
    return DaemonThreads()


# A forked child inherits the object but none of its threads.
in_forked_child(daemon_threads.cache_clear)
