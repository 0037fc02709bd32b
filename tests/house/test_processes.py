"""Tests in several processes: `tests.processes` runs and tells what pytest alone does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests import forked
from tests.waiting import until

ROOT = Path(__file__).parents[2]

# The warnings are those of these tests, whatever PYTHONWARNINGS says to those that read them.
SETTINGS = """
[pytest]
addopts = -p no:cacheprovider -ra
filterwarnings = default
"""
CONFTEST = """
import os
import pytest
import signal
from pathlib import Path

# What a shell has started in the background ignores Ctrl-C, and so does all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

def note(name, told):
    with Path(__file__).with_name(name).open("a") as file:
        file.write(f"{told} {os.getpid()}\\n")

@pytest.fixture(scope="session", autouse=True)
def shared():
    note("fixture", "begin")
    yield
    note("fixture", "end")

@pytest.fixture(autouse=True)
def noted(request):
    note("tests", request.node.nodeid)
"""
GOOD = """
import pytest
@pytest.mark.parametrize('n', range(3))
def test_it(n, tmp_path): tmp_path.joinpath('mine').touch(exist_ok=False)
"""
MEETING = """
from pathlib import Path
from tests.waiting import until
begun = Path(__file__).with_name('fixture')
def test_it(): until(lambda: begun.read_text().count('begin') == 2)
"""
TELLING = """
import os, pytest, sys, warnings
def kept(told, stream=sys.stdout): stream.write(told)
def test_failing():
    print('this is told')
    kept('and this ')
    os.write(1, b'and that')
    assert 1 == 2
def test_skipped(): pytest.skip('for a reason')
@pytest.mark.xfail(reason='as expected')
def test_expected(): assert False
def test_warning(): warnings.warn('beware')
def test_hanging():
    while True: pass
"""
DYING = """
import os
def test_before(): pass
def test_dying(): {death}
def test_after(): pass
"""
RAISING = """
import pytest
def test_it():
    with pytest.raises(ValueError) as told: raise ValueError
    assert told.value.__context__ is None
"""
BAD_END = """
import pytest
@pytest.fixture(scope='session')
def left(): yield; raise ValueError('at the end')
def test_it(left): pass
"""
WAITING = """
import time
def test_waiting(): time.sleep(300)
"""


class Folder:
    """Files of tests, and what they did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        (path / "pytest.ini").write_text(SETTINGS)
        (path / "conftest.py").write_text(CONFTEST)

    def begin(self, *arguments: str, count: int = 2, **files: str) -> forked.Command:
        for name, content in files.items():
            (self.path / f"test_{name}.py").write_text(content)
        command = ["-m", "tests.run", "--processes", str(count), *arguments]
        return forked.Command(
            *command, folder=self.path, environment=self._environment, imported=["pytest"]
        )

    def run(self, *arguments: str, count: int = 2, **files: str) -> tuple[int | None, str]:
        begun = self.begin(*arguments, count=count, **files)
        told, _ = begun.communicate(60)
        return begun.status, told

    def notes(self, name: str) -> list[list[str]]:
        """What was done, each with the process that did it."""
        path = self.path / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_each_test_is_run_once_and_a_file_stays_in_one_process(folder):
    # The first file waits for the other process, which would otherwise have none if it is late.
    status, told = folder.run(a=MEETING, b=GOOD, c=GOOD)

    assert (status, "7 passed" in told) == (0, True)
    tests = folder.notes("tests")
    every = ["test_a.py::test_it"]
    every += [f"test_{file}.py::test_it[{n}]" for file in "bc" for n in range(3)]
    assert sorted(test for test, _ in tests) == every
    ran = {(test.partition("::")[0], process) for test, process in tests}
    assert len(ran) == 3
    # From a process's first file to its last one.
    begun = [process for told, process in folder.notes("fixture") if told == "begin"]
    ended = [process for told, process in folder.notes("fixture") if told == "end"]
    assert len(begun) == len(set(begun)) == 2
    assert sorted(begun) == sorted(ended)


def test_it_tells_what_pytest_tells(folder):
    arguments = "-p", "pytest_timeout", "--timeout", "1"
    status, told = folder.run(*arguments, a=TELLING, b=GOOD, c="import no_such_module")
    assert (status, "1 error" in told, folder.notes("tests")) == (2, True, [])

    _, told = folder.run(*arguments, "--continue-on-collection-errors")

    outcomes = "2 failed, 4 passed, 1 skipped, 1 xfailed, 1 warning, 1 error"
    for part in (
        outcomes,
        "this is told\nand this and that\n",
        "assert 1 == 2",
        "for a reason",
        "as expected",
    ):
        assert part in told
    assert "UserWarning: beware" in told
    assert "Failed: Timeout" in told
    assert "once more" not in told


@pytest.mark.parametrize(
    "death, how", [("os._exit(0)", "exit status 0"), ("os.kill(os.getpid(), 9)", "signal 9")]
)
def test_a_process_that_dies_fails_what_its_file_still_had_and_nothing_else(folder, death, how):
    status, told = folder.run(count=1, a=DYING.format(death=death), b=GOOD, c=GOOD)

    assert (status, "2 failed, 7 passed" in told) == (1, True)
    assert f"ended with {how} in this test" in told
    assert f"ended with {how} in test_a.py::test_dying" in told
    assert "once more" not in told


def test_the_process_that_follows_one_that_died_begins_without_its_exception(folder):
    status, told = folder.run(count=1, a=DYING.format(death="os._exit(3)"), b=RAISING)

    assert (status, "2 failed, 2 passed" in told) == (1, True)


def test_what_fails_at_the_end_of_a_process_fails_the_run(folder):
    begun = folder.begin(a=BAD_END, b=GOOD)
    told, error = begun.communicate(60)

    assert begun.status == 1
    assert "4 passed" in told
    assert "after its tests" in told
    assert "ValueError: at the end" in error
    assert "once more" not in told


def test_a_first_failure_can_end_it(folder):
    status, told = folder.run("-x", count=1, a=TELLING, b=GOOD)
    assert (status, len(folder.notes("tests"))) == (1, 1)
    assert "1 failed" in told
    assert [told for told, _ in folder.notes("fixture")] == ["begin", "end"]


def test_ctrl_c_ends_each_process_in_good_order(folder):
    begun = folder.begin(a=WAITING, b=WAITING)
    until(lambda: len(folder.notes("tests")) == 2)
    for process in [*(int(process) for _, process in folder.notes("tests")), begun.pid]:
        os.kill(process, signal.SIGINT)  # as a terminal does

    told, _ = begun.communicate(60)

    assert begun.status == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in told
    assert [told for told, _ in folder.notes("fixture")] == ["begin", "begin", "end", "end"]
