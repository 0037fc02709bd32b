"""Refuses encrypted columns as raw SQL operands of a function, a comparison or DISTINCT.

``func.max(literal_column("note"))`` and ``column("note") == "x"`` do not show SQLAlchemy their
column, and would use the ciphertext; ``text("note = :value")`` would also send the value to the
database. Raw SQL may name the column where it is selected, in IS NULL and in ``count()``; anywhere
else it is an operand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    Case,
    Cast,
    ClauseList,
    ColumnClause,
    FunctionFilter,
    Grouping,
    Label,
    Null,
    Over,
    TextClause,
    TypeCoerce,
    UnaryExpression,
    WithinGroup,
)
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import (
    AliasedReturnsRows,
    FromClause,
    Join,
    Select,
    SelectBase,
)

from encfields.orm import internals
from encfields.orm.query.raw_names import (
    WORD,
    encrypted_column_named,
    parts_with_values,
)
from encfields.orm.query.raw_order import is_raw_name, name_in_sql
from encfields.orm.query.sorted_names import columns_of, parts_of_list
from encfields.orm.query.statement_scope import selects_in
from encfields.orm.query.stored_bytes import stored_in

Columns = Callable[[], Iterable[Any]]

_ONE_NAME = rf"\s*(?:(?:{WORD})\s*\.\s*)*(?:{WORD})\s*"
_SELECTED = rf"(?is)\s*(?!(?:distinct|all)\b)\(*{_ONE_NAME}\)*(?:(?:as\s+)?(?:{WORD})\s*)?"
"""A column that is selected by its name, under a label of its own if it has one."""
_NULL_TESTS = (operators.is_, operators.is_not)
_OF_A_UNIT = ("timestampadd", "timestampdiff")
"""Functions whose first argument is a word, such as YEAR."""
_OF_CONDITIONS = (operators.inv, operators.exists)
_TRANSPARENT = (Case, Cast, ClauseList, FromClause, FunctionFilter, Grouping, Label, Over)
"""Elements judged by their own place, or without a column's name as an operand."""


def encrypted_operand_of_select(select: Select[Any], froms: Columns, around: Columns) -> Any | None:
    """The encrypted column that is such an operand in a SELECT, or ``None``.

    :param froms: gives what it selects from.
    :param around: gives the columns of the whole statement.
    """
    columns = list(select.inner_columns)
    conditions = [*internals.where_criteria(select), *internals.having_criteria(select)]
    conditions += internals.join_conditions(select)
    beside = [*internals.prefixes_and_suffixes(select), *internals.raw_froms(select)]
    elements = list(_elements([*columns, *conditions, *beside]))
    texts = [*_operands(elements, delivered=columns), *_raw_conditions(conditions)]
    texts.extend(_raw_expressions(columns))
    if internals.is_distinct(select):
        texts.extend(_raw_names(columns))
        if (behind := encrypted_column_behind(columns)) is not None:
            return behind
    if not texts:
        return _given_selects(elements)
    labels = [column for column in select.selected_columns if isinstance(column, Label)]
    known = list(columns_of(froms())) or around()  # without FROM: the outer columns
    named = _named_in(texts, [*labels, *known], around)
    return _given_selects(elements) if named is None else named


def encrypted_operand_of_write(statement: Any, around: Columns) -> Any | None:
    """The same in an INSERT, UPDATE or DELETE: its conditions, what it sets and returns."""
    left_out = statement.table, internals.post_values_clause(statement)
    clauses = [part for part in statement.get_children() if not any(part is o for o in left_out)]
    clauses += [
        *internals.upsert_conditions(statement),
        *internals.prefixes_and_suffixes(statement),
    ]
    clauses += [part for _, part in internals.upsert_values(statement) if _is_element(part)]
    elements = list(_elements(clauses))
    conditions = internals.where_criteria(statement), internals.upsert_conditions(statement)
    texts = [*_operands(elements), *_raw_conditions(chain(*conditions))]
    texts.extend(_raw_expressions(internals.returned_elements(statement)))
    if not texts:
        return _given_selects(elements)
    tables = _tables_of_write(statement, elements)
    columns = [*columns_of(tables), *getattr(statement, "excluded", ())]
    named = _named_in(texts, columns, around)
    return _given_selects(elements) if named is None else named


