"""``encrypted == value``: a comparison answered by a blind index.

As an expression it refers to the encrypted columns, so aliases, relationships, loader strategies
and the evaluator of ``synchronize_session`` treat it like any comparison. Compilation replaces the
columns with their indexes and the values with look-ups.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, NoReturn

from sqlalchemy import Boolean, exc
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    ClauseList,
    CollectionAggregate,
    ColumnClause,
    ColumnElement,
    Grouping,
    Null,
    TypeCoerce,
)
from sqlalchemy.sql.functions import Function, FunctionElement
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from encfields.codecs.base import processes_binds
from encfields.errors import UnboundValueError, UnsupportedOperationError
from encfields.orm.declare.columns import SealedColumnType
from encfields.orm.internals import CacheKeyedType, NegatableComparison
from encfields.orm.query.operator_names import operator_name
from encfields.orm.query.operator_refusal import require_list
from encfields.orm.write.hidden_values import veil, veil_all
from encfields.traces import leaves_no_trace

EQUALITY = (operators.eq, operators.ne)
MEMBERSHIP = (operators.in_op, operators.not_in_op)
OF_NULL_TOO = (operators.is_distinct_from, operators.is_not_distinct_from)
NULL_TESTS = (operators.is_, operators.is_not, *EQUALITY)
NEGATIVE = (operators.ne, operators.not_in_op)


_NEGATED = {
    operators.eq: operators.ne,
    operators.ne: operators.eq,
    operators.in_op: operators.not_in_op,
    operators.not_in_op: operators.in_op,
}
_VALUES = frozenset((str, bytes, int, uuid.UUID, dt.date, dt.datetime))
BOOLEAN = Boolean()
_NOT_EVALUATED = "compared_later"
"""A name that the evaluator of ``synchronize_session`` does not know."""


class IndexComparison(NegatableComparison):
    """``==``, ``!=``, ``IN`` or ``NOT IN`` on an encrypted column or its index."""

    inherit_cache = True

    written: Any = None
    """The operator that the application wrote, if this is one part of its translation."""
    part_of: Any = None
    """The element of the statement that it replaces, wholly or in part."""
    is_all: bool = True
    """Whether it replaces all of that element."""
    compares: Any = None
    """The column that a relationship's loader has put a value of its row in the place of."""

    @classmethod
    def of(cls, binary: BinaryExpression[Any]) -> IndexComparison:
        """SQLAlchemy's comparison as one of ours."""
        for side in (binary.left, binary.right):
            veil_all(side)
        made = cls(
            binary.left,
            binary.right,
            binary.operator,
            type_=binary.type,
            negate=binary.negate,
            modifiers=binary.modifiers,
        )
        if any(_is_none_to_python(side) for side in (binary.left, binary.right)):
            made.__visit_name__ = _NOT_EVALUATED
        return made

    @classmethod
    def directly(cls, operator: Any, column: Any, operand: Any) -> IndexComparison | None:
        """What SQLAlchemy would build for ``==`` or ``!=``, in a fraction of the time.

        :param operator: SQLAlchemy's.
        :param column: the compared column.
        :param operand: the other side: a value or a column.
        :returns: ``None`` for anything but the usual cases: a column compared with a value, or with
            a column, as SQLAlchemy compares those of a result.
        """
        if not isinstance(column, ColumnClause) or operator not in EQUALITY:
            return None
        if type(operand) in _VALUES:
            operand = BindParameter(column.key, operand, column.type, unique=True)
            veil(operand)
        elif not isinstance(operand, ColumnClause):
            return None
        negated = operators.ne if operator is operators.eq else operators.eq
        return cls(column, operand, operator, type_=BOOLEAN, negate=negated)

    @classmethod
    def exchanged(
        cls, column: Any, operator: Any, value: Any, place: Any, *, is_all: bool
    ) -> IndexComparison:
        """What to compile in place of a comparison that SQLAlchemy built.

        :param place: the element of the statement that contains it.
        :param is_all: whether it is the whole element.
        """
        veil_all(value)
        negated = _NEGATED[operator]
        made = cls(column, value, operator, type_=BOOLEAN, negate=negated)
        made.part_of, made.is_all = place, is_all
        return made

    def with_right_side(self, right: Any) -> IndexComparison:
        """The same comparison with something else, as a part of its translation."""
        made = IndexComparison.exchanged(self.left, self.operator, right, self.place, is_all=False)
        return made.written_as(self.written or self.operator)

    @property
    def place(self) -> Any:
        """The element of the statement that it came from."""
        return self if self.part_of is None else self.part_of

    def written_as(self, operator: Any) -> IndexComparison:
        """This comparison as a part of another operator's translation.

        :param operator: the one that the application wrote.
        """
        self.written = operator
        return self

    def replaced(self, side: Any, by: Any) -> None:
        """Note what a loader replaces in its copy of the comparison."""
        if isinstance(by, BindParameter) and isinstance(side, ColumnClause):
            self.compares = side

    def negation(self, negated: Any) -> Any:
        """``~(a == b)`` is ``a != b``, still a comparison by index."""
        return IndexComparison.of(negated) if type(negated) is BinaryExpression else negated


