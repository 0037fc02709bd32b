"""What seals and opens values of this library's own form: the one place that chooses it."""

from __future__ import annotations

from encfields.message.one_pass import CellReader, FindKey, open_, seal

__all__ = ["CellReader", "FindKey", "open_", "seal"]
