"""What holds ciphertext or hashes without being an encrypted column: an index column that the
application asks by itself, and a table's whole row as one value.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    Case,
    ClauseList,
    TableValuedColumn,
)
from sqlalchemy.sql.functions import FunctionElement, coalesce, count
from sqlalchemy.sql.visitors import iterate

from encfields.errors import UnsupportedOperationError
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.query.ciphertext_uses import ciphertext_refused
from encfields.orm.query.comparison import EQUALITY, MEMBERSHIP, OF_NULL_TOO
from encfields.orm.query.statement_scope import selects_in, unlabelled
from encfields.orm.query.stored_bytes import is_index_column, named_column
from encfields.orm.read.provenance import column_named, table_named

_OF_HASHES = (*EQUALITY, *MEMBERSHIP, *OF_NULL_TOO, operators.is_, operators.is_not)


def check_index_column(element: Any) -> None:
    """Refuse to compare an index column with a value, or to give it to a function.

    It may be compared with another index column, which SQLAlchemy makes of a join by hand.

    :raises UnsupportedOperationError: the database would compare a hash with a plaintext.
    """
    if isinstance(element, BinaryExpression):
        parts = [*_listed(element.left), *_listed(element.right)]
    elif isinstance(element, Case) and element.value is not None:
        parts = [element.value, *(condition for condition, _ in element.whens)]
    elif isinstance(element, FunctionElement) and not isinstance(element, count):
        parts = list(getattr(element, "clauses", ()))
    else:
        return
    columns = [part for part in map(unlabelled, parts) if is_index_column(part)]
    if isinstance(element, BinaryExpression):
        gives_hash = element.operator in _OF_HASHES
    elif isinstance(element, Case):
        gives_hash = True
    else:
        gives_hash = isinstance(element.type, IndexColumnType) and isinstance(element, coalesce)
    if columns and (not gives_hash or any(map(has_value, parts))):
        raise index_column_refused(columns[0])


def index_column_refused(column: Any) -> UnsupportedOperationError:
    """The refusal of an index, or its column, in the place of the column that it is an index of."""
    column = named_column(column)
    return UnsupportedOperationError(
        "the column of a blind index holds hashes, which equal no value: compare the encrypted "
        "column instead, as in column == value",
        table=table_named(column),
        column=column_named(column),
        reason="companion",
    )


def check_whole_row(element: Any) -> None:
    """Refuse a table's row as one value, as in ``func.to_jsonb(table.table_valued())``.

    :raises UnsupportedOperationError: a column of the row is encrypted.
    """
    if isinstance(element, TableValuedColumn):
        for column in element.scalar_alias.c:
            if is_encrypted(column):
                raise ciphertext_refused(
                    column,
                    "a whole row as one value",
                    "select the columns and put it together in Python after loading",
                )


def _listed(side: Any) -> tuple[Any, ...]:
    inside = unlabelled(side)
    if isinstance(inside, ClauseList):
        return tuple(inside.clauses)
    selected = tuple(column for select in selects_in(inside) for column in select.selected_columns)
    return selected or (inside,)


def has_value(part: Any) -> bool:
    """Whether an expression contains a value."""
    return any(isinstance(element, BindParameter) for element in iterate(part))
