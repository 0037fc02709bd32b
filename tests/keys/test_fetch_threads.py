"""Fetches for an event loop: few at once, and none waits behind those that are stuck."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest

from encfields.errors import ConfigurationError
from encfields.keys.fetching.loop_runner import LoopRunner
from encfields.keys.fetching.runner import ThreadRunner
from encfields.keys.fetching.threads import MAX_AT_WORK, FetchThreads


@pytest.fixture
def stuck():
    """What a stuck call waits for."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_call_that_finds_every_thread_stuck_is_given_one_of_its_own(stuck):
    threads = FetchThreads()
    waiting = [threads.submit(stuck.wait) for _ in range(3 * MAX_AT_WORK)]
    async with asyncio.timeout(60):
        assert await asyncio.wrap_future(threads.submit(lambda: 7)) == 7
    assert not any(future.done() for future in waiting)


async def test_busy_threads_are_no_stuck_ones(monkeypatch):
    """However long the queue is, no more than so many fetches are under way at once."""
    # A busy machine makes none of them stuck either; they are looked after all the same.
    monkeypatch.setattr("encfields.keys.fetching.threads.STUCK_SECONDS", 60.0)
    loop = asyncio.get_running_loop()
    later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda _, *call: later(0.3, *call))
    threads, lock = FetchThreads(), threading.Lock()
    at_once = most = 0

    def call():
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1

    calls = [asyncio.wrap_future(threads.submit(call)) for _ in range(40 * MAX_AT_WORK)]
    await asyncio.gather(*calls)
    assert most <= MAX_AT_WORK


async def test_each_call_is_made_once(stuck):
    threads = FetchThreads()
    made: list[int] = []
    for _ in range(MAX_AT_WORK):
        threads.submit(stuck.wait)
    futures = [threads.submit(partial(made.append, i)) for i in range(20)]
    await asyncio.gather(*map(asyncio.wrap_future, futures))
    stuck.set()
    # The pool's own threads come to what others have done for them.
    await asyncio.wrap_future(threads.submit(lambda: None))
    assert sorted(made) == list(range(20))


async def test_an_error_is_told_to_whoever_waits():
    with pytest.raises(ZeroDivisionError):
        await asyncio.wrap_future(FetchThreads().submit(lambda: 1 // 0))


async def test_a_call_that_nobody_waits_for_any_more_is_not_made(stuck):
    threads = FetchThreads()
    for _ in range(MAX_AT_WORK):
        threads.submit(stuck.wait)
    made: list[int] = []
    unwanted = threads.submit(lambda: made.append(1))
    assert unwanted.cancel()
    await asyncio.wrap_future(threads.submit(lambda: None))
    assert made == []


@pytest.mark.parametrize("runner", [ThreadRunner(), LoopRunner()])
def test_a_coroutine_of_another_event_loop_such_as_trios_is_told_what_to_call(runner):
    with pytest.raises(ConfigurationError, match=r"needs asyncio's event loop") as caught:
        runner.arun(lambda: 7).send(None)
    assert caught.value.reason == "event-loop"
