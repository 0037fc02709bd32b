"""What the operations do: on a database, or, in ``--sql`` mode, as a guard in the script.

=============  ======================================================
``values``     operations on values and their blind indexes
``keys``       on keys
``adoptions``  on columns that are adopted, and how these are written
``running``    runs within a migration
``script``     guards, and comments, for a script
=============  ======================================================
"""

from __future__ import annotations

# Importing these registers what they define with Alembic.
from encfields.alembic.implementations import adoptions, keys, values

__all__ = ["adoptions", "keys", "values"]
