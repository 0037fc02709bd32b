"""Comparisons of a column that is being adopted: by the index where a row has one, else by its
plaintext.

Both halves are asked together, ``(index IS NOT NULL AND index = ?) OR (index IS NULL AND plaintext
= ?)``, which is true or false wherever there is a value. ``index = ? OR ...`` would be NULL for a
pending row, and its negation would lose it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, and_, not_, or_, type_coerce
from sqlalchemy import types as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    ClauseList,
    ColumnElement,
    False_,
    Grouping,
    Null,
    True_,
)
from sqlalchemy.sql.selectable import ScalarSelect, Select
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.errors import EncFieldsError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.adoption.columns import (
    HiddenBytes,
    PlaintextType,
    plaintext_column,
    plaintext_type,
    takes_bytes_alone,
)
from encfields.orm.adoption.plaintext import (
    WRITE_BOTH,
    WRITE_SEALED,
    Plaintext,
    adoption_of,
    is_sqlalchemys,
)
from encfields.orm.adoption.random_ciphertext import are_alike, writes_at_random
from encfields.orm.adoption.text_form import ExactForm, read_in_sql, read_type
from encfields.orm.declare.row_keys import stored_type
from encfields.orm.query.comparison import (
    EQUALITY,
    MEMBERSHIP,
    NEGATIVE,
    BlindValue,
    IndexComparison,
)
from encfields.orm.query.lookup_type import CompoundValue
from encfields.orm.query.operand import IndexOperand
from encfields.orm.read.provenance import row_part, source_column
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.blind_index import IndexBinding


# -- IS NULL -----------------------------------------------------------------------------------


class NullTest(internals.NegatableComparison):
    """``IS NULL`` or ``IS NOT NULL`` of a column that is being adopted."""

    inherit_cache = True

    @classmethod
    def of(cls, binary: BinaryExpression[Any]) -> NullTest:
        """The test that SQLAlchemy made, as one of ours."""
        return cls(
            binary.left, binary.right, binary.operator, type_=binary.type, negate=binary.negate
        )

    def negation(self, negated: Any) -> Any:
        """It stays one of ours."""
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


# -- comparisons -------------------------------------------------------------------------------


class PlainOperand(internals.CacheKeyedType, TypeDecorator[Any]):
    """A value that is compared with a plaintext column.

    :param declared: the column's type. :param part: of a compound value, its number.
    :param exact: compared as the bytes that it is stored as.
    """

    impl = String
    cache_ok = True

    def __init__(self, declared: TypeEngine[Any], part: int | None, *, exact: bool = False) -> None:
        super().__init__()
        self.part = part
        self.exact = exact
        self.declared = declared
        self.impl = sa.LargeBinary() if exact else declared  # type: ignore[assignment]
        self.impl_instance = self.impl
        self._plain = PlaintextType(declared)

    def statement_cache_key(self) -> tuple[Any, ...]:
        """Tells operands apart in SQLAlchemy's statement cache."""
        return PlainOperand, internals.cache_key_of(self.declared), self.part, self.exact

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        process = self._plain.dialect_impl(dialect).bind_processor(dialect)
        part, exact, declared = self.part, self.exact, self.declared
        # Compared with bytes, text is taken for its bytes there.
        encode = not takes_bytes_alone(dialect)

        def bind(value: Any) -> Any:
            if isinstance(value, CompoundValue):
                value = value.values[part or 0]
            if process is not None:
                bound, given = process(value), value
                value = bound
                # SQLAlchemy's own types are functions of the value; another library's may not be.
                if not is_sqlalchemys(declared) and not are_alike(process(given), bound):
                    raise _random_ciphertext(declared)
            is_text = exact and encode and isinstance(value, str)
            return HiddenBytes(value.encode()) if is_text else value

        return leaves_no_trace(bind)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self


def _random_ciphertext(declared: TypeEngine[Any]) -> EncFieldsError:
    return UnsupportedOperationError(
        "it cannot be asked yet: a row that is not sealed yet holds what "
        f"{type(declared).__name__} wrote, another ciphertext each time, so that nothing can be "
        'compared with it. Ask from the phase "write-sealed" on, in which every value is in the '
        "blind index",
        reason="adoption",
    )


def is_answered_by_plaintext(*sides: IndexOperand | None) -> bool:
    """Whether the plaintext alone answers, since each of the columns is in the first phase."""
    phases = [adopts.phase for side in sides if side and (adopts := adoption_of(side.column))]
    return (
        bool(phases) and len(phases) == len([s for s in sides if s]) and set(phases) == {WRITE_BOTH}
    )


def is_random(column: Any, dialect: Dialect) -> bool:
    """Whether what a column adopts is ciphertext with which nothing can be compared."""
    adopts = adoption_of(column)
    if adopts is None or adopts.type is None:
        return False
    return writes_at_random(adopts.type, column.type.inner, dialect)


