"""Tests of SQLAlchemy's whose outcome changes by nature when encryption is on an engine.

Nothing that an application sees is told apart by them; each has its reason here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

_EVENTS = "test/engine/test_execute.py::EngineEventsTest*"
_EXECUTE = "test/engine/test_execute.py::ExecuteTest*"
_LISTENS = "counts on an engine that nobody listens to; an attached one has listeners"
_COMPILERS = "test/dialect/test_suite.py::ArgSignatureTest*::test_all_visit_methods_accept_kw*"


@dataclass(frozen=True)
class ByNature:
    """Tests that are expected to come to something else.

    :ivar tests: a pattern of node ids. :ivar reason: why.
    :ivar outcomes: the only ones that it explains, on either side; any if empty.
    """

    tests: str
    reason: str
    outcomes: frozenset[str] = frozenset()

    def explains(self, test: str, *outcomes: str) -> bool:
        """Whether it is why a test came to these outcomes."""
        is_one = fnmatch(test, self.tests)
        return is_one and (not self.outcomes or self.outcomes.issuperset(outcomes))


BY_NATURE = (
    ByNature(f"{_EVENTS}::test_add_event_after_connect", _LISTENS),
    ByNature(f"{_EVENTS}::test_connection_clslevel_events[[]not_engine_has_events]", _LISTENS),
    ByNature(f"{_EVENTS}::test_force_conn_events_false", _LISTENS),
    ByNature(f"{_EXECUTE}::test_generative_engine_event_dispatch_hasevents", _LISTENS),
    # pytest numbers the cases that have the same name. That they pass is asked all the same.
    ByNature(
        _COMPILERS,
        "a case for each compiler class; an attached engine's has the name of its dialect's",
        frozenset({"passed", "not run"}),
    ),
)


def reason_for(test: str, plain: str, attached: str) -> str | None:
    """Why a test came to something else, or ``None``.

    :param plain: what it came to. :param attached: the same, on an attached engine.
    """
    known = (nature.reason for nature in BY_NATURE if nature.explains(test, plain, attached))
    return next(known, None)
