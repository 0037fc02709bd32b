"""Values that an upsert's SET assigns directly, as in ``set_={"ssn": "..."}``.

SQLAlchemy makes such a value a bind of the column's type during compilation. We do so before, to be
able to recognise it. The value is sealed for the inserted row; the checks of upserts see to it that
the row that is hit has the same key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, bindparam, null
from sqlalchemy.sql.elements import BindParameter

from encfields.errors import AmbiguousRowError, EncFieldsError
from encfields.orm import internals
from encfields.orm.declare.columns import SealedColumnType
from encfields.orm.declare.table_indexes import indexes_of
from encfields.orm.internals import Assigned, BoundValue
from encfields.orm.write.application_bindparams import (
    takes_columns_type,
    typed_as,
    with_truth_as_literal,
)
from encfields.orm.write.hidden_values import veil_all
from encfields.orm.write.index_values import IndexedBind, source_of
from encfields.orm.write.pending import is_null
from encfields.orm.write.upsert import is_own_value

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.declare.row_keys import IdentityBind
    from encfields.orm.write.execution import WriteExecution


def bind_set_values(execution: WriteExecution) -> None:
    """Put values that SET assigns to encrypted columns and key columns into binds of their
    types."""
    if not internals.upsert_values(execution.statement):
        return
    columns = dict(_bound_columns(execution))

    def bound(key: str, value: Any) -> Any:
        column = columns.get(key)
        return value if column is None else _as_bind_of_column(value, column)

    execution.statement = internals.with_changed_upsert_values(execution.statement, bound)


def _bound_columns(execution: WriteExecution) -> Iterator[tuple[str, Column[Any]]]:
    """The columns whose values are recognised, by key and by name; a key takes precedence."""
    sealed = [binding.column for binding in execution.bindings.values()]
    keys = [column for binding in execution.bindings.values() for column in binding.identity]
    for column in (*keys, *sealed):
        yield column.name, column
    for column in (*keys, *sealed):
        yield column.key, column


def _as_bind_of_column(value: Any, column: Column[Any]) -> Any:
    value = with_truth_as_literal(value, column)
    if isinstance(value, BindParameter):
        if not takes_columns_type(value, column):
            return value
        bind = typed_as(value, column)
    elif internals.is_expression(value):
        return value
    else:
        bind = bindparam(None, value, type_=column.type, unique=True)
    if not isinstance(column.type, SealedColumnType):
        return bind
    if bind.unique and is_null(bind.effective_value, none_is_value=column.type.none_is_value):
        return null()
    veil_all(bind)
    return bind


def own_values(compiled: Any, statement: Any) -> dict[str, Assigned]:
    """The binds of values that SET assigns directly, by the keys of their columns."""
    binds: dict[str, Assigned] = {}
    by_name = {name: column for column in statement.table.c for name in (column.name, column.key)}
    by_name |= {column.key: column for column in statement.table.c}
    for key, value in internals.upsert_values(statement):
        column = by_name.get(key)
        if column is not None and is_own_value(value, column):
            name = internals.name_of_copy(compiled, value)
            if name is not None:
                binds[column.key] = BoundValue(name)
    return binds


def indexes_of_own_values(
    table: Any,
    row: Mapping[Any, Assigned],
    own: Mapping[str, Assigned],
    identity: Callable[[Column[Any]], IdentityBind | None],
    dialect: Dialect,
) -> Iterator[IndexedBind]:
    """The binds of the indexes of such values.

    :param row: what the inserted row's columns are assigned.
    :param own: the result of :func:`own_values`.
    :param identity: returns the bind of a key column.
    """
    for index in indexes_of(table):
        assigned = own.get(index.index_column.key)
        if isinstance(assigned, BoundValue):
            keys = [source.column.key for source in index.sources]
            sources = tuple(source_of(own.get(key, row.get(key))) for key in keys)
            key = tuple(identity(column) for column in index.key_columns)
            yield IndexedBind(assigned.bind, index, sources, key, index.forms(dialect))


def refuse_shared(binding: ColumnBinding) -> EncFieldsError:
    """The error for one value for the rows of several parameter sets."""
    return AmbiguousRowError(
        "one value in an upsert's SET would be for several rows, and one ciphertext cannot belong "
        "to all: execute it once for each row, or without RETURNING, or give the values to "
        "values() and statement.excluded to SET",
        table=binding.table,
        column=binding.column_name,
        reason="upsert",
    )