def may_be_pending(index: IndexBinding) -> bool:
    """Whether a row may have no index because its value is not sealed yet."""
    return any(adoption_of(source.column) is not None for source in index.sources)


def by_either(
    by_index: ColumnElement[Any],
    companions: Sequence[ColumnElement[Any]],
    by_plaintext: ColumnElement[Any],
) -> ColumnElement[bool]:
    """A comparison by the index where the row has one, else by the plaintext.

    :param companions: the columns of the index, one a version.
    """
    has_index = or_(*(companion.is_not(None) for companion in companions))
    has_none = and_(*(companion.is_(None) for companion in companions))
    return Grouping(or_(and_(has_index, by_index), and_(has_none, by_plaintext)))


def compared_in_plaintext(
    element: IndexComparison,
    side: IndexOperand,
    operand: Any,
    index: IndexBinding | None,
    compiler: Any,
) -> ColumnElement[Any]:
    """What the comparison with a value asks of the plaintext.

    :param side: the encrypted column. :param operand: the value, or a list of them.
    :param index: that answers where a row has one.
    :raises UnsupportedOperationError: the plaintext cannot answer it.
    """
    sources = [side.column] if index is None else [one.column for one in index.sources]
    _require_whole(side, index, sources)
    many = len(sources) > 1
    if many and element.operator not in EQUALITY:
        raise refused(side, "a compound blind index is asked for one value while it is adopted")
    positive = operators.in_op if element.operator in MEMBERSHIP else operators.eq
    parts = [
        _one_column(side, column, number if many else None, positive, operand, compiler)
        for number, column in enumerate(sources)
    ]
    whole = and_(*parts)
    return not_(whole) if element.operator in NEGATIVE else whole


def _require_whole(side: IndexOperand, index: IndexBinding | None, sources: list[Any]) -> None:
    """See that what is asked of the index the plaintext can be asked as well."""
    if any(adoption_of(column) is None for column in sources):
        raise refused(
            side,
            "not all columns of the index are being adopted, so a pending row has nothing to be "
            "compared with; adopt them together",
        )
    lossy = index is not None and any(transform.lossy for transform in index.definition.transforms)
    if lossy and side.view is not None:
        raise refused(
            side,
            "a row that is not sealed yet has its plaintext alone, of which the database does not "
            "know the transform. Compare the whole value, or ask from the phase "
            '"write-sealed" on',
        )


def _one_column(
    side: IndexOperand, column: Any, part: int | None, operator: Any, operand: Any, compiler: Any
) -> ColumnElement[Any]:
    adopts = adoption_of(column)
    assert adopts is not None  # noqa: S101 - the caller looked
    plain = plain_of(side.expression, column)
    declared = plaintext_type(column, adopts)
    if is_random(column, compiler.dialect):
        raise _random_ciphertext(declared)
    read = read_in_sql(declared, plain, compiler.dialect)
    if read is not None:  # of ciphertext, which is never twice the same
        value = read_type(declared, column.type.inner, compiler.dialect)
        return _compared(read, operand, PlainOperand(value, part), operator, compiler)
    as_plain = _compared(plain, operand, PlainOperand(declared, part), operator, compiler)
    if adopts.phase == WRITE_BOTH or not _follows_collation(declared, compiler.dialect):
        return as_plain
    as_bytes = PlainOperand(declared, part, exact=True)
    exact = _compared(ExactForm(plain, declared), operand, as_bytes, operator, compiler)
    return and_(as_plain, exact)


def _compared(
    stored: ColumnElement[Any], operand: Any, type_: PlainOperand, operator: Any, compiler: Any
) -> ColumnElement[Any]:
    value = _operand(operand, type_, compiler)
    return BinaryExpression(stored, value, operator, type_=sa.Boolean())


def plain_of(expression: Any, column: Any) -> ColumnElement[Any]:
    """The plaintext column of the row that `expression` comes from."""
    return row_part(expression, plaintext_column(column), column)


