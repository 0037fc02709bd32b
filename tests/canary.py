"""Where scripts beside the suite look for the search that ``encfields.testing`` has."""

from __future__ import annotations

from encfields.testing import assert_absent

__all__ = ["assert_absent"]
