"""Expressions over plaintext columns instead of the encrypted ones that adopt them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import and_, case, literal_column, not_, null, or_, type_coerce
from sqlalchemy import cast as cast_in_sql
from sqlalchemy import types as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    BinaryExpression,
    Case,
    ColumnElement,
    Grouping,
    Null,
    TypeCoerce,
)
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Select, SelectBase
from sqlalchemy.types import TypeEngine

from encfields.errors import EncFieldsError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.adoption.columns import PlaintextType, plaintext_column
from encfields.orm.adoption.plaintext import WRITE_BOTH, adoption_of
from encfields.orm.query.comparison import IndexComparison, clause_of
from encfields.orm.read.provenance import column_named, row_part, source_column, table_named
from encfields.orm.write.upsert_choices import is_of_inserted_row

if TYPE_CHECKING:
    from encfields.orm.declare.columns import SealedColumnType


class NullTest(internals.NegatableComparison):
    """``IS NULL`` or ``IS NOT NULL`` of a column that is being adopted."""

    inherit_cache = True

    @classmethod
    def of(cls, binary: BinaryExpression[Any]) -> NullTest:
        """SQLAlchemy's test, converted to one of ours."""
        return cls(
            binary.left, binary.right, binary.operator, type_=binary.type, negate=binary.negate
        )

    def negation(self, negated: Any) -> Any:
        """The negated test, which is one of ours too."""
        return NullTest.of(negated) if type(negated) is BinaryExpression else negated


@compiles(NullTest)
def _compile_null_test(element: NullTest, compiler: Any, **kw: Any) -> str:
    """A row is NULL if neither column has a value."""
    column: Any = element.left
    source = source_column(column)
    plain = row_part(column, plaintext_column(source), source)
    tested: ColumnElement[bool] = plain.is_(None)
    adopts = adoption_of(source)
    if adopts is not None and adopts.phase != WRITE_BOTH:
        tested = and_(plain.is_(None), type_coerce(column, sa.LargeBinary).is_(None))
    if element.operator is operators.is_not:
        tested = not_(tested)
    return f"({compiler.process(tested, **kw)})"


def plain_of(expression: Any, column: Any) -> ColumnElement[Any]:
    """The plaintext column of the same row as `expression`."""
    return row_part(expression, plaintext_column(column), column)


class PlaintextInPlace(TypeCoerce[Any]):
    """The plaintext column in an expression over the encrypted one.

    The evaluator of ``synchronize_session`` treats it as parentheses, and so reads the attribute of
    the encrypted column from the objects.

    :param column: the encrypted column.
    :param plain: what the database evaluates instead.
    :param type_: the application's type for the plaintext.
    """

    inherit_cache = True

    def __init__(self, column: Any, plain: ColumnElement[Any], type_: TypeEngine[Any]) -> None:
        super().__init__(plain, type_)
        self.element = column
        self.__visit_name__ = "grouping"


@compiles(PlaintextInPlace)
def _compile_in_place(element: PlaintextInPlace, compiler: Any, **kw: Any) -> str:
    return str(compiler.visit_type_coerce(element, **kw))


class OfPlaintext(Grouping[Any]):
    """An expression over the plaintext, which an UPDATE may assign but no query may use.

    In the phase ``"read-sealed"`` a row may no longer have plaintext.

    :param refusal: returns the error for every other use.
    """

    inherit_cache = False

    def __init__(self, element: Any, refusal: Callable[[], EncFieldsError]) -> None:
        super().__init__(element)
        self.refusal = refusal

    def __getattr__(self, name: str) -> Any:
        """What SQLAlchemy's parentheses pass on to their element, such as ``as_integer()`` of JSON;
        the result is an expression over the plaintext too."""
        if "element" not in vars(self):  # while it is copied
            raise AttributeError(name)
        passed_on = getattr(self.element, name)
        if name.startswith("_"):
            return passed_on
        if isinstance(passed_on, MethodType):
            return lambda *given, **kw: self._over_plaintext(passed_on(*given, **kw))
        return self._over_plaintext(passed_on)

    def _over_plaintext(self, result: Any) -> Any:
        is_expression = isinstance(result, ColumnElement)
        return OfPlaintext(result, self.refusal) if is_expression else result


@compiles(OfPlaintext)
def _refuse_expression(element: OfPlaintext, compiler: Any, **kw: Any) -> str:
    raise element.refusal()


