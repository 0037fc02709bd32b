"""An operator that ciphertext cannot answer: refused, in a hybrid when a statement uses it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import ClauseElement, ColumnElement
from sqlalchemy.types import NullType, TypeEngine

from encfields.arguments import kind
from encfields.errors import UnsupportedOperationError
from encfields.orm.internals import WrappedColumn
from encfields.orm.query.operator_names import operator_name

_HYBRIDS = "sqlalchemy.ext.hybrid"


class Unanswerable(WrappedColumn):
    """What an operator gives in a hybrid, ``Patient.full_name``; compiling it is refused.

    Over plain columns a class has an expression for ``self.first + " " + self.last``, and not
    only queries ask for it: a constructor that is given ``full_name=`` does, and bulk writes.

    :param column: the encrypted column.
    :param refusal: the error of whatever uses it; each gets one of its own.
    """

    inherit_cache = False
    type: TypeEngine[Any]

    def __init__(self, column: ColumnElement[Any], refusal: UnsupportedOperationError) -> None:
        self.column = column
        self._error = type(refusal), refusal.message, _where(refusal)
        self.type = _Unknown()

    def wrapped(self) -> ColumnElement[Any]:
        return self.column

    def refusal(self) -> UnsupportedOperationError:
        """The error, made anew."""
        of, message, where = self._error
        return of(message, **where)


class _Unknown(NullType):
    """The type of what no operator changes."""

    cache_ok = False
    if hasattr(operators, "OperatorClass"):
        operator_classes = operators.OperatorClass.ANY  # SQLAlchemy 2.1 asks for this

    class Comparator(NullType.Comparator[Any]):
        """Every operator gives the same again."""

        __slots__ = ()

        def operate(self, op: Any, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
            return self.expr

        def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> ColumnElement[Any]:
            return self.expr

    comparator_factory = Comparator


@compiles(Unanswerable)
def _refuse_unanswerable(element: Unanswerable, compiler: Any, **kw: Any) -> str:
    raise element.refusal()


def refused_or_later(column: Any, refusal: UnsupportedOperationError) -> ColumnElement[Any]:
    """What a refused operator gives in a hybrid that its class is asked for.

    :raises UnsupportedOperationError: `refusal`, anywhere else.
    """
    if _is_asked_for_hybrid():
        return Unanswerable(column, refusal)
    raise refusal


def require_list(operator: Any, given: Any, place: Callable[[], dict[str, Any]]) -> None:
    """Refuse ``in_()`` of something that is no list before SQLAlchemy does, whose error shows it.

    :param place: gives table and column.
    :raises UnsupportedOperationError: it is a text, or nothing that SQLAlchemy takes.
    """
    is_query = isinstance(given, ClauseElement) or hasattr(given, "__clause_element__")
    if is_query or (isinstance(given, Iterable) and not isinstance(given, str | bytes)):
        return
    name = operator_name(operator)
    raise UnsupportedOperationError(
        f"{name} takes a list of values or a SELECT, not {kind(given)}: write "
        f"{name.removesuffix('()')}([value])",
        **place(),
        reason="operand",
    )


def _is_asked_for_hybrid() -> bool:
    """Whether a class is asked for a hybrid, and not by ``filter_by(full_name="x")``, which can be
    refused where it is written."""
    is_in_hybrid, frame = False, inspect.currentframe()
    while frame is not None:
        module, name = str(frame.f_globals.get("__name__")), frame.f_code.co_name
        is_in_hybrid = is_in_hybrid or (module == _HYBRIDS and name == "__get__")
        if name == "filter_by" and module.startswith("sqlalchemy."):
            return False
        frame = frame.f_back
    return is_in_hybrid


def _where(refusal: UnsupportedOperationError) -> dict[str, Any]:
    return {name: getattr(refusal, name) for name in ("table", "column", "reason")}
