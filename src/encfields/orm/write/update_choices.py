"""``UPDATE .. SET ssn = coalesce(:new, ssn)``: the new value if there is one, else the old.

Whether there is one is known before the statement is compiled, which then sets the value, or leaves
the column out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam
from sqlalchemy.sql.elements import BindParameter, Null
from sqlalchemy.sql.functions import coalesce
from sqlalchemy.types import TypeDecorator

from encfields.orm import internals
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.query.comparison import is_converted

if TYPE_CHECKING:
    from sqlalchemy import Column

    from encfields.orm.write.execution import WriteExecution


def decide_values(execution: WriteExecution) -> None:
    """Have encrypted columns set to values, or left out, in the place of a ``coalesce()`` with the
    column itself.

    What is not decided is refused where the statement is compiled: of several parameter sets, or
    where nothing else would be set.
    """
    given = internals.update_values(execution.statement)
    if not any(isinstance(value, coalesce) for _, value in given) or len(execution.rows) != 1:
        return
    by_key = internals.update_values_by_key(execution.statement)
    for key, value in by_key.items():
        binding = execution.bindings.get(key)
        new = None if binding is None else _new_value(value, binding.column)
        if binding is not None and new is not None:
            _decide(execution, binding.column, new, is_only=len(given) == 1)
            given = internals.update_values(execution.statement)


def _new_value(value: Any, column: Column[Any]) -> BindParameter[Any] | None:
    """The first argument of a ``coalesce()`` of a value and the column itself.

    SQLAlchemy takes ``None`` there for ``null()``.
    """
    parts = list(value.clauses) if isinstance(value, coalesce) else []
    if len(parts) != 2 or hash(parts[1]) != hash(column):  # annotated, it hashes as its original
        return None
    # A user's own type may store a value as NULL, and a type of the value's another one.
    if isinstance(getattr(column.type, "inner", None), TypeDecorator):
        return None
    new = bindparam(None, None, unique=True) if isinstance(parts[0], Null) else parts[0]
    if not isinstance(new, BindParameter) or is_converted(new):
        return None
    return None if adoption_of(column) is not None else new


def _decide(
    execution: WriteExecution, column: Column[Any], new: BindParameter[Any], *, is_only: bool
) -> None:
    row = execution.rows[0]
    if new.key in row:
        value = row[new.key]
    elif new.required:
        return  # SQLAlchemy says that it lacks one
    else:
        value = new.effective_value
    if value is None and (is_only or column.onupdate is not None):
        return
    added = {}
    if value is not None:
        added[column] = bindparam(None, value, type_=column.type, unique=True)
    execution.statement = internals.with_replaced_values(execution.statement, column, added)
