"""Many unwraps at once, on few threads: each thread keeps a keyring and KMS clients of its own."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from encfields.keys.forking import in_forked_child

MAX_PARALLEL_UNWRAPS = 8
"""Unwraps of one process under way at once. KMS answers in some 10 ms and its client works for
1 to 2 ms under Python's lock, so that more threads bring nothing."""


@functools.cache
def unwrap_threads() -> ThreadPoolExecutor:
    """Threads of this process for unwrapping, made when first needed.

    They are apart from those that fetch for an event loop, whose jobs may wait for these.
    """
    return ThreadPoolExecutor(MAX_PARALLEL_UNWRAPS, thread_name_prefix="encfields-unwrap")


# A forked child inherits the object but none of its threads.
in_forked_child(unwrap_threads.cache_clear)


def work_off(
    jobs: Iterable[Callable[[], None]], lead: Callable[[Callable[[], None]], None]
) -> None:
    """Have jobs done by whoever leads, helped by as many threads as are free.

    The leader does not depend on the helpers: they may all be busy with keys whose KMS hangs.

    :param jobs: none of them raises anything but an interrupt.
    :param lead: runs what it is given, here or on another thread.
    """
    left = deque(jobs)

    def work() -> None:
        with suppress(IndexError):  # somebody took the last one
            while left:
                left.popleft()()

    def work_or_hand_over() -> None:
        try:
            work()
        except BaseException:
            # Interrupted: others may be waiting for what is left.
            unwrap_threads().submit(work)
            raise

    helpers = min(MAX_PARALLEL_UNWRAPS, len(left)) - 1
    with suppress(RuntimeError):  # the interpreter is ending and starts no thread
        for _ in range(helpers):
            unwrap_threads().submit(work)
    lead(work_or_hand_over)
