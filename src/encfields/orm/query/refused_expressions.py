"""Refuses ciphertext in expressions: operators, functions, CAST, CASE.

An encrypted column may be a direct part of a few known elements, and of no others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import LargeBinary
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    Case,
    ClauseList,
    FunctionFilter,
    Grouping,
    Label,
    Null,
    Tuple,
    TypeCoerce,
    UnaryExpression,
)
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import ForUpdateArg, FromClause

from encfields.errors import UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.query.ciphertext_uses import (
    COLUMN_FIRST,
    ciphertext_refused,
    ciphertexts_among,
    hash_refused,
    hashes_among,
)
from encfields.orm.query.comparison import (
    EQUALITY,
    MEMBERSHIP,
    OF_NULL_TOO,
    BlindValue,
    CiphertextComparison,
    IndexComparison,
    any_or_all_advice,
    ungrouped,
)
from encfields.orm.query.operator_names import operator_name
from encfields.orm.query.refused_parts import has_value, index_column_refused
from encfields.orm.query.statement_scope import selects_in, unlabelled
from encfields.orm.query.stored_bytes import (
    compares_arguments,
    disguised_bytes,
    is_hash,
    is_index_column,
    values_beside,
)


def check_expression(element: Any, is_asked: Callable[[Any], bool]) -> None:
    """Refuse an encrypted column, or ``column.blind()``, as a part of an expression.

    :param is_asked: whether the compiler asks an index for the truth of a condition.
    :raises UnsupportedOperationError: the expression would use ciphertext, or a hash.
    """
    if isinstance(element, FunctionElement) and not isinstance(element, count):
        name = getattr(element, "name", "function")
        arguments = getattr(element, "clauses", ())  # next_value() of a Sequence has none
        for ciphertext in ciphertexts_among(arguments):
            raise ciphertext_refused(
                ciphertext, f"the function {name}()", _instead_of_function(name)
            )
        for hashed in hashes_among(arguments):
            raise hash_refused(hashed, f"the function {name}()")
        _check_arguments(element, arguments, f"the function {name}()")
    elif (stored := _bytes_compared_with_value(element)) is not None:
        is_case = isinstance(element, Case)
        raise _bytes_refused(stored, "CASE" if is_case else repr(operator_name(element.operator)))
    elif not _may_hold_ciphertext(element):
        parts = [*element.get_children(), *_listed(element)]
        if isinstance(element, Case | FunctionFilter):
            parts = _without_asked(element, is_asked) or parts
        # Prefer one that no index can answer.
        for ciphertext in sorted(ciphertexts_among(parts), key=lambda one: bool(one.type.indexes)):
            raise ciphertext_refused(ciphertext, _use(element), _instead(element, ciphertext))
        if not _may_hold_hash(element):
            for hashed in hashes_among(parts):
                operator = getattr(element, "operator", None)
                fix = any_or_all_advice(operator, *element.get_children()) or COLUMN_FIRST
                raise hash_refused(hashed, _use(element), fix)


def _without_asked(element: Any, is_asked: Callable[[Any], bool]) -> list[Any]:
    """The parts of a CASE, or of a function with a FILTER, but for conditions that are asked."""
    if isinstance(element, FunctionFilter):
        return [element.func, *(() if is_asked(element.criterion) else (element.criterion,))]
    if element.value is not None:
        return []
    conditions = [condition for condition, _ in element.whens if not is_asked(condition)]
    results = [*(result for _, result in element.whens), element.else_]
    return [*conditions, *(result for result in results if result is not None)]


def _instead_of_function(name: str) -> str:
    fix = "apply it in Python after loading"
    if name not in ("coalesce", "ifnull"):
        return fix
    return f"{fix}. update().where(column.is_(None)).values(...) sets what is NULL"


def _check_arguments(function: Any, arguments: Any, what: str) -> None:
    """Refuse a message's bytes beside a value, which a function may compare them with, and any use
    of a hash's."""
    for one in arguments:
        stored = disguised_bytes(one)
        if stored is None:
            continue
        if is_hash(stored):
            raise _bytes_refused(stored, what)
        others = (other for other in arguments if other is not one)
        if compares_arguments(function) and any(map(has_value, others)):
            raise _bytes_refused(stored, what)


