"""The specification of encfields, as tests: one directory per concern."""

from __future__ import annotations