def _tables_of_write(statement: Any, elements: Iterable[Any]) -> Iterable[Any]:
    """The table that is written, and those whose columns are among the elements of its clauses."""
    sources = {id(statement.table): statement.table}
    for element in elements:
        if isinstance(element, ColumnClause) and element.table is not None:
            sources[id(element.table)] = element.table
    return sources.values()


def encrypted_operand_of_join(join: Join, around: Columns) -> Any | None:
    """The same in the condition of a JOIN."""
    texts = _texts_of_condition(join.onclause)
    return _named_in(texts, columns_of((join,)), around) if texts else None


def encrypted_operand_of_criterion(criterion: Any, around: Columns) -> Any | None:
    """The same in a criterion added to SELECTs within the statement."""
    texts = _texts_of_condition(criterion)
    return _named_in(texts, around()) if texts else None


def encrypted_name_of(select: Any, column: Any) -> Any | None:
    """The encrypted column that a SELECT's column names in raw SQL, or ``None``."""
    texts = list(_raw_names((column,))) if isinstance(select, Select) else []
    return _named_in(texts, columns_of(internals.top_level_from(select))) if texts else None


def encrypted_name_given(statement: Any, value: Any) -> Any | None:
    """The encrypted column that is assigned to another in raw SQL, or ``None``.

    :param statement: the INSERT or UPDATE.
    :param value: what it assigns: an element, or a value.
    """
    if not _is_element(value):
        return None
    texts = list(_raw_names((value,)))
    if not texts:
        return encrypted_column_behind((value,))
    selects = selects_in(getattr(statement, "select", None))
    sources = [source for select in selects for source in internals.top_level_from(select)]
    conditions = _elements(internals.where_criteria(statement))
    return _named_in(texts, columns_of(sources or _tables_of_write(statement, conditions)))


def _named_in(texts: Iterable[str], columns: Iterable[Any], around: Columns = tuple) -> Any | None:
    known = list(columns)
    found = (encrypted_column_named(text, known, around, encrypted_origin) for text in texts)
    return next((column for column in found if column is not None), None)


def encrypted_origin(column: Any) -> Any | None:
    """The encrypted column, or its index, that a subquery's column holds: under another type, or
    selected there in raw SQL."""
    stored = stored_in(column)
    return encrypted_column_behind((column,)) if stored is None else stored


def _given_selects(elements: Iterable[Any]) -> Any | None:
    """The encrypted column that a subquery, which a comparison or a function is given, delivers in
    raw SQL."""
    given: list[Any] = []
    for element in elements:
        if isinstance(element, BinaryExpression) and not _leaves_as_it_is(element):
            given += (element.left, element.right)
        elif isinstance(element, FunctionElement) and not isinstance(element, count):
            given += getattr(element, "clauses", ())
    return encrypted_column_behind(given)


def encrypted_column_behind(parts: Iterable[Any]) -> Any | None:
    """The encrypted column that one of the parts is in the raw SQL of a subquery, or ``None``."""
    for part in parts:
        while isinstance(part, Label | UnaryExpression):
            part = part.element
        for named in chain(_delivered_by(part), _proxied(part)):
            return named
    return None


def encrypted_column_delivered(select: Select[Any]) -> Any | None:
    """The encrypted column that a SELECT delivers in raw SQL, its own or a subquery's."""
    columns = list(select.selected_columns)
    named = next(_delivered_by(select), None)
    return encrypted_column_behind(columns) if named is None else named


def _delivered_by(side: Any) -> Iterator[Any]:
    for select in selects_in(side):
        for column in select.inner_columns:  # text() is not among the selected columns
            named = encrypted_name_of(select, column)
            if named is not None:
                yield named


def _proxied(side: Any) -> Iterator[Any]:
    """The element inside a subquery behind one of its columns."""
    source = getattr(side, "table", None)
    while isinstance(source, AliasedReturnsRows):
        source = source.element
    for select in selects_in(source):
        proxied = {*map(hash, side.proxy_set)}
        for column in select.selected_columns:
            if hash(column) in proxied:
                named = encrypted_name_of(select, column)
                yield from _proxied(column) if named is None else (named,)


