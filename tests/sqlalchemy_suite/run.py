"""One run of SQLAlchemy's suite, in a process of its own, and what each test came to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

PROJECT = Path(__file__).parents[2]
TIMEOUT = 600
"""Seconds for one test at most; the longest takes a few."""

# Without the suite's own options, which stop after so many failures.
_OPTIONS = ("-o", "addopts=--tb=native", "-q", "-p", "xdist")
_OURS = ("-p", "tests.sqlalchemy_suite.plugin", "-p", "pytest_timeout", f"--timeout={TIMEOUT}")


@dataclass(frozen=True)
class Outcome:
    """What a test came to.

    :ivar name: ``passed``, ``failed``, ``skipped``, or what its set-up or tear-down came to.
    :ivar told: why, where it did not pass.
    """

    name: str
    told: str = ""


@dataclass(frozen=True)
class Run:
    """One way to run the suite.

    :param tree: of the unpacked distribution. :param url: of the database.
    :param of_databases: run only what SQLAlchemy marks as differing by database.
    :param results: where to put what pytest says, without a suffix.
    :param encrypted: encrypt these columns, too: ``texts``, or ``values`` of every type.
    """

    tree: Path
    url: URL
    attached: bool
    of_databases: bool
    results: Path
    encrypted: str | None = None

    def outcomes(self, tests: Sequence[str]) -> dict[str, Outcome]:
        """Run tests.

        :param tests: files, folders or node ids, relative to the tree.
        :raises RuntimeError: the suite could not be run.
        """
        lines = self.results.with_suffix(".jsonl")
        log = self.results.with_suffix(".log")
        command = [sys.executable, "-s", "-m", "pytest", *_OPTIONS, *_OURS, f"--outcomes={lines}"]
        command += [f"--rootdir={self.tree}", "-c", str(self.tree / "pyproject.toml")]
        command += ["--dburi", self.url.render_as_string(hide_password=False)]
        command += ["--attach-engines"] if self.attached else []
        command += [f"--encrypt={self.encrypted}"] if self.encrypted else []
        command += ["-m", "backend"] if self.of_databases else []
        # SQLAlchemy gives a worker databases of its own, where they are not within one another.
        command += ["-n", "1"] if self.url.get_backend_name() == "mariadb" else []
        environment = {
            **os.environ,
            # Nothing that other packages plug into pytest.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": f"{PROJECT / 'src'}{os.pathsep}{PROJECT}",
        }
        command += [str(self.tree / test) for test in tests]
        # Some tests leave a file where they are run, under the name that the next one makes it.
        with log.open("w") as said, tempfile.TemporaryDirectory() as place:
            done = subprocess.run(command, cwd=place, env=environment, stdout=said, stderr=said)
        # 5: no test was chosen.
        if done.returncode not in (0, 1, 5):
            raise RuntimeError(f"pytest ended with {done.returncode}: see {log}")
        return _read(lines)


def _read(lines: Path) -> dict[str, Outcome]:
    """The outcome of each test: that of its phases of which nothing went well last."""
    found: dict[str, Outcome] = {}
    for line in lines.read_text().splitlines():
        phase = json.loads(line)
        in_test = phase["phase"] == "call" or phase["outcome"] == "skipped"
        name = phase["outcome"] if in_test else f"{phase['outcome']} in {phase['phase']}"
        if phase["outcome"] != "passed" or in_test:
            found[phase["test"]] = Outcome(name, phase["told"])
    return found
