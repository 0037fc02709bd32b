"""Refuses encrypted columns that raw SQL names in ORDER BY, GROUP BY or a window.

``text("note DESC")``, ``literal_column("note")``, ``column("note")`` and a position do not show
SQLAlchemy their column. So the words of such a clause are compared with the names of the
statement's encrypted columns. Expressions over a column are refused as well: the database cannot
answer them either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement, ColumnClause, TextClause, UnaryExpression
from sqlalchemy.sql.selectable import Join, Select

from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.raw_names import WORD, is_tested_for_null, readings, unquoted

_SORTED_BY = r"(?is)\b(?:order|partition)\s+by\b(.*)"

_SORTED_OR_GROUPED_BY = r"(?is)\b(?:(?:order|partition|group)\s+by|distinct\s+on)\b(.*)"

_POSITION = r"(?i)(?:^|,)\s*([0-9]+)\s*(?=$|,|(?:asc|desc|nulls)\b)"


def encrypted_column_sorted_by(select: Any, froms: Callable[[], Iterable[Any]]) -> Any | None:
    """The encrypted column that a SELECT or UNION sorts or groups by in raw SQL, or ``None``.

    :param froms: gives what it selects from.
    """
    clauses = [*internals.order_by_clauses(select), *internals.group_by_clauses(select)]
    if isinstance(select, Select):
        clauses.extend(internals.distinct_on_clauses(select))
    texts = list(_raw_texts(filter(_is_there, (named(select, clause) for clause in clauses))))
    texts.extend(_window_texts(window_clauses(select)))
    texts.extend(_sorted_in(_raw_texts(_others(select)), _SORTED_BY))
    texts.extend(_sorted_in(_texts_beside(select), _SORTED_OR_GROUPED_BY))
    if not texts:
        return None
    return _encrypted_column_in(texts, froms(), list(select.selected_columns))


def named(select: Any, clause: Any) -> Any | None:
    """The element in a clause of ORDER BY or GROUP BY, with a selected column's name resolved."""
    element = clause
    while isinstance(element, UnaryExpression) or internals.is_label_reference(element):
        element = element.element
    return select.selected_columns.get(element) if isinstance(element, str) else element


def _is_there(element: Any | None) -> bool:
    return element is not None


def is_raw_name(element: Any) -> bool:
    """Whether it is a name without a table, from ``column()`` or ``literal_column()``."""
    return isinstance(element, ColumnClause) and element.table is None


def name_in_sql(name: Any) -> str:
    """Such a name as rendered in SQL."""
    return str(name.name) if name.is_literal else f'"{name.name}"'


def _window_texts(clauses: Iterable[Any]) -> Iterator[str]:
    """As :func:`_raw_texts`; in a window a name means the table's column."""
    element: Any
    for clause in clauses:
        yield from _raw_texts((clause,))
        for element in visitors.iterate(clause):
            if _is_name(element):
                yield f'"{element.element}"'


def _others(select: Any) -> Iterator[Any]:
    """Elements in which raw SQL may have a window or a sorting subquery."""
    if isinstance(select, Select):
        yield from select.inner_columns
        yield from internals.where_criteria(select)
        yield from internals.having_criteria(select)


def _texts_beside(select: Any) -> Iterator[str]:
    """The raw SQL before and after a SELECT's clauses, which may hold clauses of its own."""
    if isinstance(select, Select):
        yield from _raw_texts(internals.clauses_beside(select))
        yield from internals.statement_hints(select)


def _is_name(clause: Any) -> bool:
    """Whether it is the name of a selected column, which is resolved separately."""
    return internals.is_label_reference(clause) and isinstance(clause.element, str)


def window_clauses(select: Any) -> Iterator[Any]:
    """The ORDER BY and PARTITION BY clauses of windows and aggregates in the selected columns."""
    if not isinstance(select, Select):
        return
    for column in (*select.inner_columns, *internals.order_by_clauses(select)):
        for element in visitors.iterate(column):
            for name in ("order_by", "partition_by"):
                clause = getattr(element, name, None)
                if isinstance(clause, ClauseElement):
                    yield clause


def _raw_texts(clauses: Iterable[Any]) -> Iterator[str]:
    """The raw SQL in `clauses`: their own text, and names without a table."""
    for clause in clauses:
        for element in visitors.iterate(clause):
            if isinstance(element, TextClause):
                yield element.text
            elif is_raw_name(element):
                yield name_in_sql(element)


def _sorted_in(texts: Iterable[str], pattern: str) -> Iterator[str]:
    """What raw SQL sorts by inside: for example ``row_number() OVER (ORDER BY note)`` among the
    selected columns.

    :param pattern: of the clauses that sort.
    """
    for text in texts:
        for sql in readings(text):
            yield from re.findall(pattern, sql)


def _encrypted_column_in(
    texts: Iterable[str], froms: Iterable[Any], selected: Sequence[Any]
) -> Any | None:
    """The encrypted column that one of the `texts` names, or ``None``.

    :param texts: raw SQL.
    :param froms: what the statement selects from.
    :param selected: its columns, which a text may name by label or by position.
    """
    by_name: dict[str, Any] | None = None
    for sql in (reading for text in texts for reading in readings(text)):
        if by_name is None:
            by_name = {
                name.casefold(): column
                for column in (*columns_of(froms), *selected)
                if is_encrypted(column)
                for name in _names(column)
            }
        for position in re.findall(_POSITION, sql):
            place = int(position) - 1
            if 0 <= place < len(selected) and is_encrypted(selected[place]):
                return selected[place]
        for word in re.finditer(rf"(?:(?:{WORD})\s*\.\s*)*({WORD})", sql):
            found = by_name.get(unquoted(word[1]).casefold())
            if found is not None and not is_tested_for_null(sql, word.start(), word.end()):
                return found
    return None


def columns_of(froms: Iterable[Any]) -> Iterator[Any]:
    """The columns of what a statement selects from, including both sides of a join."""
    for source in froms:
        if isinstance(source, Join):
            yield from columns_of((source.left, source.right))
        else:
            yield from getattr(source, "c", ())  # text() has none


def _names(column: Any) -> Iterator[str]:
    """A column's names in the database, and the label that SQLAlchemy may give it."""
    table = getattr(getattr(column, "table", None), "name", None)
    for name in {str(column.name), str(column.key)}:
        yield name
        if table:
            yield f"{table}_{name}"
