"""An upsert whose SET keeps the row's own value, or takes the inserted one, as the database finds.

``coalesce(excluded.ssn, table.ssn)`` keeps the value where none is inserted. Both values are
sealed for the row that is hit, as long as its key is the inserted one and stays. Its blind index
has to be chosen alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, case, null
from sqlalchemy.sql.elements import Case, Null
from sqlalchemy.sql.functions import coalesce

from encfields.orm import internals
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.blind_index import known_indexes
from encfields.orm.declare.row_keys import MYSQL_NAMES
from encfields.orm.query.chosen_value import ChosenValue, chosen_from
from encfields.orm.write.changing_answers import refuse_changing_answers
from encfields.orm.write.upsert import is_excluded

if TYPE_CHECKING:
    from encfields.orm.write.execution import WriteExecution


def mark_choices(execution: WriteExecution) -> None:
    """Mark what SET chooses for encrypted columns, so that it is told apart later.

    :raises UnsupportedOperationError: the blind index could be chosen otherwise than the value.
    """
    given = internals.upsert_values(execution.statement)
    sealed = {name: b.column for b in execution.bindings.values() for name in _names(b.column)}
    if not any(key in sealed and internals.is_expression(value) for key, value in given):
        return
    is_mysql = execution.connection.dialect.name in MYSQL_NAMES

    indexed = {one.column for index in known_indexes(execution.table) for one in index.sources}

    def marked(key: str, value: Any) -> Any:
        column = sealed.get(key)
        if column is None or not _is_choice(value, column, is_mysql=is_mysql):
            return value
        if column in indexed and isinstance(value, Case):
            refuse_changing_answers(value, column)
        return ChosenValue(value)

    execution.statement = internals.with_changed_upsert_values(execution.statement, marked)


def _names(column: Column[Any]) -> tuple[str, str]:
    return column.key, column.name


def _is_choice(value: Any, column: Column[Any], *, is_mysql: bool) -> bool:
    """Whether `value` is the inserted value or the row's own, whichever the database finds.

    MySQL and MariaDB assign one column after the other: what asks a column of the row, which may
    be changed by then, could choose an index that is not the chosen value's.
    """
    if not isinstance(value, coalesce if is_mysql else (coalesce, Case)):
        return False
    values = chosen_from(value)
    if is_mysql:
        *first, values_last = values
        if not _is_own(values_last, column) or not all(is_excluded(v, column) for v in first):
            return False
    return adoption_of(column) is None and all(
        is_excluded(one, column) or _is_own(one, column) or isinstance(one, Null) for one in values
    )


def _is_own(value: Any, column: Column[Any]) -> bool:
    return hash(value) == hash(column)  # an annotated column hashes as what it was made of


def index_of_choice(chosen: ChosenValue, column: Column[Any], companion: Column[Any]) -> Any:
    """The blind index of the value that is chosen.

    :param companion: the column that holds the index.
    """

    def along(value: Any) -> Any:
        if isinstance(value, Null):
            return null()
        is_inserted = is_excluded(value, column)
        return internals.sibling_in(value, companion.key) if is_inserted else companion

    element: Any = chosen.element
    if isinstance(element, coalesce):
        *first, last = element.clauses
        whens = [(value.is_not(None), along(value)) for value in first]
        return ChosenValue(case(*whens, else_=along(last)) if whens else along(last))
    otherwise = null() if element.else_ is None else along(element.else_)
    whens = [(condition, along(result)) for condition, result in element.whens]
    return ChosenValue(case(*whens, else_=otherwise))
