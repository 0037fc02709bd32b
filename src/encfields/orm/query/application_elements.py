"""Elements of an application's own, which it compiles itself with ``@compiles``.

SQLAlchemy sees no columns in one that names none to it, and so a statement can be looked through
without finding what it gives to the database. What it keeps in its attributes is looked at here.
It may hold an encrypted column, to compare it with ``==`` as it is compiled, for instance: only a
column that it had the compiler put into its SQL is ciphertext there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnClause
from sqlalchemy.sql.selectable import FromClause

from encfields.orm.query.ciphertext_uses import ciphertexts_among

_OF_OTHERS = frozenset(("sqlalchemy", "encfields", "builtins", "typing", "abc"))


def parts_kept(element: Any) -> Iterator[Any]:
    """What an element of the application's own has in its attributes, if it has no children."""
    cls: Any = type(element)
    if not _is_of_application(cls):
        return
    if isinstance(element, FromClause | ColumnClause | BindParameter):
        return
    for value in vars(element).values():
        for part in value if isinstance(value, list | tuple) else (value,):
            clause = part.__clause_element__() if hasattr(part, "__clause_element__") else part
            if isinstance(clause, ClauseElement):
                yield clause


def ciphertext_put_into(element: Any, compiler: Any) -> Any:
    """The encrypted column that such an element has had the compiler put into its SQL, or
    ``None``."""
    put: frozenset[int] = getattr(compiler, "columns_by_themselves", frozenset())
    cls: Any = type(element)
    if not put or not _is_of_application(cls):
        return None
    return next((one for one in ciphertexts_among(parts_kept(element)) if hash(one) in put), None)


@lru_cache(maxsize=1000)
def _is_of_application(cls: Any) -> bool:
    """Whether a class, or one that it is made of, is neither SQLAlchemy's nor ours."""
    return any(one.__module__.partition(".")[0] not in _OF_OTHERS for one in cls.__mro__)
