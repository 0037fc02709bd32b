"""Sets the index's column wherever an UPDATE or upsert sets the encrypted column.

The statement is changed before it is compiled. An upsert that would set one without the other is
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table, bindparam, null
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import Null
from sqlalchemy.sql.selectable import Select

from encfields.orm import internals
from encfields.orm.adoption.columns import PlaintextColumn
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.declare.index_column_type import INDEX_OF_ROW
from encfields.orm.declare.table_indexes import indexes_of, known_indexes
from encfields.orm.write.upsert import is_own_value
from encfields.orm.write.upsert_choices import ChosenValue, index_of_choice, is_excluded

if TYPE_CHECKING:
    from encfields.orm.write.execution import WriteExecution
from encfields.orm.write.index_values import WRITTEN_BY_US, refused


def write_indexes_along(execution: WriteExecution) -> None:
    """Make an UPDATE or upsert set the index with the value."""
    indexes, statement = known_indexes(execution.table), execution.statement
    if isinstance(statement, Insert) and not isinstance(statement.select, Select | NoneType):
        execution.statement = statement = _without_own_defaults(statement, indexes)
    if not indexes:
        return
    if isinstance(statement, Insert):
        if internals.post_values_clause(statement) is not None:
            execution.statement = _upsert(statement, indexes)
        return
    added = _along(statement, indexes)
    if added:
        execution.statement = internals.with_update_values(statement, added)
    execution.multiparams = [_marked(row, indexes) for row in execution.multiparams]
    if execution.params:
        execution.params = _marked(execution.params, indexes)


def _without_own_defaults(statement: Insert, indexes: list[IndexBinding]) -> Insert:
    """An INSERT from a UNION or a text(), to which SQLAlchemy cannot add the defaults of columns.

    Those of our own would be NULL. Where the table has others, SQLAlchemy refuses it.
    """
    named = internals.select_source_names(statement)
    ours = {index.index_column.key for index in indexes}
    ours |= {c.key for c in statement.table.columns if isinstance(c, PlaintextColumn)}
    defaults = {c.key for c in statement.table.columns if c.default is not None}.difference(named)
    return internals.without_select_defaults(statement) if defaults <= ours else statement


def _along(statement: Update, indexes: list[IndexBinding]) -> dict[Column[Any], Any]:
    """What an UPDATE must assign to the indexes of columns set, or with ``onupdate``."""
    stated = internals.update_values_by_key(statement)
    added: dict[Column[Any], Any] = {}
    for index in indexes:
        columns = [source.column for source in index.sources]
        is_set = any(c.key in stated or c.onupdate is not None for c in columns)
        if is_set and index.index_column.key not in stated:
            is_null = any(isinstance(stated.get(c.key), Null) for c in columns)
            added[index.index_column] = null() if is_null else INDEX_OF_ROW
    return added


def _marked(row: Any, indexes: list[IndexBinding]) -> Any:
    """The parameters of one row, with those of the indexes."""
    if not isinstance(row, Mapping):
        return row
    added = {
        index.index_column.key: INDEX_OF_ROW
        for index in indexes
        if any(source.column.key in row for source in index.sources)
        and index.index_column.key not in row
    }
    return {**row, **added} if added else row


def _upsert(statement: Insert, indexes: list[IndexBinding]) -> Insert:
    """ON CONFLICT DO UPDATE sets the index where it sets the value."""
    given = internals.upsert_values(statement)
    keys = dict(given)
    added: list[tuple[Any, Any]] = []
    for index in indexes if given else ():
        values = [_set_by(keys, source.column) for source in index.sources]
        if any(isinstance(value, Null) for value in values):
            along: Any = null()
        elif any(value is None for value in values):
            continue
        elif isinstance(values[0], ChosenValue) and len(values) == 1:
            along = index_of_choice(values[0], index.sources[0].column, index.index_column)
        elif _is_of_own_values(index, values):
            kind = index.index_column.type
            along = bindparam(None, INDEX_OF_ROW, type_=kind, unique=True)
        else:
            along = internals.sibling_in(values[0], index.index_column.key)
        if along is not None and _set_by(keys, index.index_column) is None:
            added.append((index.index_column.key, along))
    return internals.with_upsert_values(statement, added) if added else statement


def refuse_half_upsert(statement: Any, table: Table) -> None:
    """Refuse an upsert whose SET has an indexed column, or its index, without the other.

    :raises CiphertextCopyError: says which.
    """
    given = dict(internals.upsert_values(statement))
    for index in indexes_of(table) if given else ():
        values = [_set_by(given, source.column) for source in index.sources]
        index_column = _set_by(given, index.index_column)
        if index_column is None and all(value is None for value in values):
            continue
        if isinstance(index_column, Null) and any(isinstance(value, Null) for value in values):
            continue
        columns = [index.index_column, *(source.column for source in index.sources)]
        pairs = zip([index_column, *values], columns, strict=True)
        if all(is_excluded(value, column) for value, column in pairs):
            continue
        if isinstance(index_column, ChosenValue) and isinstance(values[0], ChosenValue):
            continue
        if _is_of_own_values(index, values) and is_own_value(index_column, index.index_column):
            continue
        if index_column is None or any(value is None for value in values):
            raise refused(index, _not_all_inserted(statement, index))
        raise refused(index, WRITTEN_BY_US)


def _not_all_inserted(statement: Any, index: IndexBinding) -> str:
    """The fix if SET leaves, or may leave, some of an index's values unchanged."""
    inserted = "excluded" if hasattr(statement, "excluded") else "inserted"
    columns = [source.column for source in index.sources]
    written = ", ".join(f'"{column.key}": statement.{inserted}.{column.key}' for column in columns)
    return (
        f"its blind index {index.label!r} covers {', '.join(column.name for column in columns)}, "
        "some of which the row that is hit would keep, with values that the upsert does not know: "
        f"set each to its inserted value ({written}), or read the row and change it through the ORM"
    )


def _is_of_own_values(index: IndexBinding, values: list[Any]) -> bool:
    """Whether SET gives a plain value for one column of an index, and the inserted row's for the
    rest."""
    own = [
        is_own_value(value, source.column)
        for source, value in zip(index.sources, values, strict=True)
    ]
    return any(own) and all(
        is_own or is_excluded(value, source.column)
        for is_own, source, value in zip(own, index.sources, values, strict=True)
    )


def _set_by(given: Mapping[str, Any], column: Column[Any]) -> Any:
    """What SET assigns to a column: SQLAlchemy takes its key, and with a warning its name."""
    return given.get(column.key, given.get(column.name))
