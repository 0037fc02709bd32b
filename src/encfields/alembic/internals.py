"""The one place where private names of Alembic are read; nothing is written.

Read::

    alembic.runtime.migration.MigrationContext  _in_external_transaction
    alembic.autogenerate.api.AutogenContext     _name_filters
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def is_in_external_transaction(context: Any) -> bool:
    """Whether the connection was in a transaction when Alembic was given it."""
    return bool(context._in_external_transaction)


def add_name_filter(autogen_context: Any, keep: Callable[[Any, Any, Any], bool]) -> None:
    """Have autogenerate look only at what a filter keeps, beside the filters of ``env.py``.

    :param keep: is given a name, its kind (``"table"``) and the names of what it is in.
    """
    autogen_context._name_filters.append(keep)
