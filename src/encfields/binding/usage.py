"""Uses of an encrypted column that ciphertext would answer wrongly, found in a whole statement.

The comparator refuses operators as they are written. What it never sees, because SQLAlchemy
does not ask a column's type, is found here, once for each compiled statement: ORDER BY, GROUP
BY, DISTINCT, functions, CAST, CASE, comparisons from the other side, and writes inside a CTE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy import Column, LargeBinary, Table
from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    Case,
    Cast,
    ClauseList,
    Grouping,
    Label,
    Null,
    Over,
    TypeCoerce,
    UnaryExpression,
)
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import CompoundSelect, Select

from encfields.binding.columns import bindings_of, is_encrypted
from encfields.binding.comparator import CiphertextComparison
from encfields.errors import UnboundValueError, UnsupportedOperationError


def refuse_usage(compiled: Any) -> None:
    """Look through the statement behind `compiled`.

    :raises UnsupportedOperationError: an encrypted column is used where only a plaintext could
        give the right answer.
    :raises UnboundValueError: a CTE writes to an encrypted column.
    """
    state = getattr(compiled, "compile_state", None)
    statement = getattr(state, "statement", None)
    if statement is None:
        statement = compiled.statement
    for element in _walk(statement):
        for cls, check in _CHECKS:
            if isinstance(element, cls):
                check(element)
        if element is not statement and isinstance(element, Insert | Update):
            _refuse_nested_write(element)


def _walk(root: Any) -> Iterator[Any]:
    """Every element of the statement once; what stands in ``count()`` is left out."""
    stack, seen = [root], set()
    while stack:
        element = stack.pop()
        if id(element) in seen:
            continue
        seen.add(id(element))
        yield element
        if not isinstance(element, count | Table):
            stack.extend(element.get_children())


def _ciphertexts(elements: Iterable[Any]) -> Iterator[Any]:
    """Those among `elements` that deliver ciphertext."""
    for element in elements:
        inner = element
        while isinstance(inner, Grouping | Label) or hasattr(inner, "_label_reference_marker"):
            inner = inner.element
        if is_encrypted(inner) and not isinstance(inner, BindParameter):
            yield inner


def _refuse(element: Any, what: str, fix: str) -> UnsupportedOperationError:
    table = getattr(element, "table", None)
    return UnsupportedOperationError(
        f"the database holds ciphertext, no two of which are alike, so {what} would give a wrong "
        f"answer: {fix}",
        table=getattr(table, "fullname", None) or getattr(table, "name", None),
        column=getattr(element, "name", None),
        reason="usage",
    )


def _check_select(select: Select[Any]) -> None:
    _check_order_by(select)
    for element in _ciphertexts(select._group_by_clauses):
        if not _row_key_among(element, select._group_by_clauses):
            raise _refuse(
                element, "GROUP BY", "group in Python, or group by the row's primary key as well"
            )
    distinct_on = getattr(select, "_distinct_on", ())
    for element in _ciphertexts(distinct_on):
        raise _refuse(element, "DISTINCT ON", "remove duplicates after loading")
    if select._distinct and not distinct_on:
        _check_distinct(select, "DISTINCT")


def _check_order_by(select: Any) -> None:
    for clause in select._order_by_clauses:
        element = getattr(clause, "element", clause)
        if isinstance(element, str):
            element = select.selected_columns.get(element)
        for ciphertext in _ciphertexts([clause, element]):
            raise _refuse(ciphertext, "ORDER BY", "sort after loading")


def _check_distinct(select: Any, what: str) -> None:
    columns = list(select.selected_columns)
    for element in _ciphertexts(columns):
        if not _row_key_among(element, columns):
            raise _refuse(
                element,
                what,
                "remove duplicates after loading, or select the row's primary key as well, with "
                "which every row is distinct",
            )


def _row_key_among(element: Any, others: Iterable[Any]) -> bool:
    """Whether the key of the row that `element` belongs to is among the `others`."""
    bases = [base for base in getattr(element, "base_columns", ()) if isinstance(base, Column)]
    if len(bases) != 1:
        return False
    identity = bindings_of(bases[0].table)[bases[0].key].identity
    present = [o for o in others if getattr(o, "table", None) is not None]
    return all(
        any(key in o.base_columns and _same_origin(o, element) for o in present) for key in identity
    )


def _same_origin(one: Any, other: Any) -> bool:
    return hash(one.table) == hash(other.table)


def _check_compound(compound: CompoundSelect[Any]) -> None:
    _check_order_by(compound)
    keyword = compound.keyword.name
    if keyword.endswith("ALL"):
        return
    for select in compound.selects:
        if isinstance(select, Select):
            _check_distinct(select, keyword)


def _check_binary(expression: BinaryExpression[Any]) -> None:
    if isinstance(expression, CiphertextComparison):
        return  # raises when it is compiled, which is where it has a statement
    null_test = expression.operator in (operators.is_, operators.is_not)
    if null_test and isinstance(expression.right, Null):
        return
    for element in _ciphertexts([expression.left, expression.right]):
        name = getattr(expression.operator, "__name__", str(expression.operator))
        raise _refuse(element, f"the operator {name!r}", "compare in Python after loading")


def _check_unary(expression: UnaryExpression[Any]) -> None:
    for element in _ciphertexts([expression.element]):
        raise _refuse(element, "sorting or an operator", "do it in Python after loading")


def _check_function(function: FunctionElement[Any]) -> None:
    if isinstance(function, count):
        return
    for element in _ciphertexts(function.clauses):
        name = getattr(function, "name", "function")
        raise _refuse(element, f"the function {name}()", "apply it in Python after loading")


def _check_cast(cast: Cast[Any]) -> None:
    for element in _ciphertexts([cast.clause]):
        raise _refuse(element, "CAST", "convert in Python after loading")


def _check_type_coerce(coerce: TypeCoerce[Any]) -> None:
    if not isinstance(coerce.type, LargeBinary):
        for element in _ciphertexts([coerce.clause]):
            raise _refuse(
                element,
                "type_coerce()",
                "select the column itself; type_coerce(column, LargeBinary) gives the raw message",
            )


def _check_case(case: Case[Any]) -> None:
    for element in _ciphertexts(case.get_children()):
        raise _refuse(element, "CASE", "decide in Python after loading")


def _check_over(over: Over[Any]) -> None:
    for clauses in (over.partition_by, over.order_by):
        for element in _ciphertexts(clauses.clauses if clauses is not None else ()):
            raise _refuse(element, "a window function", "do it in Python after loading")


def _check_list(clauses: ClauseList) -> None:
    for element in _ciphertexts(clauses.clauses):
        raise _refuse(element, "this use in a list of values", "do it in Python after loading")


_CHECKS: tuple[tuple[type[Any], Callable[[Any], None]], ...] = (
    (Select, _check_select),
    (CompoundSelect, _check_compound),
    (BinaryExpression, _check_binary),
    (UnaryExpression, _check_unary),
    (FunctionElement, _check_function),
    (Cast, _check_cast),
    (TypeCoerce, _check_type_coerce),
    (Case, _check_case),
    (Over, _check_over),
    (ClauseList, _check_list),
)


def _refuse_nested_write(statement: Insert | Update) -> None:
    """A write inside a CTE: SQLAlchemy gives its binds no row of their own."""
    table = statement.table
    if not isinstance(table, Table):
        return
    bindings = bindings_of(table)
    written = {getattr(key, "key", key) for key in _written_keys(statement)}
    for key, binding in bindings.items():
        if key in written or binding.column.default is not None:
            raise UnboundValueError(
                "an INSERT or UPDATE inside a CTE does not tell which row the value is for: run "
                "it as a statement of its own",
                table=binding.table,
                column=binding.column_name,
                reason="cte",
            )


def _written_keys(statement: Any) -> Iterator[Any]:
    yield from statement._values or ()
    yield from getattr(statement, "_select_names", None) or ()
    for group in getattr(statement, "_multi_values", None) or ():
        for row in group:
            yield from row
