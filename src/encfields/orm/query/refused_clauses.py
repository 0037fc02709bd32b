"""Refuses clauses that ciphertext would answer wrongly: a column as a condition, ORDER BY, GROUP
BY, DISTINCT, windows, and what a UNION, INTERSECT or EXCEPT compares.

The first SELECT of a UNION says what each column is, in the SELECTs after it too. So below an
encrypted column may stand another one, or nothing: a value there would be sent as it is, to be
compared with messages, or read as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from sqlalchemy.sql.dml import Insert, UpdateBase
from sqlalchemy.sql.elements import (
    BindParameter,
    ColumnClause,
    Grouping,
    Label,
    TextClause,
    TypeCoerce,
    UnaryExpression,
)
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import CompoundSelect, Join, ScalarSelect, Select, SelectBase
from sqlalchemy.sql.visitors import iterate
from sqlalchemy.types import Boolean

from encfields.errors import UnreadableError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.declare.columns import SealedColumnType, is_encrypted
from encfields.orm.query.ciphertext_uses import (
    ciphertext_refused,
    ciphertexts_among,
    hash_refused,
    hashes_among,
)
from encfields.orm.query.compared_branches import check_compared_branches
from encfields.orm.query.comparison import BlindValue
from encfields.orm.query.grouping import row_key_determined
from encfields.orm.query.raw_operands import (
    Columns,
    encrypted_column_behind,
    encrypted_column_delivered,
    encrypted_name_of,
    encrypted_operand_of_criterion,
    encrypted_operand_of_join,
    encrypted_operand_of_select,
    encrypted_operand_of_write,
    encrypted_origin,
)
from encfields.orm.query.raw_order import (
    encrypted_column_sorted_by,
    is_raw_name,
    is_word,
    named,
    window_parts,
)
from encfields.orm.query.refused_parts import index_column_refused
from encfields.orm.query.statement_scope import unlabelled
from encfields.orm.query.stored_bytes import is_hash, named_column, sorted_bytes, stored_in
from encfields.orm.read.provenance import column_named, table_named
from encfields.orm.read.union_reads import is_no_value, selects_of

IsAsked = Callable[[Any], bool]
"""Whether the compiler asks an index whether a column that is a condition by itself is true."""


def check_condition(criteria: Iterable[Any], what: str, is_asked: IsAsked) -> None:
    """Refuse an encrypted column, or its hash, used as a condition.

    :param what: the condition's name in the error.
    :raises UnsupportedOperationError: there is one.
    """
    criteria = [criterion for criterion in criteria if not is_asked(criterion)]
    for element in ciphertexts_among(criteria):
        raise ciphertext_refused(element, what, _instead_of_truth(element))
    for element in hashes_among(criteria):
        raise hash_refused(element, what)


def _instead_of_truth(element: Any) -> str:
    type_ = getattr(element, "type", None)
    if isinstance(type_, SealedColumnType) and type_.indexes and isinstance(type_.inner, Boolean):
        return "write column == True, which its blind index answers"
    return "load the rows and decide in Python"


def check_select(select: Select[Any], around: Columns, is_asked: IsAsked) -> None:
    """Refuse a SELECT that filters, sorts, groups or deduplicates by ciphertext.

    :param around: gives the columns of the whole statement.
    :raises UnsupportedOperationError: names the clause.
    """
    check_condition(internals.where_criteria(select), "a condition", is_asked)
    check_condition(internals.having_criteria(select), "a condition", is_asked)
    check_condition(internals.join_conditions(select), "the condition of a JOIN", is_asked)
    _check_order_by(select)
    froms = cache(lambda: internals.top_level_from(select))
    _check_raw_order(select, froms)
    _refuse_raw_operand(encrypted_operand_of_select(select, froms, around))
    group_by = [named(select, clause) for clause in internals.group_by_clauses(select)]
    for element in ciphertexts_among(group_by):
        if not row_key_determined(element, group_by, select):
            raise ciphertext_refused(
                element,
                "GROUP BY",
                "group in Python, or group by the row's primary key as well"
                + _or_blind(element)
                + _or_another(internals.group_by_clauses(select)),
            )
    distinct_on = [named(select, clause) for clause in internals.distinct_on_clauses(select)]
    _refuse_raw_order(encrypted_column_behind([*group_by, *distinct_on]))
    for element in ciphertexts_among(distinct_on):
        raise ciphertext_refused(element, "DISTINCT ON", "remove duplicates after loading")
    if internals.is_distinct(select) and not distinct_on:
        _check_distinct(select, "DISTINCT")


def _check_order_by(select: Any) -> None:
    clauses = [named(select, clause) for clause in internals.order_by_clauses(select)]
    for element in _messages_among(clauses):
        meant = _or_another(internals.order_by_clauses(select))
        raise ciphertext_refused(element, "ORDER BY", "sort after loading" + meant)
    windows = list(window_parts(select))
    for element in ciphertexts_among(_as_bytes(part) for part, _ in windows):
        fix = "number or sort the rows after loading"
        raise ciphertext_refused(element, "a window", fix + _or_blind(element))
    for element in _messages_among(part for part, is_order in windows if is_order):
        raise ciphertext_refused(element, "a window", "number or sort the rows after loading")
    _check_order_of_hashes(select, [*clauses, *(part for part, is_order in windows if is_order)])
    _refuse_raw_order(encrypted_column_behind([*clauses, *(part for part, _ in windows)]))


def _messages_among(clauses: Iterable[Any]) -> Iterator[Any]:
    """The encrypted columns whose messages the clauses sort by, also by what is computed of one."""
    for clause in map(_as_bytes, clauses):
        found = sorted_bytes(clause)
        if found is not None and not is_hash(found):
            yield found


def _check_order_of_hashes(select: Any, clauses: Iterable[Any]) -> None:
    """Refuse to sort by a blind index, but for rows that DISTINCT ON has put together by it."""
    hashes = [element for element in map(_as_bytes, clauses) if _sorted_hash(element)]
    if hashes and isinstance(select, Select):
        distinct_on = internals.distinct_on_clauses(select)
        together = [_as_bytes(named(select, clause)) for clause in distinct_on]
        hashes = [element for element in hashes if not any(map(element.compare, together))]
    for element in hashes:
        raise _order_of_hashes(sorted_bytes(element))


def _sorted_hash(element: Any) -> bool:
    return is_hash(sorted_bytes(element))


def _order_of_hashes(element: Any) -> UnsupportedOperationError:
    column = named_column(element)
    return UnsupportedOperationError(
        "a blind index holds hashes, whose order says nothing of the values' order: sort after "
        "loading, or by a column that is not encrypted",
        table=table_named(column),
        column=column_named(column),
        reason="usage",
    )


def _as_bytes(clause: Any) -> Any:
    """What a clause sorts by, looking through types that keep the bytes."""
    element = clause
    while isinstance(element, UnaryExpression | Grouping | Label) or _is_coerced(element):
        element = element.typed_expression if _is_coerced(element) else element.element
    return element


def _is_coerced(element: Any) -> bool:
    return isinstance(element, TypeCoerce) and not isinstance(element, BlindValue)


def _check_raw_order(select: Any, froms: Callable[[], Iterable[Any]]) -> None:
    """Refuse raw SQL that sorts or groups by an encrypted column."""
    _refuse_raw_order(encrypted_column_sorted_by(select, froms, encrypted_origin))


def _refuse_raw_order(element: Any | None) -> None:
    if is_hash(element):
        raise _order_of_hashes(element)
    if element is not None:
        raise ciphertext_refused(
            element, "raw SQL in ORDER BY, GROUP BY or a window", "sort after loading"
        )


def check_join(join: Join, around: Columns, is_asked: IsAsked) -> None:
    """Refuse a JOIN whose condition uses ciphertext.

    :raises UnsupportedOperationError: it is, or names in raw SQL, an encrypted column.
    """
    check_condition((join.onclause,), "the condition of a JOIN", is_asked)
    _refuse_raw_operand(encrypted_operand_of_join(join, around))


def check_criterion(criterion: Any, around: Columns, is_asked: IsAsked) -> None:
    """Refuse a criterion of ``with_loader_criteria()`` that uses ciphertext.

    :raises UnsupportedOperationError: it is, or names in raw SQL, an encrypted column.
    """
    check_condition((criterion,), "the condition of with_loader_criteria()", is_asked)
    _refuse_raw_operand(encrypted_operand_of_criterion(criterion, around))


def check_write(statement: Any, around: Columns, is_asked: IsAsked) -> None:
    """Refuse a write that filters by ciphertext, or computes with it.

    :raises UnsupportedOperationError: names the clause.
    """
    criteria: Iterable[Any] = internals.where_criteria(statement)
    if isinstance(statement, Insert):
        criteria = internals.upsert_conditions(statement)
    check_condition(criteria, "a condition", is_asked)
    if isinstance(statement, UpdateBase):
        _refuse_raw_operand(encrypted_operand_of_write(statement, around))


def _refuse_raw_operand(element: Any | None) -> None:
    if is_hash(element):
        raise index_column_refused(element)
    if element is not None:
        raise ciphertext_refused(
            element,
            "a function, a comparison or DISTINCT that names it in raw SQL",
            "use the column itself, as in column == value, or do it in Python after loading",
        )


def _check_distinct(select: Any, what: str) -> None:
    columns = list(select.selected_columns)
    for element in ciphertexts_among(columns):
        if not is_no_value(element) and not row_key_determined(element, columns, select):
            raise ciphertext_refused(
                element,
                what,
                "remove duplicates after loading, or select the row's primary key as well, with "
                "which every row is distinct" + _or_blind(element),
            )


def _or_blind(element: Any) -> str:
    """The additional fix for a column with a blind index over its whole value."""
    has_whole = any(index.label == "exact" for index in element.type.indexes)
    return ", or use column.blind(), which tells hashes apart" if has_whole else ""


def _or_another(clauses: Iterable[Any]) -> str:
    """The additional fix where a name is among the clauses, which may be that of other columns."""
    if not any(map(is_word, clauses)):
        return ""
    return "; if you mean another table's column, give the column itself and not its name"


def check_compound(compound: CompoundSelect[Any]) -> None:
    """Refuse a UNION, INTERSECT or EXCEPT that sorts or deduplicates by ciphertext.

    :raises UnsupportedOperationError: names the clause.
    """
    _check_order_by(compound)
    _check_raw_order(compound, tuple)
    _refuse_ciphertext_below_other_column(compound)
    _refuse_value_below_ciphertext(compound)
    _refuse_plaintext_beside_ciphertext(compound)
    check_compared_branches(compound)
    keyword = compound.keyword.name
    if keyword.endswith("ALL"):
        return
    for select in compound.selects:
        if isinstance(select, Select):
            _check_distinct(select, keyword)
            _refuse_raw_operand(encrypted_column_delivered(select))


def _refuse_ciphertext_below_other_column(compound: CompoundSelect[Any]) -> None:
    """Refuse an encrypted column at whose position the first SELECT has none.

    SQLAlchemy would deliver the stored message, or compare it with what is not encrypted.

    :raises UnreadableError: there is such a column.
    """
    first, *others = (_columns(select) for select in compound.selects)
    for columns in others:
        for above, column in zip(first, columns, strict=False):
            if is_encrypted(column) and not is_encrypted(above):
                raise UnreadableError(
                    f"it is in a later SELECT of {_kind_of(compound)} whose first SELECT has no "
                    "encrypted column there, so the stored message would be delivered: select it "
                    "in the first one, beside its row's key, where the others may have null()",
                    table=table_named(column),
                    column=column_named(column),
                    reason="untraceable",
                )


def _refuse_value_below_ciphertext(compound: CompoundSelect[Any]) -> None:
    """Refuse a value at the position of another SELECT's encrypted column.

    :raises UnsupportedOperationError: there is such a value.
    """
    selects = compound.selects
    for place in zip(*map(_columns, selects), strict=False):
        if not any(map(_has_value, place)):
            continue
        found = map(_ciphertext, selects, place)
        encrypted = next((column for column in found if column is not None), None)
        if encrypted is not None:
            raise UnsupportedOperationError(
                f"{_kind_of(compound)} would send a value in plaintext, "
                "beside ciphertext, which equals no value: compare the column itself, as in "
                "column == value, or have null() in its place",
                table=table_named(named_column(encrypted)),
                column=column_named(named_column(encrypted)),
                reason="usage",
            )


def _refuse_plaintext_beside_ciphertext(compound: CompoundSelect[Any]) -> None:
    """Refuse a column that is not encrypted, or an expression or a subquery of such, at the
    position of another SELECT's encrypted one.

    Whoever fills the column could make it look like a cell, with a message of any row.

    :raises UnsupportedOperationError: there is one.
    """
    for place in zip(*map(_columns, selects_of(compound)), strict=False):
        encrypted = next(filter(is_encrypted, place), None)
        plain = next(filter(_is_plain, place), None)
        if encrypted is not None and plain is not None:
            names = filter(None, (table_named(plain), column_named(plain)))
            told = ".".join(names) or "a column without a name"
            raise UnsupportedOperationError(
                f"{_kind_of(compound)} would have values of {told}, which is not encrypted, in one "
                "column with its messages: select them in two columns, with null() below each, or "
                "in two statements",
                table=table_named(encrypted),
                column=column_named(encrypted),
                reason="usage",
            )


def _is_raw(part: Any) -> bool:
    return isinstance(part, TextClause) or is_raw_name(part)


def _is_plain(column: Any) -> bool:
    if isinstance(column, ColumnClause):
        return column.table is not None and encrypted_origin(column) is None
    parts = [*iterate(column)]
    if any(is_encrypted(part) or _is_raw(part) for part in parts):
        return False
    return any(isinstance(part, ColumnClause | FunctionElement | ScalarSelect) for part in parts)


def _ciphertext(select: Any, column: Any) -> Any | None:
    """The encrypted column behind one of a SELECT's columns, also by its bytes under another type,
    or by its name in raw SQL."""
    if isinstance(column, BindParameter):
        return None
    stored = stored_in(column)
    return encrypted_name_of(select, column) if stored is None else stored


def _has_value(column: Any) -> bool:
    """Whether an expression contains a value, outside its own SELECTs.

    ``None`` counts: it may be another value when the compiled statement is executed again.
    """
    if isinstance(column, BindParameter):
        return True
    if isinstance(column, SelectBase | ScalarSelect):
        return False
    return any(map(_has_value, column.get_children()))


def _kind_of(compound: CompoundSelect[Any]) -> str:
    name = compound.keyword.name.replace("_", " ")
    return f"an {name}" if name[0] in "EI" else f"a {name}"


def _columns(select: Any) -> list[Any]:
    return [unlabelled(column) for column in select.selected_columns]
