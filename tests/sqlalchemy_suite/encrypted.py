"""Run SQLAlchemy's own tests with their columns encrypted, and list what fails unexpectedly.

    python -m tests.sqlalchemy_suite.encrypted --only test/orm/test_joins.py
    python -m tests.sqlalchemy_suite.encrypted --database postgresql

Every column of text that is no key becomes an ``EncryptedType`` with a blind index, and with
``--of values`` every column that can. Thousands of
queries that nobody of this project thought of then ask it. Most tests pass; of the others many
compare the text of statements or sort by a name. So this is no test but a list to read: an answer
that is another one, or an error that is not one of ours, is a fault.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.sqlalchemy_suite.__main__ import CACHE
from tests.sqlalchemy_suite.databases import NAMES, database
from tests.sqlalchemy_suite.plugin import ENCRYPTED
from tests.sqlalchemy_suite.run import Outcome, Run
from tests.sqlalchemy_suite.sdist import unpacked

_REFUSED = re.compile(
    r"^encfields\.errors\.(AmbiguousRow|CiphertextCopy|Declaration|IdentityChange|Unreadable"
    r"|UnsupportedOperation)Error: ",
    re.MULTILINE,
)
_COMPARES_SQL = re.compile(
    r"AssertionError: .*(CAST\('|CONCAT\('|_bidx|EncryptedType)|Testing for compiled statement"
)
_SQL = "compares the statements"
_STATES_SQL = ("assertsql.py", "desired statement count")
_ERROR = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Warning|NotFound)(?:: .*)?$", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sqlalchemy_suite.encrypted")
    parser.add_argument("--only", nargs="+", default=["test/orm"], metavar="TEST")
    parser.add_argument("--database", choices=NAMES, default="sqlite")
    parser.add_argument(
        "--of", choices=ENCRYPTED, default="texts", help="columns of text, or of every type"
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the distribution")
    arguments = parser.parse_args()
    sides = []
    for encrypted in (None, arguments.of):
        with ExitStack() as stack:
            url = stack.enter_context(database(arguments.database))
            cache = arguments.cache.absolute()
            results = cache / f"{arguments.database}-{encrypted or 'plain'}-encrypted"
            run = Run(unpacked(cache), url, bool(encrypted), False, results, encrypted)
            sides.append(run.outcomes(arguments.only))
    _tell(*sides)
    return 0


def kind_of(told: str) -> str:
    """What a test that fails with encrypted columns came to: an expected kind, or its error."""
    if _COMPARES_SQL.search(told) or any(one in told for one in _STATES_SQL):
        return _SQL
    errors = _ERROR.findall(told)
    last = errors[-1] if errors else told.strip().rpartition("\n")[2]
    return "refused" if _REFUSED.match(last) else last


def _tell(plain: Mapping[str, Outcome], encrypted: Mapping[str, Outcome]) -> None:
    passed = {test for test, outcome in plain.items() if outcome.name == "passed"}
    others: dict[str, list[str]] = defaultdict(list)
    for test in sorted(passed & encrypted.keys()):
        if encrypted[test].name != "passed":
            others[kind_of(encrypted[test].told)].append(test)
    known = Counter({kind: len(others.pop(kind, ())) for kind in ("refused", _SQL)})
    print(f"{len(passed)} tests, {known['refused']} refused, {known[_SQL]} compare the statements")
    for error, tests in sorted(others.items(), key=lambda one: -len(one[1])):
        print(f"{len(tests)} {error[:300]}")
        for test in tests[:3]:
            print(f"    {test}")


if __name__ == "__main__":
    sys.exit(main())
