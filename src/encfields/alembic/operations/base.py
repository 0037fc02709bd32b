"""What all operations have in common, and the one that does nothing."""

from __future__ import annotations

from typing import Any

from alembic.operations import MigrateOperation


class Operation(MigrateOperation):
    """One of ours.

    :cvar verb: its name as ``op.<verb>``.
    """

    verb: str

    def arguments(self) -> tuple[Any, ...]:
        """What it was called with, for a diff."""
        raise NotImplementedError

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return (self.verb, *self.arguments())


class NothingOp(Operation):
    """The inverse of what is left as it is by a downgrade."""

    verb = "encfields_nothing"

    def reverse(self) -> NothingOp:
        return self

    def arguments(self) -> tuple[Any, ...]:
        return ()
