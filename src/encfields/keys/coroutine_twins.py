"""Twins of blocking verbs, for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from encfields.keys.cache.key_cache import KeyCache


class Administers(Protocol):
    """Protocol of classes with verbs on keys."""

    _cache: KeyCache

    def _break_off(self) -> None:
        """Make a verb that runs on another thread start nothing more."""


A = TypeVar("A", bound=Administers)
P = ParamSpec("P")
T = TypeVar("T")


def twin_for_coroutines(
    verb: Callable[Concatenate[A, P], T],
) -> Callable[Concatenate[A, P], Coroutine[Any, Any, T]]:
    """A verb's coroutine twin, which does not block the event loop; cancelling stops the verb."""

    @wraps(verb)
    async def twin(self: A, /, *arguments: P.args, **named: P.kwargs) -> T:
        try:
            return await self._cache.runner.arun(partial(verb, self, *arguments, **named))
        except asyncio.CancelledError:
            self._break_off()
            raise

    owner, _, name = verb.__qualname__.rpartition(".")
    twin.__name__ = f"a{name}"
    twin.__qualname__ = f"{owner}.a{name}"
    twin.__doc__ = f":meth:`{name}` from a coroutine."
    return twin
