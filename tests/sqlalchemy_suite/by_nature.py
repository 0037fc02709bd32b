"""Tests of SQLAlchemy's whose outcome changes by nature when encryption is on an engine.

Nothing that an application sees is told apart by them; each has its reason here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

_EVENTS = "test/engine/test_execute.py::EngineEventsTest*"
_EXECUTE = "test/engine/test_execute.py::ExecuteTest*"
_LISTENS = "counts on an engine that nobody listens to; an attached one has listeners"


@dataclass(frozen=True)
class ByNature:
    """Tests that are expected to come to something else.

    :ivar tests: a pattern of node ids. :ivar reason: why.
    """

    tests: str
    reason: str


BY_NATURE = (
    ByNature(f"{_EVENTS}::test_add_event_after_connect", _LISTENS),
    ByNature(f"{_EVENTS}::test_connection_clslevel_events[[]not_engine_has_events]", _LISTENS),
    ByNature(f"{_EVENTS}::test_force_conn_events_false", _LISTENS),
    ByNature(f"{_EXECUTE}::test_generative_engine_event_dispatch_hasevents", _LISTENS),
)


def reason_for(test: str) -> str | None:
    """Why the outcome of a test may change, or ``None``."""
    return next((known.reason for known in BY_NATURE if fnmatch(test, known.tests)), None)