def _is_none_to_python(side: Any) -> bool:
    """Whether the evaluator would compare with ``None`` but the database with a value.

    For example a ``bindparam("name")``, whose value comes with the execution, or an application's
    type that stores a value for ``None``.
    """
    if not isinstance(side, BindParameter):
        return False
    none_is_null = type(None) in getattr(side.type, "coerce_to_is_types", (type(None),))
    return side.required or (not none_is_null and side.effective_value is None)


class IsNullGiven(FunctionElement[bool]):
    """Whether a bind's value in this execution is NULL.

    :param comparison: of the column with the bind, which tells how the bind is looked up.
    """

    name = "is_null_given"
    type = BOOLEAN
    inherit_cache = True

    def __init__(self, comparison: IndexComparison) -> None:
        super().__init__(comparison)


def null_test_in_sql(test: ColumnElement[Any]) -> ColumnElement[Any]:
    """IS [NOT] NULL of a column whose type may read NULL as a value.

    Hidden from the evaluator of ``synchronize_session``, which would test the loaded value.
    """
    grouped = Grouping(test)
    grouped.__visit_name__ = _NOT_EVALUATED
    return grouped


class BlindView(CacheKeyedType):
    """The type of ``column.blind(name)``, which answers only equality.

    :param label: the index's name.
    :param is_compound: whether it is an index over several columns.
    """

    if hasattr(operators, "OperatorClass"):
        # SQLAlchemy 2.1 asks for this; the comparator decides what is supported.
        operator_classes = operators.OperatorClass.ANY

    def __init__(self, label: str, *, is_compound: bool = False) -> None:
        self.label = label
        self.is_compound = is_compound

    def statement_cache_key(self) -> tuple[Any, ...]:
        """Distinguishes views of two indexes in SQLAlchemy's statement cache."""
        return BlindView, self.label, self.is_compound

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self

    def bind_processor(self, dialect: Any) -> Any:
        def refuse(value: object) -> NoReturn:
            del value
            raise UnboundValueError(
                "a value for a look-up by blind index was not compared with the index",
                reason="unbound",
            )

        return refuse

    def literal_processor(self, dialect: Any) -> NoReturn:
        raise UnboundValueError(
            "a look-up value cannot be rendered into the text of a statement: leave "
            "literal_execute and literal_binds out",
            reason="literal",
        )

    def result_processor(self, dialect: Any, coltype: object) -> Any:
        return lambda value: None if value is None else bytes(value)

    class Comparator(TypeEngine.Comparator[Any]):
        """``==``, ``!=``, ``in_``, DISTINCT and the tests for NULL."""

        __slots__ = ()

        @leaves_no_trace
        def operate(self, op: Any, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
            if op is operators.distinct_op:
                return super().operate(op, *other, **kwargs)
            if op in NULL_TESTS and (other[0] is None or isinstance(other[0], Null)):
                return super().operate(op, *other, **kwargs)
            if op in (*EQUALITY, *MEMBERSHIP):
                if op in MEMBERSHIP:
                    require_list(op, other[0], lambda: _viewed_place(self.expr))
                compared = super().operate(op, *other, **kwargs)
                if isinstance(compared, BinaryExpression):
                    return IndexComparison.of(compared)
            raise _refuse_for_hash(self.expr, op)

        def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> ColumnElement[Any]:
            return self.operate(op, other, **kwargs)

    comparator_factory = Comparator


def _refuse_for_hash(expression: Any, operator: Any) -> UnsupportedOperationError:
    """The error for an operator that a hash cannot answer."""
    return UnsupportedOperationError(
        f"a blind index answers ==, != and IN, not {operator_name(operator)!r}: hashes have no "
        "order and no parts. Index what you search for with a transform such as first(n), or "
        "compare in Python after loading",
        **_viewed_place(expression),
        reason="operator",
    )


def _viewed_place(expression: Any) -> dict[str, Any]:
    """Table and column of a ``column.blind()``, or of a subquery's column that it is behind."""
    view = expression if isinstance(expression, BlindValue) else viewed(expression)
    column: Any = None if view is None else next(iter(view.clause.base_columns))
    table = getattr(getattr(column, "table", None), "fullname", None)
    return {"table": table, "column": getattr(column, "name", None)}


class BlindValue(TypeCoerce[Any]):
    """``column.blind(name)``: the named blind index of an encrypted column."""

    inherit_cache = True


HASH = "encfields_hash"
"""Compiler option that marks a column rendered for a ``column.blind()``."""


def viewed(column: Any) -> BlindValue | None:
    """The ``column.blind(name)`` behind a subquery's column, if it is a single one."""
    views = {id(base): base for base in column.proxy_set if isinstance(base, BlindValue)}
    return next(iter(views.values())) if len(views) == 1 else None


class CiphertextComparison(BinaryExpression[bool]):
    """``encrypted == another column`` without an index.

    SQLAlchemy compares columns with ``==`` in its own collections, so raising here would break
    INSERT .. RETURNING. Compiling it is refused.
    """

    inherit_cache = False


def any_or_all_advice(operator: Any, *sides: Any) -> str | None:
    """What to write instead of ANY or ALL of a list, whose items a look-up cannot see.

    :param operator: by which the sides are compared.
    """
    for side in map(ungrouped, sides):
        name = side.name.lower() if isinstance(side, Function) else ""
        if isinstance(side, CollectionAggregate) or name in ("any", "some", "all"):
            is_all = name == "all" or getattr(side, "operator", None) is operators.all_op
            if operator is (operators.eq if is_all else operators.ne):
                return f"write {'and_' if is_all else 'or_'}() of a comparison with each value"
            return f"write column.{'not_in' if is_all else 'in_'}([...])"
    return None


def is_converted(bind: BindParameter[Any]) -> bool:
    """Whether an explicit type, not a column's, would convert a bind's value.

    A loader's bind, which has no value yet, has the type of the column that it reads.
    """
    if not isinstance(bind.type, TypeDecorator) or isinstance(bind.type, SealedColumnType):
        return False
    return not bind.unique or bind.effective_value is not None


def is_converted_for(bind: BindParameter[Any], type_: Any) -> bool:
    """Whether a bind's type converts its value in another way than an encrypted column's type.

    An application's type converts what it is compared with, and SQLAlchemy does not ask it for
    ``literal(5)`` or ``bindparam("q", 5)``, which are integers.
    """
    if type(bind.type) is type(type_.inner):
        return False
    return is_converted(bind) or (
        isinstance(type_.inner, TypeDecorator)
        and processes_binds(type_.inner)
        and has_type_of_its_own(bind)
    )


def has_type_of_its_own(bind: BindParameter[Any]) -> bool:
    """Whether a bind has another type than the column's that it is compared with."""
    # Whatever its value is: a statement that is kept for one runs for others too.
    return not isinstance(bind.type, NullType | SealedColumnType | CacheKeyedType)


def own_type_advice(bind: BindParameter[Any], type_: Any) -> str:
    """Why a bind with a type of its own is not looked up, and what to write instead.

    :param type_: the encrypted column's.
    """
    own = type(bind.type).__name__
    if is_converted(bind):
        return (
            f"a look-up does not convert its value by {own}: compare with the converted value "
            "itself"
        )
    inner = type(type_.inner).__name__
    return (
        f"the value is compared as {own}, the type that SQLAlchemy chose for it (in literal(), "
        "bindparam() or case({value: ...}, value=column)), and the column stores what "
        f"{inner} makes of its values: write column == value, in a CASE as "
        f"case((column == value, ...)), or give the literal() or bindparam() the type {inner}"
    )


def clause_of(operand: Any) -> Any:
    """The expression of an ORM attribute."""
    return operand.__clause_element__() if hasattr(operand, "__clause_element__") else operand


def ungrouped(element: Any) -> Any:
    """The expression inside parentheses."""
    while isinstance(element, Grouping):
        element = element.element
    return element


def members_of(listed: Any) -> list[Any]:
    """The members of a list or row in SQL; none of anything else."""
    element = ungrouped(listed)
    return list(element.clauses) if isinstance(element, ClauseList) else []


def is_column(operand: object) -> bool:
    """Whether an operand is an SQL expression and not a Python value."""
    try:
        return isinstance(clause_of(operand), ColumnElement)
    except exc.ArgumentError:
        return False
