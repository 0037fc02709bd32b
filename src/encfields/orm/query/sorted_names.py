"""Finds the encrypted column that raw SQL sorts, groups or numbers by.

A name means what the database takes it for: a column of the source that qualifies it; in ORDER BY,
a column that is selected under it; then one of what the SELECT selects from. Where that is not
certain, it is the encrypted one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy.sql.selectable import Join

from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.raw_names import (
    BINDS,
    ORDER_WORDS,
    TYPED,
    UNITS,
    WORD,
    Named,
    blanked,
    columns_by_name,
    end_of_group,
    folded,
    is_source,
    is_tested_for_null,
    qualified,
    readings,
    subqueries_in,
    unquoted,
)
from encfields.orm.query.stored_bytes import sorted_bytes

_COUNTED = rf"(?i)\bcount\s*\(\s*(?:(?:{WORD})\s*\.\s*)*(?:{WORD})\s*\)"
_NAME = re.compile(rf"(?<!\w)(?P<qualifier>(?:(?:{WORD})\s*\.\s*)*)(?P<name>{WORD})(?!\w|\s*[(.])")
_LABEL = re.compile(rf"(?is)(?P<labelled>.*?)\bas\s+(?P<label>{WORD})\s*$")
_LIMIT = re.compile(r"(?i)\blimit\s+[\d:%?]")


class Clause(NamedTuple):
    """Raw SQL that sorts, groups or numbers rows, or has a part that does.

    :ivar pattern: of the words before such a part; none if all of the SQL is one.
    :ivar is_order: whether it is an ORDER BY. There a label by itself means the column that is
        selected under it, even if a table has a column of that name; and a blind index's hashes,
        by which rows may be grouped, have no order.
    :ivar sorts: whether rows are sorted by it in a window or aggregate, where no label is known.
    :ivar has_positions: whether a number by itself means the selected column there.
    :ivar select: the subquery whose column it is, if it is one's.
    """

    sql: str
    pattern: str = ""
    is_order: bool = False
    sorts: bool = False
    has_positions: bool = False
    select: Any | None = None


class Scope:
    """What names and numbers mean in one SELECT.

    :param froms: gives what it selects from.
    :param selected: the columns that it selects, which may be meant by label.
    :param places: gives what is selected at each position: a column, or raw SQL.
    :param behind: gives the encrypted column that a subquery's column holds without showing it.
    """

    def __init__(
        self,
        froms: Callable[[], Iterable[Any]],
        selected: Sequence[Any] = (),
        places: Callable[[], Iterable[Any]] = tuple,
        behind: Callable[[Any], Any | None] = lambda column: None,
    ) -> None:
        self._froms = froms
        self._behind = behind
        self._places = places
        self.selected = selected

    def at(self, position: str) -> Any | None:
        """What is selected at a position, counted from 1."""
        every = [*self._places()]
        return every[int(position) - 1] if 0 < int(position) <= len(every) else None

    def sealed(self, column: Any, *, is_order: bool) -> Any | None:
        """The encrypted column that a column is, or holds; in an ORDER BY, which sorts by bytes
        whatever their type, also that of a message or a hash under another type."""
        if is_encrypted(column):
            return column
        found = self._behind(column)
        if found is None and is_order:
            found = sorted_bytes(column)
        return found if is_order or is_encrypted(found) else None

    def labelled_in_raw_sql(self, name: str) -> Clause | None:
        """What is selected in raw SQL under a label, such as ``lower(name) AS label``."""
        for placed in self._places():
            found = _LABEL.match(placed.sql) if isinstance(placed, Clause) else None
            if found is not None and folded(found["label"]) == name:
                return Clause(found["labelled"])
        return None

    @cached_property
    def _sources(self) -> list[Any]:
        return list(_leaves(self._froms()))

    @cached_property
    def _by_name(self) -> dict[str, list[Named]]:
        return columns_by_name(columns_of(self._sources))

    @cached_property
    def encrypted(self) -> list[tuple[str, Any]]:
        """Every encrypted column, of the sources and selected, with each name that it may have."""
        every = filter(is_encrypted, (*columns_of(self._sources), *self.selected))
        return [(name.casefold(), column) for column in every for name in _names(column)]

    def has_source(self, qualifier: str) -> bool:
        """Whether it selects from what has that name."""
        names = (str(getattr(source, "name", "")).casefold() for source in self._sources)
        return any(is_source(name, qualifier) for name in names)

    def of(self, qualifiers: list[str], name: str) -> list[Any]:
        """The columns with that name in the database, of the source that qualifies it."""
        return [one.column for one in qualified(self._by_name.get(name, ()), qualifiers)]

    def selected_as(self, name: str, *, with_labels: bool = True) -> list[Any]:
        """The encrypted columns that are selected under a name, or under SQLAlchemy's label."""
        every = filter(is_encrypted, self.selected)
        return [
            c for c in every if name in map(str.casefold, _names(c) if with_labels else (c.name,))
        ]


def encrypted_column_in(clause: Clause, scopes: Sequence[Scope]) -> Any | None:
    """The encrypted column that a clause sorts, groups or numbers by, or ``None``.

    :param scopes: of the SELECT that the clause is in, and of those around it.
    """
    for sql in readings(re.sub(TYPED, blanked, clause.sql)):
        for nameless in (BINDS, UNITS, *ORDER_WORDS, _COUNTED):
            sql = re.sub(nameless, blanked, sql)
        for start, end in _sorting_parts(sql, clause.pattern):
            found = _encrypted_in_part(sql, start, end, clause, scopes)
            if found is not None:
                return found
    return None


