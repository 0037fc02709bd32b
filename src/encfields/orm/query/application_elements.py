"""Elements of an application's own, which it compiles itself with ``@compiles``.

SQLAlchemy sees no columns in one that names none to it, and so a statement can be looked through
without finding what it gives to the database. What it keeps in its attributes is looked at here.
It may hold an encrypted column, to compare it with ``==`` as it is compiled, for instance: only a
column that it had the compiler put into its SQL is ciphertext there. What else it has had put there
is looked through like the statement itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy.sql.elements import BindParameter, ClauseElement, ClauseList, ColumnClause
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import FromClause

from encfields.orm.query.ciphertext_uses import ciphertexts_among

_OF_OTHERS = frozenset(("sqlalchemy", "encfields", "builtins", "typing", "abc"))


def parts_kept(element: Any) -> Iterator[Any]:
    """What an element of the application's own has in its attributes, if it has no children."""
    if not is_of_application(element) or isinstance(element, ColumnClause | BindParameter | count):
        return
    if isinstance(element, FromClause) and not isinstance(element, FunctionElement):
        return
    for value in vars(element).values():
        yield from _clauses_in(value)


def ciphertext_put_into(element: Any, compiler: Any) -> Any:
    """The encrypted column that such an element has had the compiler put into its SQL, or
    ``None``."""
    asked_for = getattr(compiler, "asked_for", ())
    if not asked_for or not is_of_application(element):
        return None
    put = {hash(one) for one in ciphertexts_among(_listed(asked_for))}
    return next((one for one in ciphertexts_among(parts_kept(element)) if hash(one) in put), None)


def put_by_applications(compiler: Any) -> Iterator[Any]:
    """What elements of the application's own may have had the compiler put into the SQL, other than
    the statement itself."""
    for element in getattr(compiler, "asked_for", ()):
        if element is not compiler.statement:
            yield element


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


def _listed(elements: Any) -> Iterator[Any]:
    """Some elements, and those in lists among them."""
    for element in elements:
        if isinstance(element, ClauseList):
            yield from _listed(element.clauses)
        else:
            yield element
