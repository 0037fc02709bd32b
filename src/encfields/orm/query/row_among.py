"""``tuple_(number, column).in_([(1, "a")])``, answered by the database with rows of hashes."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy.sql.elements import BinaryExpression, BindParameter, ColumnElement, Tuple
from sqlalchemy.types import TupleType

from encfields.orm import internals
from encfields.orm.adoption.comparisons import may_be_pending
from encfields.orm.query.comparison import MEMBERSHIP, IndexComparison
from encfields.orm.query.criteria_lookups import is_indexed
from encfields.orm.query.index_operand import IndexOperand, asked
from encfields.orm.query.lookup_type import Compared, LookupType
from encfields.orm.query.resolution import answering, refused
from encfields.orm.query.statement_scope import enclosing
from encfields.orm.write.hidden_values import veil_all


def is_row_among(element: BinaryExpression[Any]) -> bool:
    """Whether a row of columns is compared with a list of rows that comes as one bind."""
    rows = element.right
    if element.operator not in MEMBERSHIP or not isinstance(rows, BindParameter):
        return False
    return isinstance(rows.type, TupleType) and len(rows.type.types) == len(element.left.clauses)


def row_among(element: BinaryExpression[Any], compiler: Any) -> ColumnElement[Any]:
    """The same comparison of the columns' indexes.

    The list may be longer at the next execution: a row stays one, and each of its values is hashed
    as its column's are.

    :raises UnsupportedOperationError: one of the columns has no single index that answers it.
    """
    rows: Any = element.right
    veil_all(rows)
    sides, types = [], []
    for column, type_ in zip(element.left.clauses, rows.type.types, strict=True):
        if not is_indexed(column):
            sides.append(column)
            types.append(type_)
            continue
        part = IndexComparison.exchanged(column, element.operator, rows, element, is_all=False)
        index_column, lookup = _looked_up(part, compiler)
        sides.append(index_column)
        types.append(lookup)
    hashed = internals.retyped_bind(rows, TupleType(*types), rename=False)
    return BinaryExpression(Tuple(*sides), hashed, element.operator, type_=element.type)


def _looked_up(part: IndexComparison, compiler: Any) -> tuple[ColumnElement[Any], LookupType]:
    """The index in the place of one column, and what the rows have in that place."""
    operand = cast("IndexOperand", asked(part.left))
    index, *others = answering(part, operand)
    if others or index.other is not None or may_be_pending(index):
        raise refused(
            operand,
            part,
            "while the column has two kinds of hashes or is being adopted, its rows in a list are "
            "found in the WHERE of a statement only: write and_() and or_() of each column",
        )
    compared = Compared(part, operand, operand.needs_filter(index), enclosing(compiler))
    return operand.index_column(index), LookupType(index, compared)
