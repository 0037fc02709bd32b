"""Comments that autogenerate writes in place of operations: what it refuses, and what must wait.

No migration calls them; they become comments in one, or code that refuses to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from encfields.alembic.operations.base import NothingOp, Operation

if TYPE_CHECKING:
    from encfields.alembic.operations.indexes import FillBlindIndexOp
    from encfields.alembic.operations.values import ConvertEncryptedOp, RebindOp


class RefusedChangeOp(Operation):
    """A change that autogenerate found and that no operation makes safely; never run as such.

    :param column: the column.
    :param reason: one sentence on what it is.
    :param steps: what to do instead, a line each.
    :param upwards: whether this is the upgrade's half.
    """

    verb = "refused_change"

    def __init__(
        self,
        table_name: str,
        column: str,
        reason: str,
        steps: Sequence[str],
        *,
        schema: str | None = None,
        upwards: bool = True,
    ) -> None:
        self.table_name = table_name
        self.column = column
        self.reason = reason
        self.steps = tuple(steps)
        self.schema = schema
        self.upwards = upwards

    def reverse(self) -> RefusedChangeOp:
        return RefusedChangeOp(
            self.table_name,
            self.column,
            self.reason,
            self.steps,
            schema=self.schema,
            upwards=not self.upwards,
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.schema, self.table_name, self.column, self.reason


class PostponedRunOp(Operation):
    """A rebinding or conversion that autogenerate found beside changes that have to come first.

    A comment in the migration: the next autogenerate, when those are made, writes the operation.
    """

    verb = "encfields_postponed_run"

    def __init__(self, run: RebindOp | ConvertEncryptedOp) -> None:
        self.run = run

    def reverse(self) -> PostponedRunOp:
        return self

    def arguments(self) -> tuple[Any, ...]:
        return self.run.arguments()


class PostponedFillOp(Operation):
    """The filling of an index whose column this revision only makes.

    A comment in the migration, with the operation for a revision of its own.
    """

    verb = "encfields_postponed_fill"

    def __init__(self, fill: FillBlindIndexOp) -> None:
        self.fill = fill

    def reverse(self) -> NothingOp:
        return NothingOp()

    def arguments(self) -> tuple[Any, ...]:
        return self.fill.arguments()
