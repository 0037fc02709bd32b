"""Elements of an application's own, which it compiles itself with ``@compiles``.

SQLAlchemy sees no columns in one that names none to it, and so a statement can be looked through
without finding what it gives to the database. What it keeps in its attributes is looked at here.
It may hold an encrypted column, to compare it with ``==`` as it is compiled, for instance: what it
does with it, :mod:`~encfields.orm.query.application_sql` sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnClause
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import FromClause

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
