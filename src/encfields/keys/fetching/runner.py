"""Where a key fetch runs, and how a caller waits for it without harming its event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Runner(Protocol):
    """How the cache starts a fetch and waits for one that is under way.

    The fetch and the waiting are apart because several callers wait for the same fetch, and on
    an event loop the caller that started it must not be the one that everyone depends on.
    """

    def start(self, job: Callable[[], None]) -> None:
        """Run `job`, here or on another thread; it settles a future and never raises."""
        ...

    def wait(self, future: Future[T]) -> T:
        """The future's result, or its exception raised."""
        ...

    def wait_briefly(self, future: Future[Any], seconds: float) -> bool:
        """Whether the future is settled after this time at the most."""
        ...

    async def arun(self, call: Callable[[], T]) -> T:
        """Run a blocking `call` from a coroutine without blocking the event loop."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait a while, without blocking an event loop where that can be helped."""
        ...

    def aside(self) -> AbstractContextManager[None]:
        """For fetches that a thread of ours makes on its own, while others go on."""
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
        return await asyncio.to_thread(call)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()
