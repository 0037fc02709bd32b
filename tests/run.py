"""pytest, with a second chance for a few tests that fail: alone, and never in silence.

usage: python -m tests.run [pytest's arguments]

On a busy machine one test of thousands may fail that does not fail by itself. After a run in
which no more than :data:`MOST` tests failed, of which those of one file that could not be set up
count as one, they are run once more, one after the other in one
process of their own. Which of them "failed once and passed alone" is the last thing that is
printed, for they are to be mended. The exit status is 0 only if all of them passed then.

Everything else ends as pytest ends it: more failures, a file that cannot be collected, an error
of pytest's own, a process that died, a run that was stopped early (``-x``, Control-C).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests import processes

MOST = 5
"""Failures that may be chance. More are something that is broken."""

_AGAIN = "ENCFIELDS_TEST_AGAIN"
"""For the process that runs the failed tests again: a file that names them."""


class Record:
    """How the tests of a run went, of its workers' as well."""

    def __init__(self) -> None:
        self.failed: set[str] = set()
        self.causes: set[str] = set()
        self.passed: set[str] = set()
        self.was_cut_short = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.was_cut_short |= report.when == processes.DIED
            self.failed.add(report.nodeid)
            # What a file's tests share fails for all of them.
            is_shared = report.when == "setup"
            self.causes.add(report.nodeid.partition("::")[0] if is_shared else report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.was_cut_short |= report.failed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.was_cut_short |= bool(session.shouldstop or session.shouldfail)


class Only:
    """Has a run collect some tests and no others."""

    def __init__(self, tests: set[str]) -> None:
        self._tests = tests
        self._files = {test.partition("::")[0] for test in tests}

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        if collection_path.is_dir() or not collection_path.is_relative_to(config.rootpath):
            return None
        name = collection_path.relative_to(config.rootpath).as_posix()
        return None if name in self._files else True

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        others = [item for item in items if item.nodeid not in self._tests]
        items[:] = [item for item in items if item.nodeid in self._tests]
        config.hook.pytest_deselected(items=others)


def main(arguments: list[str]) -> int:
    """Run pytest, and perhaps once more.

    :param arguments: pytest's.
    :returns: the exit status.
    """
    record = Record()
    status = int(pytest.main(arguments, plugins=[record, processes]))
    may_be_chance = status == pytest.ExitCode.TESTS_FAILED and not record.was_cut_short
    if not may_be_chance or not 0 < len(record.causes) <= MOST:
        return status
    failed = sorted(record.failed)
    _tell(f"{len(failed)} failed: once more, alone", failed)
    passed = _run_alone(arguments, failed)
    _tell("failed once and passed alone: to be mended", [one for one in failed if one in passed])
    _tell("failed twice", [one for one in failed if one not in passed])
    return 0 if passed == set(failed) else status


def _run_alone(arguments: list[str], tests: list[str]) -> set[str]:
    """Run some tests in a process of their own.

    :returns: those that passed; what was skipped did not.
    """
    with TemporaryDirectory(prefix="encfields-again-") as folder:
        file = Path(folder, "tests.json")
        file.write_text(json.dumps(tests))
        command = [sys.executable, "-m", "tests.run", *arguments]
        subprocess.run(command, env={**os.environ, _AGAIN: str(file)}, check=False)
        return set(json.loads(file.read_text())["passed"])


def _again(arguments: list[str], file: Path) -> int:
    """What the other process does: run the tests that a file names, and write who passed."""
    tests = set(json.loads(file.read_text()))
    file.write_text(json.dumps({"passed": []}))
    record = Record()
    alone = [*arguments, "--processes", "0"]
    status = int(pytest.main(alone, plugins=[record, processes, Only(tests)]))
    file.write_text(json.dumps({"passed": sorted(record.passed - record.failed)}))
    return status


def _tell(heading: str, tests: list[str]) -> None:
    if tests:
        print(f"\n{heading}:", *(f"  {test}" for test in tests), sep="\n", flush=True)


if __name__ == "__main__":
    again = os.environ.pop(_AGAIN, None)
    sys.exit(_again(sys.argv[1:], Path(again)) if again else main(sys.argv[1:]))
