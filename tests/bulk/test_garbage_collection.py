"""While a run works, Python's garbage collector looks less often; afterwards it does as before."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from encfields.bulk.runs.garbage_collection import YOUNG_OBJECTS, fewer_collections
from tests.bulk.support import Clinic

USUAL = 700


@pytest.fixture(autouse=True)
def _usual_threshold() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(USUAL)
    yield
    gc.set_threshold(*before)


def threshold() -> int:
    return gc.get_threshold()[0]


def test_a_run_works_so_and_puts_it_back(sqlite, told):
    clinic = Clinic(sqlite)
    clinic.fill(50)
    seen = set()
    assert clinic.run().run(progress=lambda state: seen.add(threshold())).finished
    assert seen == {YOUNG_OBJECTS}
    assert threshold() == USUAL


def test_runs_that_overlap_put_it_back_once_the_last_is_done():
    first, second = fewer_collections(), fewer_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threshold() == YOUNG_OBJECTS
    second.__exit__(None, None, None)
    assert threshold() == USUAL


def test_it_is_put_back_after_an_error():
    with pytest.raises(ZeroDivisionError), fewer_collections():
        raise ZeroDivisionError
    assert threshold() == USUAL


@pytest.mark.parametrize("of_application", [0, YOUNG_OBJECTS + 1], ids=["off", "larger"])
def test_a_less_frequent_garbage_collection_of_the_application_is_left_alone(of_application):
    gc.set_threshold(of_application)
    with fewer_collections():
        assert threshold() == of_application
    assert threshold() == of_application


def test_one_that_the_application_sets_meanwhile_stays():
    with fewer_collections():
        gc.set_threshold(1_000)
    assert threshold() == 1_000


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_meanwhile_has_the_usual_one():
    with fewer_collections():
        pid = os.fork()
        if pid == 0:
            usual = threshold() == USUAL
            with fewer_collections():
                fewer = threshold() == YOUNG_OBJECTS
            os._exit(0 if usual and fewer and threshold() == USUAL else 1)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
