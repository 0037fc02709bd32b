"""An upsert whose SET keeps the row's own value, or takes the inserted one, as the database finds.

``coalesce(excluded.ssn, table.ssn)`` keeps the value where none is inserted. Both values are
sealed for the row that is hit, as long as its key is the inserted one and stays. Its blind index
has to be chosen alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Case, Column, case, null
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ColumnClause, ColumnElement, Grouping, Null, TextClause
from sqlalchemy.sql.functions import FunctionElement, coalesce
from sqlalchemy.sql.selectable import Alias

from encfields.databases import MYSQL_NAMES
from encfields.errors import UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.table_indexes import known_indexes

if TYPE_CHECKING:
    from encfields.orm.write.execution import WriteExecution

_INSERTED_ROW = ("excluded", "inserted")
"""SQLAlchemy's names of the alias that stands for the inserted row, ON CONFLICT's and MySQL's."""


class ChosenValue(Grouping[Any]):
    """An expression that gives one of the values that it is made of, unchanged.

    It stands for a ``coalesce()`` or a CASE of which it was found out that each of its values
    belongs in the row.
    """

    inherit_cache = True


def chosen_from(element: Any) -> list[Any]:
    """The values that a ``coalesce()`` or a CASE gives one of; else the element itself."""
    if isinstance(element, coalesce):
        return list(element.clauses)
    if isinstance(element, Case) and element.value is None:
        return [result for _, result in element.whens] + [
            value for value in (element.else_,) if value is not None
        ]
    return [element]


def parts_of_choice(chosen: ChosenValue) -> Iterator[Any]:
    """The values that may be chosen, and the conditions that decide."""
    yield from chosen_from(chosen.element)
    if isinstance(chosen.element, Case):
        yield from (condition for condition, _ in chosen.element.whens)


def is_excluded(value: Any, column: Column[Any]) -> bool:
    """Whether `value` is the inserted value of the column, ``excluded.column`` or, on MySQL and
    MariaDB, ``inserted.column``.

    That is of an alias of the table, or of its join with the tables of subclasses that a mapped
    class is always loaded with.
    """
    source = getattr(value, "table", None)
    return (
        isinstance(value, ColumnElement)
        and getattr(value, "key", None) == column.key
        and isinstance(source, Alias)
        and source.name in _INSERTED_ROW
        and any(hash(base) == hash(column) for base in value.base_columns)
    )


def mark_choices(execution: WriteExecution) -> None:
    """Mark what SET chooses for encrypted columns, so that it is told apart later.

    :raises UnsupportedOperationError: the blind index could be chosen otherwise than the value.
    """
    given = internals.upsert_values(execution.statement)
    sealed = {name: b.column for b in execution.bindings.values() for name in _names(b.column)}
    if not any(key in sealed and internals.is_expression(value) for key, value in given):
        return
    is_mysql = execution.connection.dialect.name in MYSQL_NAMES

    indexed = {
        source.column for index in known_indexes(execution.table) for source in index.sources
    }

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
        is_excluded(choice, column) or _is_own(choice, column) or isinstance(choice, Null)
        for choice in values
    )


def _is_own(value: Any, column: Column[Any]) -> bool:
    return hash(value) == hash(column)  # an annotated column hashes as what it was made of


def index_of_choice(chosen: ChosenValue, column: Column[Any], index_column: Column[Any]) -> Any:
    """The blind index of the value that is chosen.

    :param index_column: the column that holds the index.
    :param chosen: what SET gives the encrypted column.
    :param column: the encrypted column.
    """

    def along(value: Any) -> Any:
        if isinstance(value, Null):
            return null()
        is_inserted = is_excluded(value, column)
        return internals.sibling_in(value, index_column.key) if is_inserted else index_column

    element: Any = chosen.element
    if isinstance(element, coalesce):
        *first, last = element.clauses
        whens = [(value.is_not(None), along(value)) for value in first]
        return ChosenValue(case(*whens, else_=along(last)) if whens else along(last))
    otherwise = null() if element.else_ is None else along(element.else_)
    whens = [(condition, along(result)) for condition, result in element.whens]
    return ChosenValue(case(*whens, else_=otherwise))


# -- conditions that change their answer -------------------------------------------------------

_CONSTANT = frozenset(
    {
        "abs",
        "avg",
        "btrim",
        "ceil",
        "ceiling",
        "char_length",
        "coalesce",
        "concat",
        "count",
        "current_date",
        "current_timestamp",
        "date",
        "date_part",
        "date_trunc",
        "floor",
        "greatest",
        "ifnull",
        "least",
        "left",
        "length",
        "localtimestamp",
        "lower",
        "ltrim",
        "max",
        "min",
        "mod",
        "now",
        "nullif",
        "octet_length",
        "replace",
        "right",
        "round",
        "rtrim",
        "sign",
        "strftime",
        "substr",
        "substring",
        "sum",
        "trim",
        "upper",
    }
)
"""Functions that give the same within one statement for the same arguments."""


def refuse_changing_answers(chosen: Case[Any], column: Column[Any]) -> None:
    """Refuse a CASE that calls a function which may answer again for the column's blind index.

    :raises UnsupportedOperationError: names what is called.
    """
    for condition, _ in chosen.whens:
        for element in visitors.iterate(condition):
            if (called := _may_change(element)) is not None:
                raise UnsupportedOperationError(
                    f"its blind index is chosen by the same condition, and {called!r} may answer "
                    "differently when the database asks it again: decide by columns and values, "
                    "or work the answer out before the statement",
                    table=column.table.name,
                    column=column.name,
                    reason="upsert",
                )


def _may_change(element: Any) -> str | None:
    """What is called in an element; ``None`` if its answer stays within a statement."""
    if isinstance(element, FunctionElement):
        name = str(getattr(element, "name", type(element).__name__))
        return None if name.lower() in _CONSTANT else name
    raw = element.text if isinstance(element, TextClause) else ""
    if isinstance(element, ColumnClause) and element.is_literal:
        raw = element.name
    return raw if "(" in raw else None
