"""A row's key under another column's name, in what a subquery selects.

A subclass's ``id`` is the column of its own table, and the values of its parent's table are bound
to the parent's. The subquery's own conditions set the two equal, so the one stands for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy.sql.elements import ColumnElement

from encfields.orm.query.settled import settled_by
from encfields.orm.read.branches import Branch, branches_of

Siblings = Callable[[Any], Iterable[ColumnElement[Any]]]


def equal_keys(expression: Any, siblings_of: Siblings) -> Iterator[ColumnElement[Any]]:
    """Columns beside `expression`, in the subquery that it is of, that equal its row's key.

    :param siblings_of: gives the columns that are the key of a column's row, within the subquery.
    """
    places = [_places(branch, siblings_of) for branch in branches_of(expression)]
    columns = list(expression.table.c)
    for n in sorted(set.intersection(*places) if places else ()):
        yield columns[n]


def _places(branch: Branch, siblings_of: Siblings) -> set[int]:
    """Where a SELECT has what cannot have a value without the row's key having the same."""
    if getattr(branch.value, "table", None) is None:
        return set()
    keys = {hash(one) for one in siblings_of(branch.value)}
    return {
        n
        for n, one in enumerate(branch.columns if keys else ())
        if keys & settled_by({hash(one)}, branch.select)
    }
