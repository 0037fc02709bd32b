"""Iterates over every element of a statement once, in all its parts.

SQLAlchemy sees no parts in an element of an application's own, compiled with ``@compiles``, that
names none to it. So what such an element keeps in its attributes is looked at as well: it may hold
an encrypted column, to compare it with ``==`` as it is compiled, for instance. What it writes
:mod:`~encfields.orm.query.application_sql` sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    ClauseElement,
    ClauseList,
    ColumnClause,
    Grouping,
)
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import FromClause, Select

from encfields.orm import internals
from encfields.orm.write.upsert_choices import ChosenValue, parts_of_choice


def elements_of(compiled: Any) -> Iterator[Any]:
    """Every element of the statement behind `compiled`."""
    return every_element(internals.compiled_statement(compiled))


def exchanges_nothing(element: Any) -> bool:
    """For a compiler that replaces no elements."""
    return False


def every_element(
    root: Any, is_exchanged: Callable[[Any], bool] = exchanges_nothing
) -> Iterator[Any]:
    """Every element of the statement once, except columns inside ``count()``.

    :param is_exchanged: whether the compiler replaces an element with a look-up, so that the
        database does not see a row of columns in it.
    """
    stack, seen = [root], set()
    while stack:
        element = stack.pop()
        if id(element) in seen:
            continue
        seen.add(id(element))
        yield element
        if isinstance(element, count):
            stack.extend(element.clauses)
        elif isinstance(element, ChosenValue):
            stack.extend(parts_of_choice(element))
        elif isinstance(element, Select):
            stack.extend(_one_by_one(element, internals.select_parts(element)))
        elif isinstance(element, BinaryExpression) and is_exchanged(element):
            stack.extend((*_parts_of_row(element.left), *_parts_of_row(element.right)))
        elif not isinstance(element, Table):
            parts = tuple(element.get_children()) or parts_kept(element)
            is_write = isinstance(element, UpdateBase)
            stack.extend(_one_by_one(element, parts) if is_write else parts)


def _one_by_one(statement: Any, parts: Iterable[Any]) -> Iterator[Any]:
    """The parts of a statement, with each column by itself of those that are given at once."""
    at_once = internals.column_lists(statement)
    for part in parts:
        yield from part.clauses if id(part) in at_once else (part,)


def _parts_of_row(side: Any) -> Iterator[Any]:
    """The parts of a list, a row or a list of rows; anything else is its own part."""
    element = side.element if isinstance(side, Grouping) else side
    if isinstance(element, ClauseList):
        for part in element.clauses:
            yield from _parts_of_row(part)
    else:
        yield side


_OF_OTHERS = frozenset(("sqlalchemy", "encfields", "builtins", "typing", "abc"))


def parts_kept(element: Any) -> Iterator[Any]:
    """The elements in the attributes of an application's element that has no children."""
    if not is_of_application(element) or isinstance(element, ColumnClause | BindParameter | count):
        return
    if isinstance(element, FromClause) and not isinstance(element, FunctionElement):
        return
    for value in vars(element).values():
        yield from _clauses_in(value)


def is_of_application(element: Any) -> bool:
    """Whether an element's class, or one of its bases, is neither SQLAlchemy's nor ours."""
    cls: Any = type(element)
    return _is_of_application(cls)


@lru_cache(maxsize=1000)
def _is_of_application(cls: Any) -> bool:
    return any(one.__module__.partition(".")[0] not in _OF_OTHERS for one in cls.__mro__)


def _clauses_in(value: Any) -> Iterator[Any]:
    """The elements in an attribute, including its lists, sets and dictionaries."""
    if isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _clauses_in(part)
    elif isinstance(value, Mapping):
        yield from _clauses_in([*value.values()])
    elif isinstance(value, ClauseElement):
        yield value
    elif hasattr(value, "__clause_element__"):
        yield value.__clause_element__()
