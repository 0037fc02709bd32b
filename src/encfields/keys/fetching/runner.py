"""Where a key fetch runs, and how a caller waits for it without blocking its event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

from encfields.errors import ConfigurationError

T = TypeVar("T")


class Runner(Protocol):
    """How the cache starts a fetch and waits for it.

    Starting and waiting are separate because several callers wait for one fetch, and on an event
    loop they must not depend on the caller that started it.
    """

    def start(self, job: Callable[[], None]) -> None:
        """Run `job`, here or on another thread; it settles a future and never raises."""
        ...

    def wait(self, future: Future[T]) -> T:
        """The future's result, or its exception raised."""
        ...

    def wait_briefly(self, future: Future[Any], seconds: float) -> bool:
        """Wait at most this long; return whether the future is settled."""
        ...

    async def arun(self, call: Callable[[], T]) -> T:
        """Run a blocking `call` from a coroutine without blocking the event loop.

        :raises ConfigurationError: the loop is not asyncio's.
        """
        ...

    def pause(self, seconds: float) -> None:
        """Wait a while, if possible without blocking an event loop."""
        ...

    def aside(self) -> AbstractContextManager[None]:
        """The runner for background fetches on a thread of ours."""
        ...


class ThreadRunner:
    """For a synchronous engine: the first caller fetches, the others wait."""

    def start(self, job: Callable[[], None]) -> None:
        job()

    def wait(self, future: Future[T]) -> T:
        return future.result()

    def wait_briefly(self, future: Future[Any], seconds: float) -> bool:
        return bool(wait([future], seconds).done)

    async def arun(self, call: Callable[[], T]) -> T:
        return await to_thread(call)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()


async def to_thread(call: Callable[[], T]) -> T:
    """Run a blocking call on another thread.

    :raises ConfigurationError: the loop is not asyncio's, such as trio's.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "this coroutine needs asyncio's event loop, and runs on another. Call the method that "
            "is no coroutine on a thread instead: `await anyio.to_thread.run_sync("
            "encryption.prefetch)`",
            reason="event-loop",
        ) from None
    return await asyncio.to_thread(call)