def _bytes_refused(stored: Any, what: str) -> UnsupportedOperationError:
    """The refusal of stored bytes beside a value.

    :param stored: the column or index whose bytes they are.
    :param what: the operator or function that would get them.
    """
    if is_index_column(stored):
        return index_column_refused(stored)
    if is_hash(stored):
        return hash_refused(stored, what)
    return ciphertext_refused(
        stored,
        f"{what} of its bytes with a value, which would be sent in plaintext,",
        "compare the column itself, as in column == value; to look for a message, select "
        "type_coerce(column, LargeBinary) and compare in Python",
    )


def _bytes_compared_with_value(element: Any) -> Any | None:
    """The encrypted column, or its index, whose stored bytes are compared with a value."""
    if isinstance(element, BinaryExpression):
        sides = [element.left, element.right]
    elif isinstance(element, Case) and element.value is not None:
        sides = [element.value, *(condition for condition, _ in element.whens)]
    else:
        return None
    parts = [part for side in sides for part in _compared(side)]
    stored = [disguised_bytes(part) for part in parts]
    first = next((column for column in stored if column is not None), None)
    if first is None:
        return None
    beside = (
        has_value(part) if column is None else next(values_beside(part), None) is not None
        for part, column in zip(parts, stored, strict=True)
    )
    return first if any(beside) else None


def _compared(side: Any) -> list[Any]:
    """What one side of a comparison is made of: a row's parts, and what a subquery selects."""
    bare = unlabelled(side)
    if isinstance(bare, ClauseList):
        return [*map(unlabelled, bare.clauses)]
    selected = [column for select in selects_in(bare) for column in select.selected_columns]
    return [*map(unlabelled, selected)] or [bare]


def _listed(element: Any) -> tuple[Any, ...]:
    """The list of an IN, so that a refusal names IN and not the commas; or what a subquery compared
    with a row selects.
    """
    if not isinstance(element, BinaryExpression):
        return ()
    sides = (element.left, element.right)
    selects = (select for side in sides for select in selects_in(side))
    listed = [column for select in selects for column in select.selected_columns]
    among = ungrouped(element.right)
    if element.operator in MEMBERSHIP and isinstance(among, ClauseList):
        listed.extend(among.clauses)
    return tuple(listed)


def _may_hold_ciphertext(element: Any) -> bool:
    """Whether an encrypted column may be a direct part of `element`.

    A wrapper, such as a label, is judged by its own place.
    """
    if isinstance(element, BinaryExpression):
        return isinstance(element, CiphertextComparison | IndexComparison) or (
            element.operator in (operators.is_, operators.is_not)
            and isinstance(element.right, Null)
        )
    if isinstance(element, UnaryExpression):
        return element.operator is operators.exists
    if isinstance(element, TypeCoerce):
        keeps_bytes = isinstance(element.type, LargeBinary) or internals.is_carried(element)
        return isinstance(element, BlindValue) or keeps_bytes
    # FOR UPDATE OF a column locks the rows of its table.
    return isinstance(
        element, FromClause | ForUpdateArg | Grouping | Label | count
    ) or internals.stands_for_its_parts(element)


def _may_hold_hash(element: Any) -> bool:
    """Whether ``column.blind()`` may be a direct part of an element that ciphertext may not."""
    if isinstance(element, UnaryExpression):
        return element.operator is operators.distinct_op
    return type(element) is ClauseList  # such as PARTITION BY


def _instead(element: Any, ciphertext: Any) -> str:
    """What to write instead."""
    is_of_rows = any(isinstance(one, Tuple) for one in (element, *element.get_children()))
    if ciphertext.type.indexes and is_of_rows:
        return (
            "compare each column by itself, as in and_(a == x, b == y), a tuple_() with plain "
            "rows, or a subquery in exists()"
        )
    if getattr(element, "operator", None) in (*EQUALITY, *MEMBERSHIP, *OF_NULL_TOO):
        if ciphertext.type.indexes:
            return any_or_all_advice(element.operator, *element.get_children()) or COLUMN_FIRST
        return (
            "give the column index=BlindIndex() and compare it with a value, as in column == "
            "value, or compare in Python after loading"
        )
    if not isinstance(element, Case):
        return "do it in Python after loading"
    if ciphertext.type.indexes:
        return "write case((column == value, result), ...), and in an UPDATE the condition in WHERE"
    return "do it in Python after loading, or write the condition of an UPDATE in its WHERE"


def _use(element: Any) -> str:
    if isinstance(element, Tuple):
        return "tuple_()"
    operator = getattr(element, "operator", None)
    if operator is not None:
        return f"the operator {operator_name(operator)!r}"
    return f"its use in {getattr(element, '__visit_name__', 'an expression').upper()!r}"
