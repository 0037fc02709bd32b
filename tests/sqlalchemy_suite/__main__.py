"""Run SQLAlchemy's own tests on plain and on attached engines: no test may change its outcome.

    python -m tests.sqlalchemy_suite
    python -m tests.sqlalchemy_suite --only test/sql/test_returning.py --database sqlite

Its source distribution is downloaded, of the version that is installed, with the hash that the
lock file has. An attached engine has a local wrapping key, and there is no encrypted column: to
what others do it changes nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.sqlalchemy_suite.by_nature import reason_for
from tests.sqlalchemy_suite.databases import NAMES, database
from tests.sqlalchemy_suite.run import Outcome, Run
from tests.sqlalchemy_suite.sdist import PROJECT, unpacked

CACHE = PROJECT / ".venvs" / "sqlalchemy-suite"
# Not aaa_profiling, which counts Python's function calls; not typing, which runs mypy.
FOLDERS = tuple(f"test/{name}" for name in ("base", "dialect", "engine", "ext", "orm", "sql"))
RUN_AGAIN = 200
"""Tests at most that are run once more: more of them need no second look."""

_NOT_RUN = Outcome("not run")
_Sides = tuple[dict[str, Outcome], dict[str, Outcome]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sqlalchemy_suite", description=__doc__)
    parser.add_argument("--only", nargs="+", default=FOLDERS, metavar="TEST", help="of the sdist")
    parser.add_argument("--database", choices=NAMES, help="one of them alone")
    parser.add_argument(
        "--every",
        action="store_true",
        help="on PostgreSQL and MariaDB too, not only what SQLAlchemy marks as differing there",
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the distribution")
    arguments = parser.parse_args()
    changed = False
    for name in [arguments.database] if arguments.database else NAMES:
        changed |= Comparison(name, arguments.cache.absolute(), every=arguments.every).run(
            arguments.only
        )
    return 1 if changed else 0


@dataclass(frozen=True)
class Comparison:
    """The suite in both ways on one database.

    :param name: of the database. :param cache: folder for the distribution and the results.
    :param every: run what does not differ by database, too.
    """

    name: str
    cache: Path
    every: bool

    def run(self, tests: Sequence[str]) -> bool:
        """Run the tests and tell what changed.

        :returns: whether anything changed that has no reason.
        """
        start = time.monotonic()
        sides = self._both(tests)
        unexplained = _unexplained(*sides)
        if 0 < len(unexplained) <= RUN_AGAIN:
            # What does not change a second time hangs on something else, such as a clock. Whole
            # files, for the name of a class that is run for a database chooses no test.
            files = sorted({test.partition("::")[0] for test in unexplained})
            unexplained &= _unexplained(*self._both(files, "-again"))
        _tell(self.name, *sides, unexplained, time.monotonic() - start)
        return bool(unexplained)

    def _both(self, tests: Sequence[str], suffix: str = "") -> _Sides:
        """The outcomes on plain and on attached engines, each on a database of its own."""
        tree = unpacked(self.cache)
        of_databases = not self.every and self.name != "sqlite"
        with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
            runs = []
            for way in ("plain", "attached"):
                url = stack.enter_context(database(self.name))
                results = self.cache / f"{self.name}-{way}{suffix}"
                runs.append(Run(tree, url, way == "attached", of_databases, results))
            plain, attached = pool.map(lambda run: run.outcomes(tests), runs)
        return plain, attached


def _changed(plain: Mapping[str, Outcome], attached: Mapping[str, Outcome]) -> list[str]:
    """The tests that came to something else."""
    return [
        test for test in sorted({*plain, *attached}) if _name(plain, test) != _name(attached, test)
    ]


def _unexplained(plain: Mapping[str, Outcome], attached: Mapping[str, Outcome]) -> set[str]:
    """The tests that came to something else without a reason that is known."""
    return {
        test
        for test in _changed(plain, attached)
        if reason_for(test, _name(plain, test), _name(attached, test)) is None
    }


def _name(outcomes: Mapping[str, Outcome], test: str) -> str:
    return outcomes.get(test, _NOT_RUN).name


def _tell(
    name: str,
    plain: Mapping[str, Outcome],
    attached: Mapping[str, Outcome],
    unexplained: Set[str],
    seconds: float,
) -> None:
    changed = _changed(plain, attached)
    without_reason = _unexplained(plain, attached)
    by_nature = len(changed) - len(without_reason)
    came_to = ", ".join(
        f"{n} {what}" for what, n in Counter(o.name for o in plain.values()).items()
    )
    print(f"{name}: {len(plain)} tests ({came_to}) in {seconds:.0f} s")
    print(f"{name}: {by_nature} changed by nature, {len(unexplained)} without a reason")
    for test in sorted(without_reason):
        was, is_now = plain.get(test, _NOT_RUN), attached.get(test, _NOT_RUN)
        once = "" if test in unexplained else " (not a second time)"
        print(f"  {test}: {was.name}, attached {is_now.name}{once}")
        print(f"    {(is_now.told or was.told).strip().rpartition(chr(10))[2]}")


if __name__ == "__main__":
    sys.exit(main())
