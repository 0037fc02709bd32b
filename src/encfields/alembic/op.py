"""``alembic.op`` with this library's operations in its types.

``from encfields.alembic import op`` in a migration, or in ``script.py.mako``, is
``from alembic import op`` for Python, and lets a type checker see ``op.reencrypt()`` and its like.
"""

from __future__ import annotations

from typing import Any

from alembic import op as _op


def __getattr__(name: str) -> Any:
    return getattr(_op, name)