def in_plaintext(expression: Any) -> Any:
    """The expression with plaintext columns instead of the encrypted ones that adopt them."""

    def replaced(element: Any, **kw: Any) -> Any:
        if isinstance(element, IndexComparison | NullTest):
            return element
        if isinstance(element, OfPlaintext):
            return element.element
        if getattr(element, "table", None) is not None and adoption_of(element) is not None:
            return plain_of(element, source_column(element))
        return None

    if hasattr(expression, "__clause_element__"):
        expression = expression.__clause_element__()
    plain = visitors.replacement_traverse(expression, {}, replaced)
    for element in visitors.iterate(plain):
        adopts = adoption_of(element)
        if isinstance(element, FunctionElement | Case) and adopts is not None:
            # coalesce(), and CASE, has kept the type of what it was given.
            sealed = cast("SealedColumnType", element.type)
            element.type = PlaintextType(adopts.type or sealed.inner)
    return plain


class NullOfPending(Null):
    """NULL in the encrypted column of a row whose plaintext an SQL expression computes.

    In the phase ``"read-sealed"`` the plaintext that it computes from may be gone, since a process
    of the next phase has written the row: it would compute NULL, and the sealed value would be
    lost. For such a row it is empty bytes instead, which the adoption's trigger refuses.

    :param read: the encrypted columns whose plaintexts the expression reads.
    """

    inherit_cache = False

    def __new__(cls, read: Sequence[Any]) -> NullOfPending:  # SQLAlchemy's own is a singleton
        return object.__new__(cls)

    def __init__(self, read: Sequence[Any]) -> None:
        self.read = read


@compiles(NullOfPending)
def _compile_null_of_pending(element: NullOfPending, compiler: Any, **kw: Any) -> str:
    sealed_alone = [
        and_(
            plain_of(column, source_column(column)).is_(None),
            type_coerce(column, sa.LargeBinary).is_not(None),
        )
        for column in element.read
    ]
    empty = cast_in_sql(literal_column("''"), sa.LargeBinary)
    return str(compiler.process(case((or_(*sealed_alone), empty), else_=null()), **kw))


def null_of_pending(expression: Any) -> Null:
    """What an encrypted column is assigned if the plaintext column is assigned an expression.

    :raises UnsupportedOperationError: it reads such a column in a subquery, whose rows may have no
        plaintext any more.
    """
    expression = clause_of(expression)
    read: dict[int, Any] = {}
    for element in _read_in(expression):
        if isinstance(element, SelectBase):
            _refuse_in_select(element)
        elif _may_be_sealed_alone(element) and not is_of_inserted_row(element):
            read[hash(element)] = element
    return NullOfPending(list(read.values())) if read else null()


def selected_in_plaintext(select: Any, number: int) -> Any:
    """The SELECT of an INSERT, with plaintext in one of its columns.

    :param number: of the column that fills the plaintext.
    :raises UnsupportedOperationError: it may read a row that has no plaintext any more.
    """
    if not isinstance(select, Select):
        return select  # a UNION, whose ciphertext is refused later
    columns = list(select.inner_columns)
    plain = in_plaintext(columns[number])
    _refuse_in_select(columns[number])
    columns[number] = internals.annotated_like(plain, columns[number])
    return select.with_only_columns(*columns, maintain_column_froms=True)


def _read_in(expression: Any) -> Iterator[Any]:
    """The elements of an expression, without those inside of its subqueries."""
    yield expression
    if isinstance(expression, OfPlaintext | PlaintextInPlace):
        yield from _read_in(expression.element)
    elif not isinstance(expression, SelectBase):
        for element in expression.get_children():
            yield from _read_in(element)


def _phase_of(element: Any) -> str | None:
    """The phase that the adoption of an element's column is in, if it is such a column."""
    adopts = adoption_of(element) if getattr(element, "table", None) is not None else None
    return None if adopts is None else adopts.phase


def _may_be_sealed_alone(element: Any) -> bool:
    return _phase_of(element) not in (None, WRITE_BOTH)


def _refuse_in_select(select: Any) -> None:
    for element in visitors.iterate(select):
        if _may_be_sealed_alone(element):
            raise UnsupportedOperationError(
                "a subquery that is assigned, or a SELECT that is inserted, reads it, and may read "
                "a row that has no plaintext any more: read the value first, and assign that",
                table=table_named(element),
                column=column_named(element),
                reason="adoption",
            )


def with_plaintext_asked(statement: Any) -> Any:
    """The statement, changed before compilation to sort by plaintext, and use it in functions, as
    long as every reader reads plaintext."""
    if isinstance(statement, Select) and (clauses := internals.order_by_clauses(statement)):
        changed = tuple(_first_phase(clause) for clause in clauses)
        if any(new is not old for new, old in zip(changed, clauses, strict=True)):
            statement = internals.with_order_by(statement, changed)
    return internals.with_criteria_rewritten(statement, _first_phase)


def _first_phase(expression: Any) -> Any:
    """The expression, or the same over plaintext if it names a column of the first phase."""
    for element in visitors.iterate(expression):
        if _phase_of(element) == WRITE_BOTH:
            return in_plaintext(expression)
    return expression
