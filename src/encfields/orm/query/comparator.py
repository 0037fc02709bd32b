"""The operators of an encrypted column: IS NULL, and equality by a blind index."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import and_, not_, null, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    ClauseElement,
    CollectionAggregate,
    ColumnElement,
    False_,
    Null,
    True_,
    TypeCoerce,
)
from sqlalchemy.sql.selectable import ScalarSelect
from sqlalchemy.types import TypeDecorator

from encfields.errors import UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.adoption.columns import plaintext_type
from encfields.orm.adoption.expressions import NullTest, OfPlaintext, PlaintextInPlace, plain_of
from encfields.orm.adoption.plaintext import WRITE_BOTH, WRITE_SEALED
from encfields.orm.declare.columns import SealedColumnType
from encfields.orm.query.comparison import (
    BOOLEAN,
    EQUALITY,
    HASH,
    MEMBERSHIP,
    NULL_TESTS,
    OF_NULL_TOO,
    BlindValue,
    BlindView,
    CiphertextComparison,
    IndexComparison,
    IsNullGiven,
    clause_of,
    is_column,
    is_converted_for,
    null_test_in_sql,
    ungrouped,
)
from encfields.orm.query.criteria_lookups import compared_to_list
from encfields.orm.query.index_operand import index_column_of_view
from encfields.orm.query.listed_by_query import columns_listed, selects_listed
from encfields.orm.query.loaded_form import OF_SEVERAL_FORMS, asks_for_null, in_loaded_form
from encfields.orm.query.operator_names import operator_name
from encfields.orm.query.operator_refusal import refused_or_later, require_list
from encfields.orm.query.resolution import null_given, resolved
from encfields.orm.read.provenance import column_named, source_column, table_named
from encfields.traces import leaves_no_trace

_ADD_INDEX = "give the column index=BlindIndex() to look values up, or "
_ADVICE = {
    "like_op": "filter after loading, or index the part you search for with a transform such "
    "as first(n)",
    "eq": f"{_ADD_INDEX}compare in Python after loading",
    "ne": f"{_ADD_INDEX}compare in Python after loading",
    "in_op": f"{_ADD_INDEX}load the rows by another column and compare in Python",
    "not_in_op": f"{_ADD_INDEX}load the rows by another column and compare in Python",
    "any_op": "write column.in_(...)",
    "all_op": "write column.not_in(...)",
    "desc_op": "sort after loading",
    "asc_op": "sort after loading",
    "nulls_first_op": "sort after loading",
    "nulls_last_op": "sort after loading",
}
_WITH_VALUE_OR_COLUMN = "compare it with a value or an equally indexed column"
_ADVICE_WITH_INDEX = {
    "distinct_op": "write column.blind().distinct(), which tells hashes apart",
    "is_distinct_from": _WITH_VALUE_OR_COLUMN,
    "is_not_distinct_from": _WITH_VALUE_OR_COLUMN,
}


_SORTING = (operators.asc_op, operators.desc_op)
_OF_EACH = (operators.any_op, operators.all_op)


def _has_answer(type_: SealedColumnType, operand: object) -> bool:
    """Whether a column can be distinguished from a value, NULL or another column."""
    if isinstance(operand, Null):
        return True
    if isinstance(operand, BindParameter):
        return bool(type_.indexes)
    if isinstance(operand, ClauseElement) or hasattr(operand, "__clause_element__"):
        return _distinguished_by_indexes(type_, operand)
    return bool(type_.indexes) or asks_for_null(type_, operand)


def _distinguished_by_indexes(type_: SealedColumnType, operand: object) -> bool:
    """Whether blind indexes distinguish a column from another encrypted one, NULL included."""
    if not type_.indexes or not is_column(operand):
        return False
    other = clause_of(operand)
    return isinstance(other.type, SealedColumnType) and not isinstance(other, BindParameter)


def _is_null(type_: SealedColumnType, column: Any) -> ColumnElement[Any]:
    """Whether the column is NULL in the database, whatever its type reads NULL as."""
    tested = cast("ColumnElement[Any]", column.is_(null()))
    return null_test_in_sql(tested) if isinstance(type_.inner, TypeDecorator) else tested


def _is_null_test(type_: SealedColumnType, op: Any, operand: object) -> bool:
    """Whether it is IS [NOT] NULL, and not a look-up of a value stored for ``None``."""
    if operand is None and op in EQUALITY:
        return type(None) in type_.coerce_to_is_types
    return operand is None or isinstance(operand, Null)


_OF_CONDITIONS = {operators.and_: and_, operators.or_: or_}
_OF_TRUTH = (operators.is_, operators.is_not, operators.inv, *_OF_CONDITIONS)


def _truth_asked(op: Any, operand: object = None) -> bool | None:
    """What a boolean is compared with by NOT and IS [NOT] TRUE or FALSE; ``None``: by neither."""
    if isinstance(operand, bool):
        return operand
    if isinstance(operand, True_ | False_):
        return isinstance(operand, True_)
    return False if op is operators.inv else None


def refuse_operator(expression: object, operator: Any) -> UnsupportedOperationError:
    """The error for an operator that ciphertext cannot answer."""
    name = getattr(operator, "__name__", str(operator))
    indexed = bool(getattr(getattr(expression, "type", None), "indexes", ()))
    verb = "compare" if operators.is_comparison(operator) else "do it"
    advice = _ADVICE.get(name, f"{verb} in Python after loading")
    advice = _ADVICE_WITH_INDEX.get(name, advice) if indexed else advice
    works = "==, !=, IN, IS NULL and IS NOT NULL" if indexed else "Only IS NULL and IS NOT NULL"
    return UnsupportedOperationError(
        f"the database holds ciphertext, no two of which are alike, and cannot answer "
        f"{operator_name(operator)!r}: {advice}. {works} work",
        table=table_named(expression),
        column=column_named(expression),
        reason="operator",
    )


def _encrypted_side(expression: Any, operand: Any) -> Any:
    """The encrypted column among an operation's sides; in ``"x" + column``, the right one."""
    return operand if isinstance(expression, BindParameter) and is_column(operand) else expression


