"""The only module that reads private names of Alembic; none is written.

Read::

    alembic.runtime.migration.MigrationContext  _in_external_transaction
    alembic.autogenerate.api.AutogenContext     _name_filters
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def is_in_external_transaction(context: Any) -> bool:
    """Whether the connection was in a transaction when Alembic got it."""
    return bool(context._in_external_transaction)


def add_name_filter(autogen_context: Any, keep: Callable[[Any, Any, Any], bool]) -> None:
    """Add a name filter to autogenerate, besides those of ``env.py``.

    :param keep: gets a name, its kind (``"table"``) and the names of its parents.
    """
    autogen_context._name_filters.append(keep)
