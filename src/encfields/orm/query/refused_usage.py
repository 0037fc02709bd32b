"""Uses of an encrypted column that ciphertext would answer wrongly, found in a whole statement.

The same of ``column.blind()``, which may stand where a hash says what its value would: in a
comparison by index, in IS NULL, GROUP BY, DISTINCT, ``count()``, or delivered as it is.

The comparator refuses operators as they are written. What it never sees, because SQLAlchemy
does not ask a column's type, is found here, once for each compiled statement: ORDER BY, GROUP
BY, DISTINCT, functions, CAST, CASE, comparisons from the other side, conditions, and writes
inside a CTE. An encrypted column may stand where it is delivered as it is, in IS NULL, and in
``count()``; anywhere else it is refused, in whatever SQLAlchemy may come to offer as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy import LargeBinary, Table
from sqlalchemy.sql import operators
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.dml import Insert, Update, UpdateBase
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    Case,
    ClauseList,
    Grouping,
    Label,
    Null,
    Tuple,
    TypeCoerce,
    UnaryExpression,
)
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import CompoundSelect, FromClause, Join, Select

from encfields.errors import UnboundValueError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.adoption.plaintext import WRITE_SEALED, adoption_of
from encfields.orm.declare.columns import bindings_of, is_encrypted
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.query.comparison import (
    EQUALITY,
    MEMBERSHIP,
    OF_NULL_TOO,
    BlindValue,
    BlindView,
    CiphertextComparison,
    IndexComparison,
    instead_of_any,
    viewed,
)
from encfields.orm.query.compiler_lookups import is_from_lookup_compiler, is_looked_up_by_compiler
from encfields.orm.query.first_of_union import refuse_ciphertext_below_other_column
from encfields.orm.query.grouping import row_key_determined
from encfields.orm.query.raw_order import encrypted_column_sorted_by, window_clauses
from encfields.orm.read.provenance import column_named, table_named
from encfields.orm.write.ciphertext_copies import refuse_copies_elsewhere
from encfields.orm.write.upsert_choices import ChosenValue, parts_of_choice

_FIRST = (
    "compare it with a value or an equally indexed column, and write the encrypted column first, "
    "as in column == value"
)


def refuse_usage(compiled: Any) -> None:
    """Look through the statement behind `compiled`.

    :raises UnsupportedOperationError: an encrypted column is used where only a plaintext could
        give the right answer.
    :raises UnboundValueError: a CTE writes to an encrypted column.
    :raises CiphertextCopyError: another column is given an encrypted one.
    """
    statement = internals.compiled_statement(compiled)
    if isinstance(statement, UpdateBase) and compiled.dialect.name == "sqlite":
        _check_returning(statement)
    is_exchanged = is_looked_up_by_compiler if is_from_lookup_compiler(compiled) else _never
    for element in _walk(statement, is_exchanged):
        if not is_exchanged(element):
            _check(element)
        if isinstance(element, count):
            _check_count(element)
        if isinstance(element, Insert | Update):
            refuse_copies_elsewhere(element)
            if element is not statement:
                _refuse_nested_write(element)


def elements_of(compiled: Any) -> Iterator[Any]:
    """Every element of the statement behind `compiled`."""
    return _walk(internals.compiled_statement(compiled))


def _never(element: Any) -> bool:
    """Whether an element is exchanged by a compiler that exchanges none."""
    return False


def _walk(root: Any, is_exchanged: Callable[[Any], bool] = _never) -> Iterator[Any]:
    """Every element of the statement once; a column that ``count()`` counts is left out.

    :param is_exchanged: whether an element is looked up where it is compiled: a row of columns in
        it is none of the database's.
    """
    stack, seen = [root], set()
    while stack:
        element = stack.pop()
        if id(element) in seen:
            continue
        seen.add(id(element))
        yield element
        if isinstance(element, count):
            stack.extend(element.clauses)
        elif isinstance(element, ChosenValue):
            stack.extend(parts_of_choice(element))
        elif isinstance(element, Select):
            stack.extend(internals.select_parts(element))
        elif isinstance(element, BinaryExpression) and is_exchanged(element):
            stack.extend((*_parts_of_row(element.left), *_parts_of_row(element.right)))
        elif not isinstance(element, Table):
            stack.extend(element.get_children())


def _parts_of_row(side: Any) -> Iterator[Any]:
    """What a list, a row or a list of rows is made of; anything else is its own part."""
    element = side.element if isinstance(side, Grouping) else side
    if isinstance(element, ClauseList):
        for part in element.clauses:
            yield from _parts_of_row(part)
    else:
        yield side


def _ciphertexts(elements: Iterable[Any]) -> Iterator[Any]:
    """Those among `elements` that deliver ciphertext."""
    for element in elements:
        inner = element
        while isinstance(inner, Grouping | Label) or internals.is_label_reference(inner):
            inner = inner.element
        if is_encrypted(inner) and not isinstance(inner, BindParameter):
            yield inner


def _hashes(elements: Iterable[Any]) -> Iterator[Any]:
    """Those among `elements` that are ``column.blind()``."""
    for element in elements:
        inner = element
        while isinstance(inner, Grouping | Label) or internals.is_label_reference(inner):
            inner = inner.element
        if isinstance(getattr(inner, "type", None), BlindView) and not isinstance(
            inner, BindParameter
        ):
            yield inner


def _refuse_hash(element: Any, what: str, fix: str = _FIRST) -> UnsupportedOperationError:
    column = viewed(element)
    clause = getattr(column, "clause", None)
    return UnsupportedOperationError(
        f"{what} would be given a hash and not the value: {fix}",
        table=table_named(clause),
        column=column_named(clause),
        reason="usage",
    )


def _refuse(element: Any, what: str, fix: str) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"the database holds ciphertext, no two of which are alike, so {what} would give a wrong "
        f"answer: {fix}",
        table=table_named(element),
        column=column_named(element),
        reason="usage",
    )


def _check(element: Any) -> None:
    if isinstance(element, Select):
        _check_select(element)
    elif isinstance(element, CompoundSelect):
        _check_compound(element)
    elif isinstance(element, Executable) and not isinstance(element, FunctionElement):
        _check_condition(internals.where_criteria(element), "a condition")
    elif isinstance(element, Join):
        _check_condition((element.onclause,), "the condition of a JOIN")
    elif isinstance(element, FunctionElement) and not isinstance(element, count):
        name = getattr(element, "name", "function")
        arguments = getattr(element, "clauses", ())  # next_value() of a Sequence has none
        for ciphertext in _ciphertexts(arguments):
            raise _refuse(ciphertext, f"the function {name}()", "apply it in Python after loading")
        for hashed in _hashes(arguments):
            raise _refuse_hash(hashed, f"the function {name}()")
    elif not _may_hold_ciphertext(element):
        for ciphertext in _ciphertexts(element.get_children()):
            operator = getattr(element, "operator", None)
            is_comparison = operator in (*EQUALITY, *MEMBERSHIP, *OF_NULL_TOO)
            indexed = is_comparison and ciphertext.type.indexes
            first = instead_of_any(*element.get_children()) or _FIRST
            fix = first if indexed else _instead(element, ciphertext)
            raise _refuse(ciphertext, _use(element), fix)
        if not _may_hold_hash(element):
            for hashed in _hashes(element.get_children()):
                fix = instead_of_any(*element.get_children()) or _FIRST
                raise _refuse_hash(hashed, _use(element), fix)


def _check_returning(statement: UpdateBase) -> None:
    """Refuse to return a column of a table that the statement reads, or does not name at all.

    SQLite's RETURNING has the written table alone and no names of tables: a column of another one
    would be its namesake there, or its name as a text if it has to be quoted.
    """
    written = hash(statement.table)  # an annotated table hashes as what it was made of
    for element in _ciphertexts(statement.exported_columns):
        if hash(element.table) != written:
            raise UnsupportedOperationError(
                "SQLite returns columns of the table that is written only: select it in a "
                "statement of its own",
                table=table_named(element),
                column=column_named(element),
                reason="returning",
            )


def _check_count(element: Any) -> None:
    """Refuse to count the values of a column while some of its rows are in plaintext alone."""
    for ciphertext in _ciphertexts(element.clauses):
        adopts = adoption_of(ciphertext)
        if adopts is not None and adopts.phase != WRITE_SEALED:
            raise UnsupportedOperationError(
                f"in the phase {adopts.phase!r} of its adoption, count() would leave out rows that "
                "are not sealed yet: count the rows, with column.is_not(None) in the WHERE",
                table=table_named(ciphertext),
                column=column_named(ciphertext),
                reason="adoption",
            )


def _may_hold_ciphertext(element: Any) -> bool:
    """Whether an encrypted column may be a direct part of `element`.

    What stands for its own part, a label for instance, is judged by where it stands itself.
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
    return isinstance(
        element, FromClause | Grouping | Label | count
    ) or internals.stands_for_its_parts(element)