def _uncoerced(operand: Any) -> Any:
    """The bind inside a type_coerce(); anything else unchanged."""
    is_value = isinstance(operand, TypeCoerce) and isinstance(operand.clause, BindParameter)
    return operand.typed_expression if is_value else operand


class EncryptedComparator(TypeDecorator.Comparator[Any]):
    """Allows tests for NULL, and equality if there is a blind index; refuses everything else by
    name."""

    __slots__ = ()

    @leaves_no_trace
    def operate(self, op: Any, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
        if op in EQUALITY:
            type_ = cast("SealedColumnType", self.expr.type)
            if type_.indexes and not isinstance(type_.inner, OF_SEVERAL_FORMS):
                # First, because nearly every comparison is an equality, also SQLAlchemy's own.
                compared = IndexComparison.directly(op, self.expr, *other)
                if compared is not None:
                    return compared
        if isinstance(self.expr, TypeCoerce) and self.expr.clause.type is self.expr.type:
            return self.expr.clause.operate(op, *other, **kwargs)
        if op in MEMBERSHIP and cast("SealedColumnType", self.expr.type).indexes:
            require_list(op, other[0], self._place)
            selects = selects_listed(other[0])
            if selects is not None:
                return self._in_one_of(op, selects, **kwargs)
            listed = columns_listed(other[0])
            if listed is not None:
                return self._among_columns(op, *listed, **kwargs)
        if op in _SORTING and cast("SealedColumnType", self.expr.type).adopts is None:
            # Paging libraries only compare it with what is sorted by. A statement that has it is
            # refused.
            return super().operate(op, *other, **kwargs)
        if op in _OF_EACH and isinstance(ungrouped(self.expr), ScalarSelect):
            # What it is compared with, decides.
            return CollectionAggregate(self.expr, operator=op, type_=BOOLEAN)
        if op in _OF_TRUTH and cast("SealedColumnType", self.expr.type).is_condition:
            asked = self._of_truth(op, *other)
            if asked is not None:
                return asked
        other = tuple(map(_uncoerced, other))
        return self._operate(op, *other, **kwargs)

    def _place(self) -> dict[str, Any]:
        return {"table": table_named(self.expr), "column": column_named(self.expr)}

    def _in_one_of(self, op: Any, selects: list[Any], **kwargs: Any) -> ColumnElement[Any]:
        return self._either(op, [self._operate(op, select, **kwargs) for select in selects])

    def _among_columns(
        self, op: Any, columns: list[Any], others: list[Any], **kwargs: Any
    ) -> ColumnElement[Any]:
        """IN a list with encrypted columns, which is equality with any of them."""
        equal = operators.eq if op is operators.in_op else operators.ne
        compared = [self.operate(equal, column) for column in columns]
        if others:
            compared.append(self.operate(op, others, **kwargs))
        return self._either(op, compared)

    def _either(self, op: Any, compared: list[ColumnElement[Any]]) -> ColumnElement[Any]:
        if len(compared) == 1:
            return compared[0]
        either = (or_ if op is operators.in_op else and_)(*compared)
        return internals.with_entity_of(self.expr, either)

    def _operate(self, op: Any, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
        operand = other[0] if other else None
        type_ = cast("SealedColumnType", self.expr.type)
        if op in OF_NULL_TOO and _has_answer(type_, operand):
            return internals.with_entity_of(self.expr, self._distinct_from(op, operand))
        adopts, is_indexed = type_.adopts, bool(type_.indexes)
        if op in NULL_TESTS and len(other) == 1:
            if _is_null_test(type_, op, operand):
                tested = super().operate(op, null(), **kwargs)
                if adopts is not None and isinstance(tested, BinaryExpression):
                    return NullTest.of(tested)
                return tested
            if op in EQUALITY and not is_indexed and is_column(operand):
                return CiphertextComparison(self.expr, clause_of(operand), op)
        if is_indexed and isinstance(operand, CollectionAggregate):
            looked_up = compared_to_list(self.expr, op, operand)
            if looked_up is not None:
                return looked_up
        if op in (*EQUALITY, *MEMBERSHIP) and is_indexed:
            has_forms = isinstance(type_.inner, OF_SEVERAL_FORMS)
            asked = in_loaded_form(type_, operand) if has_forms else operand
            directly = IndexComparison.directly(op, self.expr, asked)
            compared = directly if directly is not None else super().operate(op, asked, **kwargs)
            if isinstance(compared, BinaryExpression):
                return directly if directly is not None else IndexComparison.of(compared)
        if adopts is not None and adopts.phase != WRITE_SEALED:
            source, column = source_column(self.expr), self.expr
            plain = PlaintextInPlace(
                column, plain_of(column, source), plaintext_type(source, adopts)
            )
            asked = plain.operate(op, *other, **kwargs)
            if adopts.phase == WRITE_BOTH:
                return asked
            return OfPlaintext(asked, lambda: refuse_operator(column, op))
        side = _encrypted_side(self.expr, operand)
        return refused_or_later(side, refuse_operator(side, op))

    def _of_truth(self, op: Any, *other: Any) -> ColumnElement[Any] | None:
        """IS [NOT] TRUE or FALSE, NOT, AND and OR, by what SQLAlchemy's evaluator of
        ``synchronize_session`` supports too; ``None`` if it is none of them."""
        if op in _OF_CONDITIONS:
            return _OF_CONDITIONS[op](self.expr, *other)
        truth = _truth_asked(op, *other)
        if truth is None:
            return None
        if op is operators.inv:
            # A plain column's does not say of which class it asks.
            return internals.without_entity(self.operate(operators.eq, truth))
        if op is operators.is_not:
            is_null = self.operate(operators.is_, None)
            asked = or_(is_null, self._compared(operators.ne, truth, op))
        else:
            is_value = self.operate(operators.is_not, None)
            asked = and_(is_value, self._compared(operators.eq, truth, op))
        return internals.with_entity_of(self.expr, asked)

    def _distinct_from(self, op: Any, operand: object) -> ColumnElement[Any]:
        """``is_distinct_from()`` and its opposite."""
        if isinstance(operand, Null):
            is_distinct = op is operators.is_distinct_from
            return self.operate(operators.is_not if is_distinct else operators.is_, operand)
        varying = internals.bind_of_variable(operand, self.expr, op)
        if varying is not None:
            return self._with_any(op, varying)
        if isinstance(operand, BindParameter):
            return self._with_bind(op, operand)
        return self._of_two(op, operand) if is_column(operand) else self._with_null(op, operand)

    def _with_null(self, op: Any, value: object) -> ColumnElement[Any]:
        """``is_distinct_from()`` and its opposite, expressed in what an index can answer.

        SQLAlchemy's evaluator of ``synchronize_session`` supports neither, so it gets neither.
        """
        is_null = null_test_in_sql(self.operate(operators.is_, None))
        is_value = null_test_in_sql(self.operate(operators.is_not, None))
        if asks_for_null(cast("SealedColumnType", self.expr.type), value):
            return is_value if op is operators.is_distinct_from else is_null
        if op is operators.is_distinct_from:
            return or_(self._compared(operators.ne, value, op), is_null)
        return and_(is_value, self._compared(operators.eq, value, op))

    def _with_bind(self, op: Any, bind: BindParameter[Any]) -> ColumnElement[Any]:
        """``is_distinct_from()`` and its opposite with a bind."""
        if bind.unique and not is_converted_for(bind, self.expr.type):
            return self._with_null(op, bind.effective_value)
        return self._with_any(op, bind)

    def _with_any(self, op: Any, bind: BindParameter[Any]) -> ColumnElement[Any]:
        """``is_distinct_from()`` and its opposite with a bind that may be NULL in any execution.

        The result is never NULL, so that NOT inverts it.
        """
        is_null_given = IsNullGiven(self._compared(operators.eq, bind, op))
        return self._never_null(op, bind, is_null_given)

    def _compared(self, operator: Any, other: Any, written: Any) -> Any:
        """A comparison that is a part of what `written` means."""
        compared = self.operate(operator, other)
        is_ours = isinstance(compared, IndexComparison)
        return compared.written_as(written) if is_ours else compared

    def _of_two(self, op: Any, other: Any) -> ColumnElement[Any]:
        """``is_distinct_from()`` of two columns, and its opposite; the result is never NULL."""
        other = clause_of(other)
        return self._never_null(op, other, _is_null(other.type, other))

    def _never_null(
        self, op: Any, other: Any, other_is_null: ColumnElement[bool]
    ) -> ColumnElement[Any]:
        """``is_distinct_from()``, and its opposite, by comparisons that may be NULL and by which
        of the two is NULL."""
        is_null = null_test_in_sql(_is_null(cast("SealedColumnType", self.expr.type), self.expr))
        both = and_(not_(is_null), not_(other_is_null))
        if op is operators.is_distinct_from:
            is_null_once = or_(
                and_(is_null, not_(other_is_null)), and_(not_(is_null), other_is_null)
            )
            return or_(and_(both, self._compared(operators.ne, other, op)), is_null_once)
        is_equal = and_(both, self._compared(operators.eq, other, op))
        return or_(is_equal, and_(is_null, other_is_null))

    @leaves_no_trace
    def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> ColumnElement[Any]:
        if op in (operators.eq, operators.ne):
            return self.operate(op, other, **kwargs)
        return refused_or_later(self.expr, refuse_operator(self.expr, op))

    def blind(self, name: str | None = None) -> BlindValue:
        """The column's blind index, for ``==``, ``!=``, ``in_``, GROUP BY and COUNT DISTINCT.

        :param name: of the index; by default the one over the whole value.
        :raises UnsupportedOperationError: the column has no such index.
        """
        indexes = cast("SealedColumnType", self.expr.type).indexes
        label = name or "exact"
        if all(index.label != label for index in indexes):
            names = ", ".join(repr(index.label) for index in indexes)
            raise UnsupportedOperationError(
                f"the column has no blind index {label!r}; "
                + (f"it has {names}" if names else "give it one with index=BlindIndex(...)"),
                table=table_named(self.expr),
                column=column_named(self.expr),
                reason="no-index",
            )
        return BlindValue(self.expr, BlindView(label))


@compiles(IndexComparison)
def _compile_comparison(element: IndexComparison, compiler: Any, **kw: Any) -> str:
    internals.note_joined(element.left, element.right, kw)
    return str(compiler.process(resolved(element, compiler), **kw))


@compiles(IsNullGiven)
def _compile_null_given(element: IsNullGiven, compiler: Any, **kw: Any) -> str:
    (comparison,) = element.clauses
    return f"({compiler.process(null_given(cast('Any', comparison), compiler), **kw)})"


@compiles(BlindValue)
def _compile_blind_value(element: BlindValue, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(index_column_of_view(element), **{**kw, HASH: element}))


@compiles(CiphertextComparison)
def _refuse_comparison(element: CiphertextComparison, compiler: Any, **kw: Any) -> str:
    raise refuse_operator(element.left, element.operator)
