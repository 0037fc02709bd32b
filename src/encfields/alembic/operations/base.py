"""The base class of operations, and one that does nothing."""

from __future__ import annotations

from typing import Any

from alembic.operations import MigrateOperation


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