def _follows_collation(declared: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether the database may hold two different values for equal."""
    stored = stored_type(declared, dialect)
    return isinstance(stored, String) and not isinstance(stored, sa.Enum)


def _operand(part: Any, type_: TypeEngine[Any], compiler: Any) -> Any:
    """A value of the comparison, or a list of them, as binds of the plaintext."""
    while isinstance(part, Grouping):
        part = part.element
    if isinstance(part, ClauseList):
        listed = [
            one if isinstance(one, Null) else _operand(one, type_, compiler) for one in part.clauses
        ]
        return ClauseList(*listed).self_group(against=operators.in_op)
    value = part.clause if isinstance(part, BlindValue) else part
    if isinstance(value, True_ | False_):
        return BindParameter(None, isinstance(value, True_), type_=type_, unique=True)
    if not isinstance(value, BindParameter):
        raise UnsupportedOperationError(
            "a column that is being adopted can be compared with a value or an equally indexed "
            "column only",
            reason="operator",
        )
    if value.unique:
        return internals.retyped_bind(value, type_, rename=True)
    return internals.same_value_bind(value, type_, compiler)


# -- other expressions -------------------------------------------------------------------------


class OfPlaintext(Grouping[Any]):
    """An expression over the plaintext, which an UPDATE may assign and nothing may ask.

    In the phase ``"read-sealed"`` a row may have no plaintext any more.

    :param refusal: gives the error for every other use.
    """

    inherit_cache = False

    def __init__(self, element: Any, refusal: Callable[[], EncFieldsError]) -> None:
        super().__init__(element)
        self.refusal = refusal


@compiles(OfPlaintext)
def _refuse_expression(element: OfPlaintext, compiler: Any, **kw: Any) -> str:
    raise element.refusal()


def in_plaintext(expression: Any) -> Any:
    """The expression with plaintext columns in the place of encrypted ones that adopt them."""

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
    return visitors.replacement_traverse(expression, {}, replaced)


def with_plaintext_asked(statement: Any) -> Any:
    """The statement before it is compiled: what is sorted by, and asked in functions, is the
    plaintext as long as every reader reads that."""
    if isinstance(statement, Select) and (clauses := internals.order_by_clauses(statement)):
        changed = tuple(_first_phase(clause) for clause in clauses)
        if any(new is not old for new, old in zip(changed, clauses, strict=True)):
            statement = internals.with_order_by(statement, changed)
    return internals.with_criteria_rewritten(statement, _first_phase)


def _first_phase(expression: Any) -> Any:
    """The expression, or the same over plaintext if it names a column of the first phase."""
    for element in visitors.iterate(expression):
        adopts = adoption_of(element) if getattr(element, "table", None) is not None else None
        if adopts is not None and adopts.phase == WRITE_BOTH:
            return in_plaintext(expression)
    return expression


# -- columns compared with columns -------------------------------------------------------------


def joined_in_plaintext(
    element: IndexComparison, left: IndexOperand, right: IndexOperand
) -> ColumnElement[Any]:
    """Two columns of the first phase compared by their plaintexts."""
    return BinaryExpression(
        _plain_side(element.left, left),
        _plain_side(element.right, right),
        element.operator,
        type_=element.type,
        modifiers=element.modifiers,
    )


def _plain_side(part: Any, side: IndexOperand) -> Any:
    while isinstance(part, Grouping):
        part = part.element
    plain = plain_of(side.expression, side.column)
    if not isinstance(part, ScalarSelect | Select):
        return plain
    inner: Any = part.element if isinstance(part, ScalarSelect) else part
    (column,) = inner.selected_columns
    alike = internals.annotated_like(plain, column)
    return inner.with_only_columns(alike, maintain_column_froms=True).scalar_subquery()


def join_by_either(
    element: IndexComparison,
    by_index: ColumnElement[Any],
    sides: Sequence[tuple[IndexOperand, ColumnElement[Any]]],
) -> ColumnElement[Any]:
    """Two columns compared by their indexes where both rows have one, else by their plaintexts.

    :param sides: each with the column of its index.
    :raises UnsupportedOperationError: one of them has no plaintext to compare, or is a subquery.
    """
    for side, _ in sides:
        if adoption_of(side.column) is None or side.subquery is not None:
            raise refused(
                side,
                "the two columns can be compared when no row of either is left in plaintext: from "
                'the phase "write-sealed" on',
            )
    plain = [plain_of(side.expression, side.column) for side, _ in sides]
    companions = [companion for _, companion in sides]
    equal = element.operator is operators.eq
    return Grouping(
        or_(
            and_(*(companion.is_not(None) for companion in companions), by_index),
            and_(
                or_(*(companion.is_(None) for companion in companions)),
                plain[0] == plain[1] if equal else plain[0] != plain[1],
            ),
        )
    )


def refused(side: IndexOperand, why: str) -> EncFieldsError:
    """The refusal of what cannot be asked while the column is being adopted."""
    adopts = adoption_of(side.column)
    phase = "" if adopts is None else f" in the phase {adopts.phase!r}"
    return UnsupportedOperationError(
        f"it cannot be asked{phase}: {why}",
        table=str(side.column.table.fullname),
        column=side.column.name,
        reason="adoption",
    )


def is_last_phase(*sides: IndexOperand | None) -> bool:
    """Whether no row is pending, because every column is past the comparison of all values."""
    adoptions: list[Plaintext] = [
        adopts for side in sides if side and (adopts := adoption_of(side.column))
    ]
    return all(adopts.phase == WRITE_SEALED for adopts in adoptions)
