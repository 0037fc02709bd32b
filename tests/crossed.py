"""Cases of which no database changes most: every one on SQLite, and some on each database."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from tests.servers.backends import BACKENDS


def crossed(
    cases: Iterable[Any], on_each: Collection[Any], names: Iterable[str] | None = None
) -> list[Any]:
    """Parameters ``backend``, which is indirect, and the case.

    :param on_each: those cases in which databases may differ.
    :param names: of the cases, in the same order; by default what they are as text.
    """
    cases = list(cases)
    return [
        pytest.param(backend, case, id=f"{name}-{backend}")
        for case, name in zip(cases, names or map(str, cases), strict=True)
        for backend in (BACKENDS if case in on_each else ["sqlite"])
    ]
