"""A few tests that fail get a second chance, alone, which `tests.run` tells of and never hides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import forked

ROOT = Path(__file__).parents[2]

ONCE = """
import os
import pytest
from pathlib import Path

def fail_once(name):
    mark = Path(__file__).with_name(name)
    if not mark.exists():
        mark.touch()
        raise AssertionError("for once")

def test_good(): pass
"""
"""What the folder's tests begin with; each of them leaves a mark when it has failed."""

CHANCE = ONCE + "@pytest.mark.parametrize('of', ['a::b [c]'])\ndef test_once(of): fail_once('1')\n"
TWICE = CHANCE + "def test_twice(): assert not 'ever'\n"
SIX = ONCE + "@pytest.mark.parametrize('n', range(6))\ndef test_one(n): fail_once(str(n))\n"
SKIPPED = ONCE + "def test_once():\n    fail_once('1')\n    pytest.skip('now')\n"
TORN_DOWN = (
    ONCE + "@pytest.fixture\ndef torn():\n    yield\n    fail_once('1')\ndef test_it(torn): pass\n"
)
SHARED = (
    ONCE
    + "@pytest.fixture(scope='module')\ndef shared(): fail_once('1')\n"
    + "@pytest.mark.parametrize('n', range(8))\ndef test_it(shared, n): pass\n"
)
CRASHING = CHANCE + "def test_crash():\n    os._exit(9)\n"


@pytest.fixture
def run(tmp_path: Path):
    """Run a file of tests, as `make test` runs the suite: exit status and output."""

    def run(content: str, *arguments: str) -> tuple[int, str]:
        (tmp_path / "test_chance.py").write_text(content)
        (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        done = forked.run(
            "-m",
            "tests.run",
            *arguments,
            folder=tmp_path,
            environment={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            imported=["pytest"],
        )
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize("arguments", [["--processes", "2"], ["-k", "once or good"]])
def test_what_failed_once_and_passes_alone_is_reported_but_not_as_a_failure(run, arguments):
    status, told = run(CHANCE, *arguments)

    assert status == 0
    assert "1 failed, 1 passed" in told
    heading, test = told.rstrip().splitlines()[-2:]
    assert heading == "failed once and passed alone: to be mended:"
    assert test == "  test_chance.py::test_once[a::b [c]]"


def test_it_runs_no_test_again_that_had_passed(run):
    _, told = run(CHANCE, "-v")
    assert told.count("test_good PASSED") == 1


def test_it_fails_if_one_of_them_fails_twice(run):
    status, told = run(TWICE)

    assert status == 1
    assert told.rstrip().endswith("failed twice:\n  test_chance.py::test_twice")
    assert "passed alone: to be mended:\n  test_chance.py::test_once" in told


def test_what_is_skipped_the_second_time_has_not_passed(run):
    assert run(SKIPPED)[0] == 1


def test_a_failure_after_a_test_is_one_of_the_test(run):
    status, told = run(TORN_DOWN)
    assert (status, "passed alone" in told) == (0, True)


def test_tests_that_share_what_failed_once_count_as_one(run):
    status, told = run(SHARED)
    assert (status, told.count("  test_chance.py::test_it")) == (0, 16)


@pytest.mark.parametrize(
    "content, arguments, expected",
    [
        pytest.param(SIX, [], 1, id="more than five"),
        pytest.param(TWICE, ["-x"], 1, id="stopped early"),
        pytest.param(CHANCE + "import no_such_module", [], 2, id="not collected"),
        pytest.param(
            CHANCE, ["--continue-on-collection-errors", "no_such.py"], 4, id="no such file"
        ),
        pytest.param(CRASHING, ["--processes", "1"], 1, id="a process that died"),
    ],
)
def test_everything_else_ends_as_it_is(run, content, arguments, expected):
    status, told = run(content, *arguments)
    assert (status, "once more" in told) == (expected, False)


def test_a_file_that_is_not_collected_is_no_chance_beside_one_that_is(run, tmp_path):
    (tmp_path / "test_broken.py").write_text("import no_such_module")
    status, told = run(CHANCE, "--continue-on-collection-errors")
    assert (status, "once more" in told) == (1, False)
