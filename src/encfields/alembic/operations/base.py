"""The base class of operations, and one that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alembic.operations import MigrateOperation
from sqlalchemy.types import TypeEngine

from encfields.bulk.rows.spec import SealedColumn
from encfields.expected_arguments import FLAG, KEY_ID, TEXT, Expected, are_texts, is_type

ONE_COLUMN = Expected("a column's name, or SealedColumn(...)", lambda: (str, SealedColumn))
DECLARED_TYPE = Expected(
    'a type of SQLAlchemy\'s, such as String(20), or "declared"',
    lambda: (TypeEngine, type, str),
    lambda value: value == "declared" if isinstance(value, str) else is_type(value),
)
OPTIONS = {
    "schema": TEXT.or_none,
    "name": TEXT.or_none,
    "queue": FLAG,
    "guard": FLAG,
    "reindex": FLAG,
    "at_once": FLAG,
    "if_not_exists": FLAG,
    "destroy_keys": FLAG,
}
"""What operations take beside tables and columns; each has some of these."""

ONE_KEY = OPTIONS | {"key_id": KEY_ID}
"""The same for those of one key."""

BY_TABLE = Expected("a dictionary from a table's name to its columns", lambda: Mapping, are_texts)


class Operation(MigrateOperation):
    """Base class of this library's operations.

    :cvar verb: its name in ``op.<verb>``.
    """

    verb: str

    def arguments(self) -> tuple[Any, ...]:
        """Its arguments, for a diff."""
        raise NotImplementedError

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return (self.verb, *self.arguments())


class NothingOp(Operation):
    """The inverse of an operation that a downgrade does not undo."""

    verb = "encfields_nothing"

    def reverse(self) -> NothingOp:
        return self

    def arguments(self) -> tuple[Any, ...]:
        return ()
