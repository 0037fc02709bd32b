"""What the operations do: on a database, or, in ``--sql`` mode, as a guard in the script."""

from __future__ import annotations

# Importing these registers what they define with Alembic.
from encfields.alembic.implementations import adoptions, keys, values

__all__ = ["adoptions", "keys", "values"]
