"""What a form did, told once on the page that follows, and to the visitor alone who sent it."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict

from .explain import Trouble

MAX_WAITING = 1_000
"""Messages whose page was never asked for are forgotten, the oldest first."""

Message = str | Trouble


class Messages:
    """Messages under names that nobody can guess, which stand in the next page's address."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, Message] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, message: Message) -> str:
        """Keep one.

        :returns: its name.
        """
        name = secrets.token_urlsafe(9)
        with self._lock:
            self._waiting[name] = message
            while len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)
        return name

    def take(self, name: str | None) -> Message | None:
        """The message of this name, if it was not taken yet."""
        with self._lock:
            return self._waiting.pop(name, None) if name else None
