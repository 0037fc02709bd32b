"""Set-up of a checkout; nothing here is installed with the package."""

from __future__ import annotations
