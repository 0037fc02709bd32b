"""ON CONFLICT's target: an encrypted column there stands for its unique blind index.

No two ciphertexts are alike, so that the database has no unique index on the column itself: what
``unique=True`` asks for is on the column of the blind index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table

from encfields.errors import EncFieldsError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.declare.blind_index import known_indexes
from encfields.orm.write.upsert import targeted_name

if TYPE_CHECKING:
    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.write.execution import WriteExecution


def target_indexes(execution: WriteExecution) -> None:
    """Have a conflict target name blind indexes in the place of encrypted columns.

    :raises UnsupportedOperationError: a column in it has no index under which equal values, and
        no others, look alike.
    """
    elements = internals.conflict_elements(execution.statement)
    encrypted = {binding.column.name: binding for binding in execution.bindings.values()}
    named = [encrypted.get(targeted_name(element) or "") for element in elements]
    if not any(named):
        return
    is_alone = len(named) == 1
    target = [
        element if binding is None else _index_of(binding, execution.table, is_alone=is_alone)
        for element, binding in zip(elements, named, strict=True)
    ]
    execution.statement = internals.with_conflict_elements(execution.statement, target)


def _index_of(binding: ColumnBinding, table: Table, *, is_alone: bool) -> Column[Any]:
    """The column in which the database finds a second row of the same value.

    :param is_alone: whether the target is of this column alone, whose index is then unique by
        itself: that of its letters regardless of case, for one.
    """
    full = [
        index
        for index in known_indexes(table)
        if index.is_full and [source.column for source in index.sources] == [binding.column]
    ]
    unique = [index for index in full if index.unique] if is_alone else []
    found = [index for index in (*unique, *full) if index.is_exact] or unique
    if not found:
        raise _refusal(binding)
    return found[0].companion


def _refusal(binding: ColumnBinding) -> EncFieldsError:
    return UnsupportedOperationError(
        "it is the target of ON CONFLICT, and no two ciphertexts are alike: give the column "
        "index=BlindIndex(unique=True), which is asked in its place",
        table=binding.table,
        column=binding.column_name,
        reason="upsert",
    )
