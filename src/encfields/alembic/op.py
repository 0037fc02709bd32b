"""``alembic.op`` with this library's operations in its types.

At run time ``from encfields.alembic import op`` is the same as ``from alembic import op``; type
checkers see ``op.reencrypt()`` and the other operations.
"""

from __future__ import annotations

from typing import Any

from alembic import op as _op


def __getattr__(name: str) -> Any:
    return getattr(_op, name)
