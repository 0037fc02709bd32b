"""AWS's sessions, with what is the same in all of them worked out once.

Each store has a session for each client, and registers some hundred handlers with it, whose
signatures and names are looked at each time. What is imported here changes how long it takes and
nothing else.
"""

from __future__ import annotations

from types import CodeType
from typing import Any

from botocore import hooks

_accepts_more = hooks.accepts_kwargs
_accepting: dict[CodeType, Any] = {}
_name_of = hooks.EventAliaser._alias_event_name
_names: dict[str, str] = {}


def _accepts_more_once(handler: Any) -> Any:
    # Not by the handler: that may be a method, of what is to be gone some day.
    code: CodeType | None = getattr(handler, "__code__", None)
    if code is None:
        return _accepts_more(handler)
    if code not in _accepting:
        _accepting[code] = _accepts_more(handler)
    return _accepting[code]


def _name_once(aliases: Any, event: str) -> str:
    if aliases._event_aliases is not hooks.EVENT_ALIASES:
        name: str = _name_of(aliases, event)
        return name
    if event not in _names:
        _names[event] = _name_of(aliases, event)
    return _names[event]


def remember_events() -> None:
    """Have this process work out each handler's signature and each event's name once."""
    hooks.accepts_kwargs = _accepts_more_once
    hooks.EventAliaser._alias_event_name = _name_once
