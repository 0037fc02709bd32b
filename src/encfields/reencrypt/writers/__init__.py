"""Writing a batch: one way per database, and one for every other."""

from __future__ import annotations

from encfields.reencrypt.writers.base import Writer, writer_for

__all__ = ["Writer", "writer_for"]
