"""Resets threads, clients and locks in a forked child."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_forked_child(function: Callable[[], object]) -> None:
    """Call `function` in every child forked from now on. Does nothing on Windows, which has no
    ``fork``.
    """
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        register(after_in_child=function)
