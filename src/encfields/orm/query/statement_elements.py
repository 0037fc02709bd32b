"""Every element of a statement once, in whatever part of it it stands.

SQLAlchemy sees no parts in an element of an application's own, compiled with ``@compiles``, that
names none to it. So what such an element keeps in its attributes is looked at as well: it may hold
an encrypted column, to compare it with ``==`` as it is compiled, for instance. What it writes
:mod:`~encfields.orm.query.application_sql` sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Table
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


def no_element(element: Any) -> bool:
    """Whether an element is exchanged by a compiler that exchanges none."""
    return False


def every_element(root: Any, is_exchanged: Callable[[Any], bool] = no_element) -> Iterator[Any]:
    """Every element of the statement once; a column that ``count()`` counts is left out.

    :param is_exchanged: whether an element is looked up where it is compiled: a row of columns in
        it is none of the database's.
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
            stack.extend(internals.select_parts(element))
        elif isinstance(element, BinaryExpression) and is_exchanged(element):
            stack.extend((*_parts_of_row(element.left), *_parts_of_row(element.right)))
        elif not isinstance(element, Table):
            stack.extend(tuple(element.get_children()) or parts_kept(element))


def _parts_of_row(side: Any) -> Iterator[Any]:
    """What a list, a row or a list of rows is made of; anything else is its own part."""
    element = side.element if isinstance(side, Grouping) else side
    if isinstance(element, ClauseList):
        for part in element.clauses:
            yield from _parts_of_row(part)
    else:
        yield side


_OF_OTHERS = frozenset(("sqlalchemy", "encfields", "builtins", "typing", "abc"))


def parts_kept(element: Any) -> Iterator[Any]:
    """What an element of the application's own has in its attributes, if it has no children."""
    if not is_of_application(element) or isinstance(element, ColumnClause | BindParameter | count):
        return
    if isinstance(element, FromClause) and not isinstance(element, FunctionElement):
        return
    for value in vars(element).values():
        yield from _clauses_in(value)


def is_of_application(element: Any) -> bool:
    """Whether an element's class, or one that it is made of, is neither SQLAlchemy's nor ours."""
    cls: Any = type(element)
    return _is_of_application(cls)


@lru_cache(maxsize=1000)
def _is_of_application(cls: Any) -> bool:
    return any(one.__module__.partition(".")[0] not in _OF_OTHERS for one in cls.__mro__)


def _clauses_in(value: Any) -> Iterator[Any]:
    """The elements that an attribute is, or has in its lists, sets and dictionaries."""
    if isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _clauses_in(part)
    elif isinstance(value, Mapping):
        yield from _clauses_in([*value.values()])
    elif isinstance(value, ClauseElement):
        yield value
    elif hasattr(value, "__clause_element__"):
        yield value.__clause_element__()
