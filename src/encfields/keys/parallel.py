"""Many unwraps at once, on few threads: each thread keeps a keyring and KMS clients of its own."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor

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
os.register_at_fork(after_in_child=unwrap_threads.cache_clear)
