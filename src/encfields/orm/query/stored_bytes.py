"""Finds stored bytes, of a message or a hash, in an expression that shows another type.

``type_coerce(Patient.ssn, LargeBinary)`` is a message, and ``func.lower()`` of it, a CASE that
gives it, or a subquery's column that is it, hold its bytes as well. What tells only their number,
or whether there are any, does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    Case,
    Cast,
    ClauseList,
    ColumnClause,
    FunctionFilter,
    Grouping,
    Label,
    Over,
    TypeCoerce,
    UnaryExpression,
    WithinGroup,
)
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import CompoundSelect, ScalarSelect, Select, SelectStatementGrouping

from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.query.comparison import BlindValue, BlindView
from encfields.orm.query.statement_scope import selects_in, unlabelled

_SIZES = ("bit_length", "char_length", "character_length", "datalength", "length", "octet_length")
_OF_ONE = ("encode", "get_byte", "left", "right", "substr", "substring")
"""Functions of one value, whose further arguments it is not compared with."""
_SELECTS = (ScalarSelect, Select, CompoundSelect, SelectStatementGrouping)


def is_index_column(element: Any) -> bool:
    """Whether it is the column of a blind index, a table's or what is selected of one."""
    return isinstance(element, ColumnClause) and isinstance(element.type, IndexColumnType)


def is_hash(element: Any) -> bool:
    """Whether it is ``column.blind()``, or the column of a blind index."""
    return isinstance(element, BlindValue) or is_index_column(element)


def named_column(element: Any) -> Any:
    """The column that an error names: of ``column.blind()``, the encrypted one."""
    return element.clause if isinstance(element, BlindValue) else element


def stored_in(element: Any) -> Any | None:
    """The encrypted column, its blind index, or that one's column, which an element is, through
    labels, subqueries and other types; ``None`` for anything else.

    An alias's or a subquery's column that shows by its type what it holds is returned itself, since
    an error is to name it as the statement does.
    """
    bare = unlabelled(element)
    for base in getattr(bare, "base_columns", ()):
        inside = base
        while isinstance(inside, TypeCoerce) and not isinstance(inside, BlindValue):
            inside = unlabelled(inside.clause)
        if _is_stored(inside):
            return bare if _is_stored(bare) else inside
    return None


def _is_stored(element: Any) -> bool:
    return is_hash(element) or (is_encrypted(element) and not isinstance(element, BindParameter))


def sorted_bytes(element: Any) -> Any | None:
    """The encrypted column, its blind index, or that one's column, whose bytes are sorted by where
    an element is: also of what it is computed of, as in ``func.substr(message, 1, 3)``."""
    bare = unlabelled(element)
    if isinstance(getattr(bare, "table", None), Table):  # as most are
        return bare if is_encrypted(bare) or is_index_column(bare) else None
    return next((found for _, found in _stored_within(bare)), None)


def disguised_bytes(element: Any) -> Any | None:
    """As :func:`sorted_bytes`, unless the element itself shows by its type what it holds."""
    bare = unlabelled(element)
    if isinstance(bare, BindParameter) or isinstance(getattr(bare, "table", None), Table):
        return None  # as most are
    every = _stored_within(bare)
    return next((found for holder, found in every if not _shows(holder, bare)), None)


def _shows(holder: Any, element: Any) -> bool:
    if is_encrypted(holder) or isinstance(holder.type, BlindView):
        return True
    return is_index_column(holder) and holder is element


def _stored_within(element: Any) -> Iterator[tuple[Any, Any]]:
    """Each element that is stored bytes, and what :func:`stored_in` says of it."""
    waiting = [element]
    while waiting:
        part = unlabelled(waiting.pop())
        found = stored_in(part)
        if found is not None:
            yield part, found
        elif isinstance(part, ColumnClause) and part.table is not None:
            waiting += (base for base in part.base_columns if base is not part)
        else:
            waiting += _computed_of(part)


def _computed_of(part: Any) -> list[Any]:
    """The parts of an expression whose bytes its own value is made of."""
    if isinstance(part, FunctionElement):
        return [] if _tells_size(part) else [*getattr(part, "clauses", ())]
    if isinstance(part, Case):
        return [
            *(result for _, result in part.whens),
            *([] if part.else_ is None else [part.else_]),
        ]
    if isinstance(part, Cast | TypeCoerce):
        return [part.clause]
    if isinstance(part, ClauseList):
        return [*part.clauses]
    if isinstance(part, BinaryExpression):
        return [] if operators.is_comparison(part.operator) else [part.left, part.right]
    if isinstance(part, UnaryExpression):
        return [] if part.operator is operators.exists else [part.element]
    if isinstance(part, Over | FunctionFilter | WithinGroup | Grouping | Label):
        return [part.element]
    if isinstance(part, _SELECTS):
        return [column for select in selects_in(part) for column in select.selected_columns]
    return []


def _tells_size(function: Any) -> bool:
    return isinstance(function, count) or _name_of(function) in _SIZES


def _name_of(function: Any) -> str:
    return str(getattr(function, "name", "")).lower()


def compares_arguments(function: Any) -> bool:
    """Whether a function may compare its arguments with each other, as ``nullif()`` does."""
    return not _tells_size(function) and _name_of(function) not in _OF_ONE


def values_beside(part: Any) -> Iterator[BindParameter[Any]]:
    """The values that an expression gives, outside the arguments of functions."""
    waiting = [part]
    while waiting:
        element = unlabelled(waiting.pop())
        if isinstance(element, BindParameter):
            yield element
        elif not isinstance(element, FunctionElement):
            waiting += _computed_of(element)
