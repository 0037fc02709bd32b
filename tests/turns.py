"""Promises that no database can change: each on one of the databases, which take turns.

A file that asks for it by ``pytestmark = databases_by_turns`` meets every database, and each of its
promises only one: the next test has the next one. Those in which databases may differ are marked
``on_each_database``. ``ENCFIELDS_TEST_TURNS=off`` has every promise on each database.
"""

from __future__ import annotations

import os

import pytest

databases_by_turns = pytest.mark.databases_by_turns
on_each_database = pytest.mark.on_each_database

MARKERS = (
    "databases_by_turns: each test has one of the databases, the next test the next one",
    "on_each_database: all the same, this test has each of them",
)


def take_turns(metafunc: pytest.Metafunc, fixture: str, names: list[str]) -> None:
    """Have a test of such a file run on the one database whose turn it is.

    :param fixture: which gives a test its database, by a parameter.
    :param names: that parameter's values.
    """
    definition = metafunc.definition
    if (
        fixture not in metafunc.fixturenames
        or os.environ.get("ENCFIELDS_TEST_TURNS") == "off"
        or definition.get_closest_marker("databases_by_turns") is None
        or definition.get_closest_marker("on_each_database") is not None
        or any(fixture in mark.args[0] for mark in definition.iter_markers("parametrize"))
    ):
        return
    tests = [name for name in vars(metafunc.module) if name.startswith("test_")]
    name = names[tests.index(definition.originalname) % len(names)]
    definition.add_marker(pytest.mark.parametrize(fixture, [name], indirect=True))
