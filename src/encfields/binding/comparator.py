"""Which operators an encrypted column answers: IS NULL, and nothing that ciphertext cannot."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exc
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, ColumnElement, Null
from sqlalchemy.types import TypeDecorator

from encfields.errors import UnsupportedOperationError

_EQUALITY = (operators.eq, operators.ne)
_NULL_TESTS = (operators.is_, operators.is_not, *_EQUALITY)

_ADVICE = {
    "like_op": "filter after loading",
    "in_op": "load the rows by another column and compare in Python",
    "desc_op": "sort after loading",
    "asc_op": "sort after loading",
}


def refuse_operator(expression: object, operator: Any) -> UnsupportedOperationError:
    """The error for an operator that the ciphertext in `expression` cannot answer."""
    name = getattr(operator, "__name__", str(operator))
    advice = _ADVICE.get(name, "compare in Python after loading")
    table = getattr(expression, "table", None)
    return UnsupportedOperationError(
        f"the database holds ciphertext, no two of which are alike, and cannot answer "
        f"{name!r}: {advice}. Only IS NULL and IS NOT NULL work",
        table=str(getattr(table, "fullname", None) or getattr(table, "name", None) or "") or None,
        column=str(getattr(expression, "name", "") or "") or None,
        reason="operator",
    )


class CiphertextComparison(BinaryExpression[bool]):
    """``encrypted == another column``, which must exist but never reach a database.

    SQLAlchemy compares columns with ``==`` when it looks them up in its own collections, so
    raising here would break INSERT .. RETURNING. Compiling it is what is refused.
    """

    inherit_cache = False


@compiles(CiphertextComparison)
def _refuse_comparison(element: CiphertextComparison, compiler: Any, **kw: Any) -> str:
    raise refuse_operator(element.left, element.operator)


class EncryptedComparator(TypeDecorator.Comparator[Any]):
    """Allows ``is_(None)`` and its like, and refuses everything else by name."""

    __slots__ = ()

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
        operand = other[0] if other else None
        if op in _NULL_TESTS and len(other) == 1:
            if operand is None or isinstance(operand, Null):
                return super().operate(op, *other, **kwargs)
            if op in _EQUALITY and _is_column(operand):
                return CiphertextComparison(self.expr, _clause(operand), op)
        raise refuse_operator(self.expr, op)

    def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> ColumnElement[Any]:
        raise refuse_operator(self.expr, op)


def _clause(operand: Any) -> Any:
    return operand.__clause_element__() if hasattr(operand, "__clause_element__") else operand


def _is_column(operand: object) -> bool:
    try:
        return isinstance(_clause(operand), ColumnElement)
    except exc.ArgumentError:
        return False
