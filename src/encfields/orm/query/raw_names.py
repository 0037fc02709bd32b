"""Names of encrypted columns in SQL that no element of SQLAlchemy's stands for.

What is looked at is the text that an application wrote: of ``text()``, ``literal_column()`` and
``column()``, or by ``@compiles``. It is read word by word, not parsed, and a subquery in it left
out: its names are of tables that only the database knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from encfields.orm.declare.columns import is_encrypted

NO_NAMES = r"(?s)'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/"
"""String literals and comments."""

WORD = r'"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[^\W\d]\w*'
"""A name, in quotes or not."""

_BINDS = r"(?<![:\w]):\w+|%\(\w+\)s|::\s*\w+|(?i:\bas\s+)(?:" + WORD + ")"
"""Binds, and names of types and labels: none of columns."""

_NAME = rf"(?P<qualifier>(?:(?:{WORD})\s*\.\s*)*)(?P<name>{WORD})(?!\s*[(.])"

_BEFORE_CONDITION = frozenset(
    ("", "and", "case", "else", "having", "not", "on", "or", "select", "then", "when", "where")
)
"""Words before a condition that is one by itself."""


class _Named(NamedTuple):
    """A column that raw SQL may name.

    :ivar source: the name of what it is selected from, if that has one.
    """

    source: str
    column: Any


def encrypted_column_named(sql: str, columns: Iterable[Any]) -> Any | None:
    """The encrypted column that raw SQL names, other than in IS NULL and its opposite, or ``None``.

    :param columns: that it may name, encrypted or not.
    """
    bare = _without_subqueries(re.sub(_BINDS, _blanked, re.sub(NO_NAMES, _blanked, sql)))
    by_name: dict[str, list[_Named]] | None = None
    for found in re.finditer(_NAME, bare):
        if by_name is None:
            by_name = _by_name(columns)
        *qualifiers, name = map(_folded, re.findall(WORD, found.group()))
        column = _meant(by_name.get(name, ()), qualifiers)
        if column is not None and not is_tested_for_null(bare, found.start(), found.end()):
            return column
    return None


def is_tested_for_null(sql: str, start: int, end: int) -> bool:
    """Whether what stands at a place of raw SQL is asked whether it is NULL, and nothing else.

    Only parentheses may stand around it: ``lower(ssn) IS NULL`` is about a function, and of ``x =
    ssn IS NULL`` the first part is compared.
    """
    after = re.match(r"(?i)((?:\s*\))*)\s*\bis\s+(?:not\s+)?null\b", sql[end:])
    if after is None:
        return False
    before = sql[:start].rstrip()
    for _ in range(after.group(1).count(")")):
        if not before.endswith("("):
            return False
        before = before[:-1].rstrip()
    if before.endswith("(") and not after.group(1):
        return True
    word = re.search(r"\w*$", before)
    is_part = word is None or word.group().lower() not in _BEFORE_CONDITION
    return not is_part and (bool(word and word.group()) or before[-1:] in ("", "(", ","))


def _without_subqueries(sql: str) -> str:
    """Raw SQL with blanks in the place of each ``(SELECT ...)``."""
    while (found := re.search(r"(?i)\(\s*select\b", sql)) is not None:
        end, depth = found.start(), 0
        for end in range(found.start(), len(sql)):
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            if depth == 0:
                break
        sql = sql[: found.start()] + " " * (end + 1 - found.start()) + sql[end + 1 :]
    return sql


def _blanked(found: re.Match[str]) -> str:
    return " " * len(found.group())


def _by_name(columns: Iterable[Any]) -> dict[str, list[_Named]]:
    by_name: dict[str, list[_Named]] = {}
    for column in columns:
        if getattr(column, "name", None) is None:
            continue  # an expression that nothing names
        source = str(getattr(getattr(column, "table", None), "name", ""))
        one = _Named(source.casefold(), column)
        by_name.setdefault(str(column.name).casefold(), []).append(one)
    return by_name


def _meant(named: Iterable[_Named], qualifiers: list[str]) -> Any | None:
    """The encrypted one of the columns that have a name; ``None`` if another may be meant."""
    meant = [one for one in named if not qualifiers or one.source == qualifiers[-1]]
    if not meant or not all(is_encrypted(one.column) for one in meant):
        return None
    return meant[0].column


def _folded(word: str) -> str:
    return unquoted(word).casefold()


def unquoted(word: str) -> str:
    """A name without its quotes."""
    if word[0] in '"`':
        return word[1:-1].replace(word[0] * 2, word[0])
    return word[1:-1] if word[0] == "[" else word
