"""Finds what a subquery, a UNION among them, has of the row of one of its encrypted columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy import Column, Table, select
from sqlalchemy.sql.elements import ColumnElement

from encfields.orm.declare.columns import binding_of
from encfields.orm.query.comparison import BlindValue
from encfields.orm.query.functional_dependencies import determined_by
from encfields.orm.read.union_reads import Branch, Union, branches_of, is_no_value


def _origins(expression: Any) -> frozenset[int]:
    """The selectables that a column passed through, which distinguish two aliases of a table."""
    origins: set[int] = set()
    for column in expression.proxy_set:
        table = getattr(column, "table", None)
        if table is not None:
            origins.add(id(table))
        elif isinstance(column, BlindValue):
            origins |= _origins(column.clause)
    return frozenset(origins)


def same_row(one: Any, other: Any) -> bool:
    """Whether two columns of one table, alias or subquery come from the same row of a table."""
    return _origins(one) == _origins(other)


def proxies(column: Any, expression: Any, via: tuple[Any, ...], sources: Iterable[Any]) -> bool:
    """Whether a subquery's column represents `expression` in it.

    It does not if it comes from another of the inner SELECT's sources: an alias of the same table
    has other rows.

    :param via: the subquery, and those within it that the column passed through.
    :param column: the subquery's.
    :param sources: what the innermost of them selects from.
    """
    if getattr(column, "table", None) is not via[0] or not hasattr(column, "proxy_set"):
        return False
    stands_for = {hash(source) for source in column.proxy_set}
    if hash(expression) not in stands_for or not _origins(column) >= {id(one) for one in via}:
        return False
    inner = {hash(source) for source in sources}
    return inner & _tables(column) == inner & _tables(expression)


def _tables(column: Any) -> set[int]:
    """The selectables that a column passed through, by what an annotated copy shares with them."""
    tables = (getattr(source, "table", None) for source in column.proxy_set)
    return {hash(table) for table in tables if table is not None}


def is_in_each(
    union: Union, candidate: Any, key: Column[Any], may_be: Callable[[Any], bool]
) -> bool:
    """Whether a UNION's column is `key` of the value's row in each SELECT that has a value.

    :param may_be: whether a column may be beside NULL in the other SELECTs.
    """
    place = next((n for n in range(len(union.columns)) if union.beside(n) is candidate), None)
    if place is None:
        return False
    pairs = [(branch[union.place], branch[place]) for branch in union.branches]
    values = [(value, beside) for value, beside in pairs if not is_no_value(value)]
    if len(values) == len(pairs) and not same_row(candidate, union.expression):
        return False
    return all(may_be(beside) for value, beside in pairs if is_no_value(value)) and all(
        not any(_is_of(key.table, base) for base in value.base_columns)
        or (any(base is key for base in beside.base_columns) and same_row(beside, value))
        for value, beside in values
    )


def _is_of(table: Any, expression: Any) -> bool:
    return getattr(expression, "table", None) is table


def beside_null(key: Column[Any], source: Column[Any]) -> Callable[[Any], bool]:
    """What a SELECT of a UNION may have for `key` where it has NULL for an encrypted column.

    Whose row NULL is of does not matter to its key; but no other value may take its place.
    """
    is_of_key = key.primary_key or key in binding_of(source).bound_to
    return _is_anything if is_of_key else is_no_value


def _is_anything(element: Any) -> bool:
    return True


def has_null_branch(expression: Any) -> bool:
    """Whether a SELECT of the UNION that it comes from has NULL in its place."""
    if expression.table is None or isinstance(expression.table, Table):
        return False
    return any(is_no_value(branch.value) for branch in branches_of(expression))


def looked_up(
    key: Column[Any], primary_key: dict[Column[Any], ColumnElement[Any]], subquery: Any
) -> ColumnElement[Any]:
    """The column `key` of a row, as a subquery of its own.

    :param primary_key: the columns of `subquery` that are the row's whole primary key.
    :param key: a column of the row's table.
    """
    row = key.table.alias()
    is_row = [row.c[column.key] == value for column, value in primary_key.items()]
    return select(row.c[key.key]).where(*is_row).correlate(subquery).scalar_subquery()


Siblings = Callable[[Any], Iterable[ColumnElement[Any]]]


def equal_keys(
    expression: Any, siblings_of: Siblings, may_be: Callable[[Any], bool]
) -> Iterator[ColumnElement[Any]]:
    """Columns beside `expression` in its subquery that equal its row's key.

    :param siblings_of: returns the key columns of a column's row, within the subquery.
    :param may_be: whether a column may be beside NULL in one of its SELECTs.
    """
    places = [_places(branch, siblings_of, may_be) for branch in branches_of(expression)]
    columns = list(expression.table.c)
    for n in sorted(set.intersection(*places) if places else ()):
        yield columns[n]


def _places(branch: Branch, siblings_of: Siblings, may_be: Callable[[Any], bool]) -> set[int]:
    """Positions in a SELECT of columns that can only have the same value as the row's key."""
    if is_no_value(branch.value):
        return {n for n, column in enumerate(branch.columns) if may_be(column)}
    if getattr(branch.value, "table", None) is None:
        return set()
    keys = {hash(column) for column in siblings_of(branch.value)}
    return {
        n
        for n, column in enumerate(branch.columns if keys else ())
        if keys & determined_by({hash(column)}, branch.select)
    }
