"""What seals and opens values of this library's own form: the one place that chooses it.

:mod:`encfields.message.compiled` says whether there is a compiled one that may be used. It tries
it when it is asked, and is asked for the first of these names. So who uses them imports this
module and not a name of it: a program that starts has no value to seal or open yet.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from encfields.message.compiled import MODULE, status

if TYPE_CHECKING:
    from encfields.message.one_pass import (
        CellReader,
        OpenedCell,
        open_,
        open_rows,
        reseal_many,
        seal,
        seal_many,
    )

__all__ = [
    "CellReader",
    "OpenedCell",
    "open_",
    "open_rows",
    "reseal_many",
    "seal",
    "seal_many",
]


def _asked_for(name: str) -> Any:
    """A name of the chosen core; after the first one this module has all of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    core = importlib.import_module(MODULE if status().is_native else "encfields.message.one_pass")
    names = globals()
    for each in __all__:
        names.setdefault(each, getattr(core, each))
    return names[name]


if not TYPE_CHECKING:  # a checker would take any name for one of this module
    __getattr__ = _asked_for