def _encrypted_in_part(
    sql: str, start: int, end: int, clause: Clause, scopes: Sequence[Scope]
) -> Any | None:
    part = sql[start:end].strip()
    if clause.has_positions and part.isdecimal():
        placed = scopes[0].at(part)
        if isinstance(placed, Clause):
            return encrypted_column_in(placed, scopes)
        return scopes[0].sealed(placed, is_order=clause.is_order)
    subqueries = list(subqueries_in(sql))
    for found in _NAME.finditer(sql, start, end):
        *qualifiers, name = map(folded, re.findall(WORD, found.group()))
        around = [sql[a:b] for a, b in subqueries if a <= found.start() < b]
        if around:
            column = _in_subquery(around[0], qualifiers, name, scopes)
        elif clause.is_order and part == found.group() and not qualifiers:
            column = _labelled(name, scopes)
        else:
            column = _meant(qualifiers, name, scopes, clause.is_order or clause.sorts)
        if column is not None and not is_tested_for_null(sql, found.start(), found.end()):
            return column
    return None


def _labelled(name: str, scopes: Sequence[Scope]) -> Any | None:
    """The encrypted column that a name by itself means in ORDER BY: the first that is selected
    under it, since SQLAlchemy numbers the labels of others."""
    of_that_name = (column for column in scopes[0].selected if _name_of(column) == name)
    labelled = next(of_that_name, None)
    for column in (labelled,) if labelled is not None else scopes[0].selected_as(name):
        sealed = scopes[0].sealed(column, is_order=True)
        if sealed is not None:
            return sealed
    raw = scopes[0].labelled_in_raw_sql(name)
    if raw is not None:
        return encrypted_column_in(raw, scopes)
    return _meant([], name, scopes, is_order=True) if labelled is None else None


def _name_of(column: Any) -> str:
    return str(getattr(column, "name", "")).casefold()


def _meant(qualifiers: list[str], name: str, scopes: Sequence[Scope], is_order: bool) -> Any | None:
    """The encrypted column that a name outside of subqueries means, or may mean; in an ORDER BY,
    a blind index's too."""
    for scope in scopes:
        columns = scope.of(qualifiers, name)
        if not qualifiers:
            columns += scope.selected_as(name, with_labels=not columns)
        if columns:
            found = (scope.sealed(column, is_order=is_order) for column in columns)
            return next((column for column in found if column is not None), None)
        if qualifiers and scope.has_source(qualifiers[-1]):
            return None
    return next((c for scope in scopes for known, c in scope.encrypted if known == name), None)


def _in_subquery(sql: str, qualifiers: list[str], name: str, scopes: Sequence[Scope]) -> Any | None:
    """The encrypted column that a name in a subquery of raw SQL means: of a source around it, or
    of a table that it selects from itself."""
    for scope in scopes if qualifiers else ():
        if scope.has_source(qualifiers[-1]):
            return next(filter(is_encrypted, scope.of(qualifiers, name)), None)
    every = (c for scope in scopes for known, c in scope.encrypted if known == name)
    return next((c for c in every if _selects_from(sql, c)), None)


def _selects_from(sql: str, column: Any) -> bool:
    """Whether a subquery names the table of a column as what it selects from."""
    tables = (getattr(one, "table", None) for one in (column, *column.base_columns))
    named = {str(getattr(table, "name", "")).casefold() for table in tables}
    listed = rf"(?i)(?:\bfrom|\bjoin|\bonly|\blateral|,)\s*(?:(?:{WORD})\s*\.\s*)*({WORD})"
    return any(unquoted(word).casefold() in named for word in re.findall(listed, sql))


def _sorting_parts(sql: str, pattern: str) -> Iterator[tuple[int, int]]:
    """Where each expression begins and ends that the SQL sorts, groups or numbers by."""
    if not pattern:
        yield from _listed(sql, 0, len(sql))
        return
    for found in re.finditer(pattern, sql):
        end = end_of_group(sql, found.end())
        limit = _LIMIT.search(sql, found.end(), end)
        yield from _listed(sql, found.end(), limit.start() if limit else end)


def parts_of_list(sql: str) -> list[str]:
    """The parts of a list in raw SQL, such as selected columns."""
    bare = next(readings(sql))
    return [bare[start:end] for start, end in _listed(bare, 0, len(bare))]


def _listed(sql: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts between the commas that are not within parentheses."""
    depth = 0
    for found in re.compile(r"[(),\[\]]").finditer(sql, start, end):
        if found.group() == "," and depth == 0:
            yield start, found.start()
            start = found.end()
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(found.group(), 0)
    yield start, end


def _leaves(froms: Iterable[Any]) -> Iterator[Any]:
    """What a statement selects from, both sides of a join by themselves."""
    for source in froms:
        if isinstance(source, Join):
            yield from _leaves((source.left, source.right))
        else:
            yield source


def columns_of(froms: Iterable[Any]) -> Iterator[Any]:
    """The columns of what a statement selects from, including both sides of a join."""
    for source in _leaves(froms):
        yield from getattr(source, "c", ())  # text() has none


def _names(column: Any) -> Iterator[str]:
    """A column's names in the database, and the label that SQLAlchemy may give it."""
    table = getattr(getattr(column, "table", None), "name", None)
    for attribute in ("name", "key"):
        name = getattr(column, attribute, None)
        if name is not None:
            yield str(name)
            if table:
                yield f"{table}_{name}"
