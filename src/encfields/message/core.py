"""The implementation that seals and opens values in this library's own form.

:mod:`encfields.message.compiled` decides whether a compiled one is used, and tests it when the
    first of these names is needed. So other modules import this module and not its names: a program
    that is starting has no value to seal or open yet.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from encfields.message.compiled import MODULE, status

if TYPE_CHECKING:
    from encfields.message.one_pass import (
        CellReader,
        Cipher,
        OpenedCell,
        index_code,
        open_,
        open_kept,
        open_rows,
        reseal_many,
        seal,
        seal_many,
    )

__all__ = [
    "CellReader",
    "Cipher",
    "OpenedCell",
    "index_code",
    "open_",
    "open_kept",
    "open_rows",
    "reseal_many",
    "seal",
    "seal_many",
]


def _asked_for(name: str) -> Any:
    """A name of the chosen core; the first call defines all of them in this module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    core = importlib.import_module(MODULE if status().is_native else "encfields.message.one_pass")
    names = globals()
    for each in __all__:
        if each not in names:
            names[each] = getattr(core, each)
    return names[name]


if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = _asked_for
