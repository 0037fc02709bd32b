"""AWS's libraries, with their constants worked out once.

They are translated from Dafny, whose Python runtime works out a constant anew at each use: the
table of all algorithm suites several times for each key that is wrapped or unwrapped, which is a
third of that work. What is imported here changes how long it takes and nothing else.
"""

from __future__ import annotations

from typing import Any

import _dafny

_work_out = _dafny.classproperty.__get__
_known: dict[tuple[Any, type], Any] = {}


def _once(constant: Any, instance: object, owner: type) -> Any:
    try:
        return _known[constant, owner]
    except KeyError:
        value = _known[constant, owner] = _work_out(constant, instance, owner)
        return value


def remember_constants() -> None:
    """Have this process work out each constant of Dafny's once."""
    _dafny.classproperty.__get__ = _once
