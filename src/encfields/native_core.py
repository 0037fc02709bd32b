"""Whether values are sealed and opened by the compiled core, and why if not."""

from __future__ import annotations

from encfields.message.compiled import Status, status

__all__ = ["Status", "status"]
