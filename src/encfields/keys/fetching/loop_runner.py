"""Key fetches for an ``AsyncEngine``: on worker threads, awaited where a greenlet allows it.

SQLAlchemy's asyncio layer calls us inside a greenlet when it writes, and outside any greenlet,
on the event loop's own thread, when ``AsyncConnection.execute()`` results are read. Only the first
can await. So the fetch runs on a worker thread and completes there, whether or not anybody waits.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from encfields.errors import KeyUnavailableError
from encfields.keys.fetching.runner import to_thread
from encfields.keys.fetching.switch_interval import short_switch_interval
from encfields.keys.fetching.threads import fetch_threads

T = TypeVar("T")


def on_event_loop() -> bool:
    """Whether an event loop runs in this thread, so that blocking here would block it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class LoopRunner:
    """Runs fetches beside the event loop.

    :param on_caller: fetch in the caller's own greenlet. Needed if the keys are in an in-memory
        database, whose only connection belongs to the caller's event loop.
    """

    def __init__(self, *, on_caller: bool = False) -> None:
        self._on_caller = on_caller

    def start(self, job: Callable[[], None]) -> None:
        if self._on_caller or not on_event_loop():
            job()
        else:
            fetch_threads().submit(functools.partial(_switching_soon, job))

    def wait(self, future: Future[T]) -> T:
        """The result. In a greenlet it is awaited; elsewhere this blocks, the event loop too.

        :raises KeyUnavailableError: waiting here could never end, because the fetch needs the
            event loop that waiting would block.
        """
        if not future.done():
            if in_greenlet():
                return await_only(asyncio.wrap_future(future))
            if self._on_caller and on_event_loop():
                raise needs_prefetch()
        return future.result()

    def wait_briefly(self, future: Future[Any], seconds: float) -> bool:
        """Wait at most this long; return whether the future is settled. See :meth:`wait`."""
        if not future.done() and in_greenlet():
            await_only(_settled(future, seconds))
            return future.done()
        return bool(wait([future], seconds).done)

    async def arun(self, call: Callable[[], T]) -> T:
        if self._on_caller:
            return await greenlet_spawn(call)
        return await to_thread(functools.partial(_switching_soon, call))

    def pause(self, seconds: float) -> None:
        if on_event_loop() and in_greenlet():
            await_only(asyncio.sleep(seconds))
        else:
            time.sleep(seconds)

    def aside(self) -> AbstractContextManager[None]:
        return short_switch_interval()


async def _settled(future: Future[Any], seconds: float) -> None:
    """Wait for a future for at most this long, without cancelling it."""
    waiting = asyncio.wrap_future(future)
    done, _ = await asyncio.wait({waiting}, timeout=seconds)
    if done:
        waiting.exception()  # raised to whoever waits for the fetch itself
    else:
        waiting.cancel()  # which does not affect a running fetch


def _switching_soon(call: Callable[[], T]) -> T:
    with short_switch_interval():
        return call()


def needs_prefetch() -> KeyUnavailableError:
    """The error for a key that can only be fetched by awaiting, if nothing can be awaited."""
    return KeyUnavailableError(
        "the key is in an in-memory database that only a coroutine can read, and result rows "
        "are processed outside one; call `await encryption.aprefetch()` first",
        reason="unreachable",
    )
