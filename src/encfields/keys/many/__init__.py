"""One verb on many keys: which are meant, the work on each by itself, and what became of them."""

from __future__ import annotations
