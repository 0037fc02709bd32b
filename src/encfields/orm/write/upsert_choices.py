"""Upserts in which the database chooses between the row's own and the inserted value.

``coalesce(excluded.ssn, table.ssn)`` keeps the value if none is inserted. Both values are sealed
for the row that is hit, if its key is the inserted one and stays. The blind index must be chosen in
the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Case, Column, LargeBinary, case, null, or_, type_coerce
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
"""SQLAlchemy's names for the alias of the inserted row, in ON CONFLICT and on MySQL."""


class ChosenValue(Grouping[Any]):
    """An expression that returns one of its values unchanged.

    It represents a ``coalesce()`` or CASE, each of whose values is known to belong in the row.
    """

    inherit_cache = True


def chosen_from(element: Any) -> list[Any]:
    """The values between which a ``coalesce()`` or CASE chooses; else the element itself."""
    if isinstance(element, coalesce):
        return list(element.clauses)
    if isinstance(element, Case) and element.value is None:
        return [result for _, result in element.whens] + [
            value for value in (element.else_,) if value is not None
        ]
    return [element]


def parts_of_choice(chosen: ChosenValue) -> Iterator[Any]:
    """The possible values, and the conditions that decide."""
    yield from chosen_from(chosen.element)
    if isinstance(chosen.element, Case):
        yield from (condition for condition, _ in chosen.element.whens)


def is_excluded(value: Any, column: Column[Any]) -> bool:
    """Whether `value` is the inserted value of the column, ``excluded.column`` or, on MySQL and
    MariaDB, ``inserted.column``.

    The alias may be of the table, or of its join with tables of subclasses that a mapped class is
    always loaded with.
    """
    return (
        isinstance(value, ColumnElement)
        and getattr(value, "key", None) == column.key
        and is_of_inserted_row(value)
        and any(hash(base) == hash(column) for base in value.base_columns)
    )


def is_of_inserted_row(value: Any) -> bool:
    """Whether `value` is a column of the row that an upsert would have inserted."""
    source = getattr(value, "table", None)
    return isinstance(source, Alias) and source.name in _INSERTED_ROW


def mark_choices(execution: WriteExecution) -> None:
    """Mark what SET chooses for encrypted columns, so that it can be recognised later.

    :raises UnsupportedOperationError: the blind index could be chosen differently from the value.
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
        if column is None or adoption_of(column) is not None:
            return value  # of an adoption it is marked already
        chosen = choice_of(value, column, is_mysql=is_mysql)
        if chosen is None:
            return value
        if column in indexed:
            refuse_changing_answers(value, column)
        return chosen

    execution.statement = internals.with_changed_upsert_values(execution.statement, marked)


def set_by_upsert(column: Column[Any], compiled: Any) -> list[list[Any]]:
    """What each ON CONFLICT clause that sets anything assigns to a column; a list is empty if a
    clause leaves the column."""
    parts = internals.one_statement_per_conflict_clause(internals.dml_statement(compiled))
    given = [internals.upsert_values(part) for part in parts]
    return [[value for name, value in pairs if name in _names(column)] for pairs in given if pairs]


def is_left_by_upsert(set_to: list[list[Any]]) -> bool:
    """Whether an upsert keeps an existing row's value while other columns change.

    :param set_to: from :func:`set_by_upsert`.
    """
    return not all(set_to)


def is_chosen_by_upsert(set_to: list[list[Any]]) -> bool:
    """Whether the database chooses between an existing row's value and another.

    :param set_to: from :func:`set_by_upsert`.
    """
    return any(isinstance(value, ChosenValue) for values in set_to for value in values)


def _names(column: Column[Any]) -> tuple[str, str]:
    return column.key, column.name


def choice_of(value: Any, column: Column[Any], *, is_mysql: bool) -> ChosenValue | None:
    """The value, marked, if the database chooses it from the inserted value and the row's own.

    MySQL and MariaDB assign one column after the other: a condition on a column of the row, which
    may have changed by then, could choose an index of another value.
    """
    if not isinstance(value, coalesce if is_mysql else (coalesce, Case)):
        return None
    values = chosen_from(value)
    if is_mysql:
        *first, values_last = values
        if not _is_own(values_last, column) or not all(is_excluded(v, column) for v in first):
            return None
    is_whole = all(
        is_excluded(choice, column) or _is_own(choice, column) or isinstance(choice, Null)
        for choice in values
    )
    return ChosenValue(value) if is_whole else None


def _is_own(value: Any, column: Column[Any]) -> bool:
    return hash(value) == hash(column)  # an annotated column has the same hash as its original


def index_of_choice(chosen: ChosenValue, column: Column[Any], index_column: Column[Any]) -> Any:
    """The blind index of the value that is chosen, or its plaintext during an adoption: a row that
    keeps its value keeps them too.

    :param index_column: the column of the index, or the plaintext's.
    :param chosen: what SET assigns to the encrypted column.
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


def as_case_over(chosen: ChosenValue, column: Column[Any], plain: Column[Any]) -> ChosenValue:
    """What is chosen during an adoption, in which a row's value may be in either column.

    :param chosen: from :func:`choice_of`.
    :param column: the encrypted column.
    :param plain: the plaintext column.
    """
    if not isinstance(chosen.element, coalesce):
        return chosen
    *first, last = chosen.element.clauses

    def has_value(value: Any) -> ColumnElement[bool]:
        own = internals.sibling_in(value, plain.key) if is_excluded(value, column) else plain
        return or_(type_coerce(value, LargeBinary).is_not(None), own.is_not(None))

    whens = [(has_value(value), value) for value in first if not isinstance(value, Null)]
    return ChosenValue(case(*whens, else_=last)) if whens else ChosenValue(last)


# -- conditions whose result may change -------------------------------------------------------

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
"""Functions that return the same within one statement for the same arguments."""


def refuse_changing_answers(chosen: Any, column: Column[Any]) -> None:
    """Refuse a CASE with a function that may return something else for the blind index.

    :raises UnsupportedOperationError: names the function.
    """
    if (called := changing_answer(chosen)) is not None:
        raise UnsupportedOperationError(
            "its blind index, or its plaintext, is chosen by the same condition, and "
            f"{called!r} may give another result when the database evaluates it again: decide by "
            "columns and values, or compute the result before the statement",
            table=column.table.name,
            column=column.name,
            reason="upsert",
        )


def changing_answer(chosen: Any) -> str | None:
    """The function in a CASE's conditions that may return something else the next time."""
    conditions = (condition for condition, _ in getattr(chosen, "whens", ()))
    called = (_may_change(e) for condition in conditions for e in visitors.iterate(condition))
    return next((name for name in called if name is not None), None)


def _may_change(element: Any) -> str | None:
    """The function called in an element; ``None`` if its result cannot change within a
    statement."""
    if isinstance(element, FunctionElement):
        name = str(getattr(element, "name", type(element).__name__))
        return None if name.lower() in _CONSTANT else name
    raw = element.text if isinstance(element, TextClause) else ""
    if isinstance(element, ColumnClause) and element.is_literal:
        raw = element.name
    return raw if "(" in raw else None
