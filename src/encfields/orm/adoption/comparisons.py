"""Comparisons of a column that is being adopted: by the index if the row has one, else by
plaintext.

Both are combined in one condition, ``(index IS NOT NULL AND index = ?) OR (index IS NULL AND
plaintext = ?)``, which is true or false for every row with a value. ``index = ? OR ...`` would be
NULL for a pending row, and its negation would not find the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, and_, not_, or_
from sqlalchemy import types as sa
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, ColumnElement, Grouping
from sqlalchemy.sql.selectable import ScalarSelect, Select
from sqlalchemy.types import TypeEngine

from encfields.errors import EncFieldsError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.adoption.columns import plaintext_type
from encfields.orm.adoption.expressions import plain_of
from encfields.orm.adoption.plain_operand import (
    PlainOperand,
    plain_operand,
    random_ciphertext,
    writes_at_random,
)
from encfields.orm.adoption.plaintext import WRITE_BOTH, WRITE_SEALED, Plaintext, adoption_of
from encfields.orm.adoption.text_form import ExactForm, read_in_sql, read_type
from encfields.orm.declare.row_keys import stored_type
from encfields.orm.query.comparison import (
    EQUALITY,
    MEMBERSHIP,
    NEGATIVE,
    IndexComparison,
    ungrouped,
)
from encfields.orm.query.index_operand import IndexOperand

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.index_binding import IndexBinding


def is_answered_by_plaintext(*sides: IndexOperand | None) -> bool:
    """Whether only the plaintext is compared, since each column is in the first phase."""
    phases = [adopts.phase for side in sides if side and (adopts := adoption_of(side.column))]
    return (
        bool(phases) and len(phases) == len([s for s in sides if s]) and set(phases) == {WRITE_BOTH}
    )


def is_random(column: Any, dialect: Dialect) -> bool:
    """Whether a column adopts ciphertext that cannot be compared with anything."""
    adopts = adoption_of(column)
    if adopts is None or adopts.type is None:
        return False
    return writes_at_random(adopts.type, column.type.inner, dialect)


def may_be_pending(index: IndexBinding) -> bool:
    """Whether a row may have no index because its value is not sealed yet."""
    return any(adoption_of(source.column) is not None for source in index.sources)


def by_either(
    by_index: ColumnElement[Any],
    index_columns: Sequence[ColumnElement[Any]],
    by_plaintext: ColumnElement[Any],
) -> ColumnElement[bool]:
    """A comparison by the index if the row has one, else by the plaintext.

    :param index_columns: the columns of the index, one for each version.
    """
    has_index = or_(*(index_column.is_not(None) for index_column in index_columns))
    has_none = and_(*(index_column.is_(None) for index_column in index_columns))
    # The plaintext goes first: of the binds of one name, SQLAlchemy renders a list as the type of
    # the last one, under the name that the index's bind has.
    return Grouping(or_(and_(has_none, by_plaintext), and_(has_index, by_index)))


def compared_in_plaintext(
    element: IndexComparison,
    side: IndexOperand,
    operand: Any,
    index: IndexBinding | None,
    compiler: Any,
) -> ColumnElement[Any]:
    """The comparison of the plaintext with a value.

    :param side: the encrypted column.
    :param operand: the value, or a list of values.
    :param index: the index for rows that have one.
    :raises UnsupportedOperationError: the plaintext cannot be compared.
    """
    sources = [side.column] if index is None else [source.column for source in index.sources]
    _require_whole(side, index, sources)
    many = len(sources) > 1
    if many and element.operator not in EQUALITY:
        raise refused(
            side,
            "while its columns are being adopted, a compound blind index takes one value at a time",
        )
    positive = operators.in_op if element.operator in MEMBERSHIP else operators.eq
    parts = [
        _one_column(side, column, number if many else None, positive, operand, compiler)
        for number, column in enumerate(sources)
    ]
    whole = and_(*parts)
    return not_(whole) if element.operator in NEGATIVE else whole


def _require_whole(side: IndexOperand, index: IndexBinding | None, sources: list[Any]) -> None:
    """Check that the plaintext can answer what the index is asked."""
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
            "a row that is not sealed yet has only its plaintext, to which the database cannot "
            'apply the transform. Compare the whole value, or ask from the phase "write-sealed" on',
        )


def _one_column(
    side: IndexOperand, column: Any, part: int | None, operator: Any, operand: Any, compiler: Any
) -> ColumnElement[Any]:
    adopts = adoption_of(column)
    assert adopts is not None  # noqa: S101 - the caller looked
    plain = plain_of(side.expression, column)
    declared = plaintext_type(column, adopts)
    if is_random(column, compiler.dialect):
        raise random_ciphertext(declared)
    read = read_in_sql(declared, plain, compiler.dialect)
    if read is not None:  # another library's ciphertext, which is different each time
        value = read_type(declared, column.type.inner, compiler.dialect)
        return _compared(read, column, operand, PlainOperand(value, part), operator, compiler)
    as_type = PlainOperand(declared, part)
    as_plain = _compared(plain, column, operand, as_type, operator, compiler)
    if adopts.phase == WRITE_BOTH or not _follows_collation(declared, compiler.dialect):
        return as_plain
    as_bytes = PlainOperand(declared, part, exact=True)
    exact = _compared(ExactForm(plain, declared), column, operand, as_bytes, operator, compiler)
    return and_(as_plain, exact)


def _compared(
    stored: ColumnElement[Any],
    column: Any,
    operand: Any,
    type_: PlainOperand,
    operator: Any,
    compiler: Any,
) -> ColumnElement[Any]:
    value = plain_operand(operand, type_, column, compiler)
    if isinstance(value, BindParameter) and value.expanding:
        value.expand_op = operator  # an empty list matches all rows or none, depending on it
    return BinaryExpression(stored, value, operator, type_=sa.Boolean())


def _follows_collation(declared: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether the database may treat two different values as equal."""
    stored = stored_type(declared, dialect)
    return isinstance(stored, String) and not isinstance(stored, sa.Enum)


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
    part = ungrouped(part)
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
    """Two columns compared by their indexes if both rows have one, else by their plaintexts.

    :param sides: each with its index column.
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
    index_columns = [index_column for _, index_column in sides]
    equal = element.operator is operators.eq
    return Grouping(
        or_(
            and_(*(index_column.is_not(None) for index_column in index_columns), by_index),
            and_(
                or_(*(index_column.is_(None) for index_column in index_columns)),
                plain[0] == plain[1] if equal else plain[0] != plain[1],
            ),
        )
    )


def refused(side: IndexOperand, why: str) -> EncFieldsError:
    """The error for a query that is impossible while the column is being adopted."""
    adopts = adoption_of(side.column)
    phase = "" if adopts is None else f" in the phase {adopts.phase!r}"
    return UnsupportedOperationError(
        f"it cannot be queried{phase}: {why}",
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
