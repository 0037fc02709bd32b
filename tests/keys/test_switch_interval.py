"""While a key is fetched beside an event loop, Python's threads give way to each other sooner."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from encfields.keys.fetching.loop_runner import LoopRunner
from encfields.keys.fetching.runner import ThreadRunner
from encfields.keys.fetching.switch_interval import INTERVAL, short_switch_interval

USUAL = 0.005


@pytest.fixture(autouse=True)
def _usual_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(USUAL)
    yield
    sys.setswitchinterval(before)


def test_it_is_shorter_meanwhile_and_put_back():
    with short_switch_interval():
        assert sys.getswitchinterval() == pytest.approx(INTERVAL)
        with short_switch_interval():
            assert sys.getswitchinterval() == pytest.approx(INTERVAL)
        assert sys.getswitchinterval() == pytest.approx(INTERVAL)
    assert sys.getswitchinterval() == pytest.approx(USUAL)


def test_it_is_put_back_after_an_error():
    with pytest.raises(ZeroDivisionError), short_switch_interval():
        raise ZeroDivisionError
    assert sys.getswitchinterval() == pytest.approx(USUAL)


def test_threads_that_overlap_put_it_back_once_the_last_is_done():
    first_may_end, second_may_end = threading.Event(), threading.Event()
    begun = threading.Barrier(3)

    def hold(until: threading.Event) -> None:
        with short_switch_interval():
            begun.wait(60)
            assert until.wait(60)

    threads = [
        threading.Thread(target=hold, args=(event,)) for event in (first_may_end, second_may_end)
    ]
    for thread in threads:
        thread.start()
    begun.wait(60)
    first_may_end.set()
    threads[0].join()
    assert sys.getswitchinterval() == pytest.approx(INTERVAL)
    second_may_end.set()
    threads[1].join()
    assert sys.getswitchinterval() == pytest.approx(USUAL)


def test_a_shorter_one_of_the_applications_is_left_alone():
    sys.setswitchinterval(0.0001)
    with short_switch_interval():
        assert sys.getswitchinterval() == pytest.approx(0.0001)
    assert sys.getswitchinterval() == pytest.approx(0.0001)


def test_one_that_the_application_sets_meanwhile_stays():
    with short_switch_interval():
        sys.setswitchinterval(0.02)
    assert sys.getswitchinterval() == pytest.approx(0.02)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_meanwhile_has_the_usual_one():
    with short_switch_interval():
        pid = os.fork()
        if pid == 0:
            usual = abs(sys.getswitchinterval() - USUAL) < 1e-6
            with short_switch_interval():
                short = abs(sys.getswitchinterval() - INTERVAL) < 1e-6
            again = abs(sys.getswitchinterval() - USUAL) < 1e-6
            os._exit(0 if usual and short and again else 1)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_fetches_beside_an_event_loop_run_so_and_others_do_not():
    async def fetched(runner) -> list[float]:
        future: Future[float] = Future()
        runner.start(lambda: future.set_result(sys.getswitchinterval()))
        return [await asyncio.wrap_future(future), await runner.arun(sys.getswitchinterval)]

    assert asyncio.run(fetched(LoopRunner())) == 2 * [pytest.approx(INTERVAL)]
    assert asyncio.run(fetched(ThreadRunner())) == 2 * [pytest.approx(USUAL)]
    for runner, expected in ((LoopRunner(), INTERVAL), (ThreadRunner(), USUAL)):
        with runner.aside():
            assert sys.getswitchinterval() == pytest.approx(expected)
    assert sys.getswitchinterval() == pytest.approx(USUAL)
