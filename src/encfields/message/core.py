"""What seals and opens values of this library's own form: the one place that chooses it.

:mod:`encfields.native_core` says whether there is a compiled one that may be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from encfields.message.one_pass import FindKey
from encfields.native_core import status

if TYPE_CHECKING or not status().is_native:
    from encfields.message.one_pass import CellReader, open_, seal
else:
    from encfields_native import CellReader, open_, seal

__all__ = ["CellReader", "FindKey", "open_", "seal"]
