"""For Alembic's ``env.py``; needs the ``alembic`` extra."""

from __future__ import annotations

from encfields.alembic.rendering import render_item

__all__ = ["render_item"]
