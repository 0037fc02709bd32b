"""What autogenerate refuses or postpones.

Migrations do not call these operations; they are rendered as comments, or as code that raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from encfields.alembic.operations.base import NothingOp, Operation

if TYPE_CHECKING:
    from encfields.alembic.operations.indexes import FillBlindIndexOp
    from encfields.alembic.operations.values import ConvertEncryptedOp, RebindOp


class RefusedChangeOp(Operation):
    """A change that no operation can make safely.

    :param column: the column.
    :param reason: one sentence on what was found.
    :param steps: what to do instead, one line each.
    :param upwards: whether this is in the upgrade.
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
    """A rebinding or conversion that other changes must precede.

    It becomes a comment: the next autogenerate, after those changes, writes the operation.
    """

    verb = "encfields_postponed_run"

    def __init__(self, run: RebindOp | ConvertEncryptedOp) -> None:
        self.run = run

    def reverse(self) -> PostponedRunOp:
        return self

    def arguments(self) -> tuple[Any, ...]:
        return self.run.arguments()


class PostponedFillOp(Operation):
    """The fill of an index whose column this revision adds.

    It becomes a comment with the operation for a revision of its own.
    """

    verb = "encfields_postponed_fill"

    def __init__(self, fill: FillBlindIndexOp) -> None:
        self.fill = fill

    def reverse(self) -> NothingOp:
        return NothingOp()

    def arguments(self) -> tuple[Any, ...]:
        return self.fill.arguments()