def _operands(elements: Sequence[Any], *, delivered: Iterable[Any] = ()) -> Iterator[str]:
    """Raw SQL used as an operand, and raw SQL conditions that contain values.

    :param delivered: the elements that are selected, and not conditions.
    """
    if not any(isinstance(element, TextClause) or is_raw_name(element) for element in elements):
        return
    delivered = set(map(id, delivered))
    for element in elements:
        if isinstance(element, TextClause):
            if any(isinstance(part, BindParameter) for part in element.get_children()):
                is_list = id(element) in delivered
                yield from parts_with_values(element.text) if is_list else (element.text,)
        elif isinstance(element, FunctionElement):
            arguments = list(getattr(element, "clauses", ()))
            if isinstance(element, count):
                yield from _raw_expressions(arguments)
            else:
                has_unit = str(getattr(element, "name", "")).lower() in _OF_A_UNIT
                yield from _raw_names(arguments[has_unit:])
        elif isinstance(element, Case):
            conditions = [condition for condition, _ in element.whens]
            if element.value is None:
                yield from _raw_conditions(conditions)
            else:
                yield from _raw_names((element.value, *conditions))
        elif isinstance(element, FunctionFilter):
            yield from _raw_conditions((element.criterion,))
        elif not _leaves_as_it_is(element):
            parts = list(element.get_children())
            has_value = any(isinstance(part, BindParameter) for part in parts)
            for name in _raw_names(parts):
                yield f"{name} = :value" if has_value else name


def _texts_of_condition(condition: Any) -> list[str]:
    return [*_operands(list(_elements((condition,)))), *_raw_conditions((condition,))]


def _raw_conditions(parts: Iterable[Any]) -> Iterator[str]:
    """The raw SQL of conditions that are whole ones, or joined by AND, OR and NOT."""
    for part in parts:
        if isinstance(part, TextClause):
            yield part.text
        elif is_raw_name(part) and part.is_literal and not re.fullmatch(_ONE_NAME, part.name):
            yield part.name
        elif isinstance(part, BooleanClauseList):
            yield from _raw_conditions(part.clauses)
        elif isinstance(part, Grouping) or _is_not(part):
            yield from _raw_conditions((part.element,))


def _raw_expressions(columns: Iterable[Any]) -> Iterator[str]:
    """Of selected columns in raw SQL, what is no column by itself: a function, CAST, CASE."""
    for column in columns:
        is_cast = isinstance(column, Cast)
        for sql in _raw_names((column,)):
            for part in parts_of_list(sql):
                if is_cast or re.fullmatch(_SELECTED, part) is None:
                    yield part


def _is_not(part: Any) -> bool:
    return isinstance(part, UnaryExpression) and part.operator is operators.inv


def _leaves_as_it_is(element: Any) -> bool:
    """Whether a name in raw SQL may be a direct part of an element."""
    if isinstance(element, BinaryExpression):
        return element.operator in _NULL_TESTS and isinstance(element.right, Null)
    if isinstance(element, UnaryExpression):
        return element.operator in _OF_CONDITIONS
    return isinstance(element, (*_TRANSPARENT, TypeCoerce, WithinGroup))


def _is_element(part: Any) -> bool:
    return hasattr(part, "get_children")


def _elements(clauses: Iterable[Any]) -> Iterator[Any]:
    """The elements of `clauses` without subqueries, which have their own names and checks."""
    waiting = list(clauses)
    while waiting:
        element = waiting.pop()
        if not isinstance(element, SelectBase):
            yield element
            waiting.extend(element.get_children())


def _raw_names(parts: Iterable[Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Grouping | Label):
            yield from _raw_names((part.element,))
        elif isinstance(part, Cast | TypeCoerce):
            yield from _raw_names((part.clause,))
        elif isinstance(part, Case):
            yield from _raw_names((*(result for _, result in part.whens), part.else_))
        elif isinstance(part, ClauseList):
            yield from _raw_names(part.clauses)
        elif is_raw_name(part):
            yield name_in_sql(part)
        elif isinstance(part, TextClause):
            yield part.text