def _may_hold_hash(element: Any) -> bool:
    """Whether ``column.blind()`` may be a direct part of what may not hold ciphertext."""
    if isinstance(element, UnaryExpression):
        return element.operator is operators.distinct_op
    return type(element) is ClauseList  # PARTITION BY, for instance.


def _instead(element: Any, ciphertext: Any) -> str:
    """What to write in the place of a use that is no comparison."""
    if ciphertext.type.indexes and isinstance(element, Tuple):
        return (
            "compare each column by itself, as in and_(a == x, b == y), a tuple_() with rows that "
            "it is given as they are, or a subquery in exists()"
        )
    if ciphertext.type.indexes and isinstance(element, Case):
        return "write case((column == value, result), ...)"
    return "do it in Python after loading"


def _use(element: Any) -> str:
    if isinstance(element, Tuple):
        return "tuple_()"
    operator = getattr(element, "operator", None)
    if operator is not None:
        return f"the operator {getattr(operator, '__name__', operator)!r}"
    return f"its use in {getattr(element, '__visit_name__', 'an expression').upper()!r}"


def _check_condition(criteria: Iterable[Any], what: str) -> None:
    criteria = list(criteria)
    for element in _ciphertexts(criteria):
        raise _refuse(element, what, "load the rows and decide in Python")
    for element in _hashes(criteria):
        raise _refuse_hash(element, what)


