"""What a forked child starts with: nothing of its parent's threads, clients and locks."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_forked_child(function: Callable[[], object]) -> None:
    """Have `function` called in every child that is forked from now on.

    Windows has no ``fork``: there nothing is to be done.
    """
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        register(after_in_child=function)
