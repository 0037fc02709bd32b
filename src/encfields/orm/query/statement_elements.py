"""Every element of a statement once, in whatever part of it it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.elements import BinaryExpression, ClauseList, Grouping
from sqlalchemy.sql.functions import count
from sqlalchemy.sql.selectable import Select

from encfields.orm import internals
from encfields.orm.query.application_elements import parts_kept
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