def _check_select(select: Select[Any]) -> None:
    _check_condition(internals.where_criteria(select), "a condition")
    _check_condition(internals.having_criteria(select), "a condition")
    _check_order_by(select)
    _check_raw_order(select, lambda: internals.top_level_from(select))
    group_by = [_named(select, clause) for clause in internals.group_by_clauses(select)]
    for element in _ciphertexts(group_by):
        if not row_key_determined(element, group_by, select):
            raise _refuse(
                element,
                "GROUP BY",
                "group in Python, or group by the row's primary key as well" + _or_blind(element),
            )
    distinct_on = internals.distinct_on_clauses(select)
    for element in _ciphertexts(distinct_on):
        raise _refuse(element, "DISTINCT ON", "remove duplicates after loading")
    if internals.is_distinct(select) and not distinct_on:
        _check_distinct(select, "DISTINCT")


def _check_order_by(select: Any) -> None:
    clauses = [_named(select, clause) for clause in internals.order_by_clauses(select)]
    for element in _ciphertexts(_as_bytes(clause) for clause in clauses):
        raise _refuse(element, "ORDER BY", "sort after loading")
    for element in _ciphertexts(_as_bytes(part) for part in _window_parts(select)):
        raise _refuse(element, "a window", "number or sort the rows after loading")


def _as_bytes(clause: Any) -> Any:
    """What a clause sorts by, seen through a type that leaves the bytes as they are."""
    element = clause
    while isinstance(element, UnaryExpression | Grouping | Label) or _is_coerced(element):
        element = element.typed_expression if _is_coerced(element) else element.element
    return element


def _is_coerced(element: Any) -> bool:
    return isinstance(element, TypeCoerce) and not isinstance(element, BlindValue)


def _window_parts(select: Any) -> Iterator[Any]:
    for clause in window_clauses(select):
        yield from clause.clauses if isinstance(clause, ClauseList) else (clause,)


def _check_raw_order(select: Any, froms: Callable[[], Iterable[Any]]) -> None:
    """Refuse what sorts or groups by an encrypted column that it names in raw SQL."""
    element = encrypted_column_sorted_by(select, froms)
    if element is not None:
        raise _refuse(element, "raw SQL in ORDER BY, GROUP BY or a window", "sort after loading")


def _named(select: Any, clause: Any) -> Any:
    """What a clause of ORDER BY or GROUP BY is about, a selected column's name looked up."""
    element = clause
    while isinstance(element, UnaryExpression) or internals.is_label_reference(element):
        element = element.element
    return select.selected_columns.get(element) if isinstance(element, str) else element


def _check_distinct(select: Any, what: str) -> None:
    columns = list(select.selected_columns)
    for element in _ciphertexts(columns):
        if not row_key_determined(element, columns, select):
            raise _refuse(
                element,
                what,
                "remove duplicates after loading, or select the row's primary key as well, with "
                "which every row is distinct" + _or_blind(element),
            )


def _or_blind(element: Any) -> str:
    """The way out that a column with a blind index over its whole value has besides."""
    has_whole = any(index.label == "exact" for index in element.type.indexes)
    return ", or use column.blind(), which tells hashes apart" if has_whole else ""


def _check_compound(compound: CompoundSelect[Any]) -> None:
    _check_order_by(compound)
    _check_raw_order(compound, tuple)
    refuse_ciphertext_below_other_column(compound)
    keyword = compound.keyword.name
    if keyword.endswith("ALL"):
        return
    for select in compound.selects:
        if isinstance(select, Select):
            _check_distinct(select, keyword)


def _refuse_nested_write(statement: Insert | Update) -> None:
    """A write inside a CTE: SQLAlchemy gives its binds no row of their own."""
    table = statement.table
    if not isinstance(table, Table):
        return
    bindings = bindings_of(table)
    written = internals.stated_keys(statement).union(internals.select_source_names(statement))
    of_values = [c for c in table.c if c.key in bindings or isinstance(c.type, IndexColumnType)]
    for column in of_values:
        defaults = column.default is not None and column.key in bindings
        if column.key in written or defaults:
            raise UnboundValueError(
                "an INSERT or UPDATE inside a CTE does not tell which row the value is for: run "
                "it as a statement of its own",
                table=table.fullname,
                column=column.name,
                reason="cte",
            )
