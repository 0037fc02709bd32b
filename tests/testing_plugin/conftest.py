"""Tests that are run by a pytest of their own, as a user of the plugin has them."""

from __future__ import annotations

import pytest

# What a project's tests import first, pytester lets go after each of its runs, and the next one
# would import it anew: this package would then be there in two parts that do not know each other.
import encfields.orm.listeners
import encfields.orm.query.comparator
import encfields.testing.local  # noqa: F401


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_their_own(older_objects_stay: None) -> None:
    """At its end each such pytest looks for garbage, time and again."""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty project whose tests take the plugin in."""
    # Where these say that it is a CI's run, pytest's summary says each failure a second time.
    for variable in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(variable, raising=False)
    # Else pytest-asyncio warns, in this process.
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makeconftest('pytest_plugins = ["encfields.testing"]')
    return pytester


def outcomes(result: pytest.RunResult, file: str = "") -> dict[str, str]:
    """What became of each test of a run with ``-v`` or ``-rA``, or of one file's, by its name."""
    found = {}
    for line in result.outlines:
        outcome, _, rest = line.partition(" ")
        if outcome in ("PASSED", "FAILED", "ERROR") and f"{file}::" in rest:
            found[rest.partition(" - ")[0].rpartition("::")[2]] = outcome
    return found
