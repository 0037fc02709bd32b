"""Implementations of the operations, on a database or, in ``--sql`` mode, as guards in the script.

=============  ======================================================
``values``     operations on values and their blind indexes
``keys``       operations on keys
``adoptions``  steps of an adoption, and their rendering
``running``    runs within a migration
``script``     guards, and comments, for a script
=============  ======================================================
"""

from __future__ import annotations

# Imported to register with Alembic.
from encfields.alembic.implementations import adoptions, keys, values

__all__ = ["adoptions", "keys", "values"]
