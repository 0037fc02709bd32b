"""Promises that no database can change: each on one of the databases, which take turns.

A file that asks for it by ``pytestmark = databases_by_turns`` meets every database, and each of its
promises only one: the next test, and the next of a test's cases, has the next one. Those in which
databases may differ are marked ``on_each_database``. ``make test-each`` has every promise on each
database.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Hashable

import pytest

databases_by_turns = pytest.mark.databases_by_turns
on_each_database = pytest.mark.on_each_database

MARKERS = (
    "databases_by_turns: each test has one of the databases, the next test the next one",
    "on_each_database: all the same, this test has each of them",
)

_FIXTURES = "backend", "async_backend"
"""Which give a test its database, by a parameter."""


def in_turn(items: list[pytest.Item]) -> list[pytest.Item]:
    """Of each case that is there once for each database, the one whose turn it is."""
    if os.environ.get("ENCFIELDS_TEST_TURNS") == "off":
        return items
    files: dict[Hashable, dict[tuple[str, Hashable], list[pytest.Item]]] = defaultdict(dict)
    left_out: set[pytest.Item] = set()
    for item in items:
        if isinstance(item, pytest.Function) and (fixture := _taken_in_turn(item)):
            parameters = item.callspec.params.items()
            case = frozenset((name, id(value)) for name, value in parameters if name != fixture)
            cases = files[item.path, fixture]
            cases.setdefault((item.originalname, case), []).append(item)
    for cases in files.values():
        functions = list(dict.fromkeys(name for name, _ in cases))
        count: dict[str, int] = defaultdict(int)
        for (name, _), same in cases.items():
            number = count[name]
            count[name] += 1
            # Not the same database for each of three cases that are there for something else again.
            turn = functions.index(name) + number + number // len(same)
            left_out.update(item for n, item in enumerate(same) if n != turn % len(same))
    return [item for item in items if item not in left_out]


def _taken_in_turn(item: pytest.Function) -> str | None:
    """The fixture that gives this test its database, if that is to be any of them."""
    if (
        not hasattr(item, "callspec")
        or item.get_closest_marker("databases_by_turns") is None
        or item.get_closest_marker("on_each_database") is not None
    ):
        return None
    given = [mark.args[0] for mark in item.iter_markers("parametrize")]
    taken = (name for name in _FIXTURES if name in item.callspec.params)
    return next((name for name in taken if not any(name in names for names in given)), None)
