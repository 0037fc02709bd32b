"""Finds names of encrypted columns in raw SQL.

Raw SQL is the application's text in ``text()``, ``literal_column()`` and ``column()``, or written
by ``@compiles``. It is read word by word, not parsed. Subqueries in it are skipped: their names
belong to tables that only the database knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.query.comparison import BlindView

_QUOTED = r'"(?:[^"]|"")*"|`(?:[^`]|``)*`'
_ESCAPED = r"'(?:[^'\\]|\\.|'')*'"
_COMMENT = r"/\*(?!!).*?\*/"  # what is in /*! ... */, MySQL executes
_NO_NAMES = (
    rf"'(?:[^']|'')*'|--[^\n]*|{_COMMENT}",
    rf"{_ESCAPED}|(?P<tag>\$\w*\$).*?(?P=tag)|--[^\n]*|{_COMMENT}",
    rf"{_ESCAPED}|#[^\n]*|--\s[^\n]*|{_COMMENT}",
)
"""String literals and comments, of standard SQL, of PostgreSQL's and of MySQL's own forms."""

WORD = r'"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[\w[\w ]*\]|[^\W\d]\w*'
"""A name, quoted or not."""

_QUALIFIED = rf"(?:(?:{WORD})\s*\.\s*)*(?:{WORD})"

BINDS = (
    rf"(?<![:\w]):\w+|%\(\w+\)s|::\s*{_QUALIFIED}|(?i:\bas\s+)(?:{WORD})"
    rf"|(?i:\bcollate\s+){_QUALIFIED}"
)
"""Binds, and names of types, labels and collations, which are not columns."""

_NAME = rf"(?<![.\w$])(?P<qualifier>(?:(?:{WORD})\s*\.\s*)*)(?P<name>{WORD})(?![\w$]|\s*[(.])"

_ROW = rf"(?<=\()\s*({WORD})\s*\.\s*\*|({WORD})\s*\.\s*\*(?=\s*\)*\s*::)"
"""A table's whole row, in a function or a CAST: elsewhere ``patient.*`` is a list of columns."""

_TOLD_BY_CIPHERTEXT = (
    r"(?i)\b(?:count|length|octet_length|bit_length|pg_column_size|typeof|pg_typeof|isnull)"
    rf"\s*\(\s*{_QUALIFIED}(?:\s*\.\s*\*)?\s*\)"
    rf"|\bnum_(?:non)?nulls\s*\(\s*{_QUALIFIED}(?:\s*,\s*{_QUALIFIED})*\s*\)"
)
"""Functions to which a message gives the same or a harmless answer: count, size, type, NULL."""

UNITS = (
    r"(?i)\b(?:extract|timestampadd|timestampdiff)\s*\(\s*\w+"
    r"|\binterval\s+\d*\s*(?:day|hour|minute|month|quarter|second|week|year)\w*"
    r"|\b(?:at|with|without)\s+time\s+zone\b"
)
TYPED = r"(?i)\b(?:date|interval|time|timestamp)\s*(?=')"
"""Words about time, which may be column names elsewhere."""

_NULLS = r"(?i)\bnulls\s+(?:first|last)\b"
_FRAME = r"(?i)\bcurrent\s+row\b|\bfetch\s+(?:first|next)\b"
_DIRECTION = (
    r"(?i)(?<=[\w)\"`\]])(?<!\bby)\s+(?:asc|desc)\b"
    r"(?=\s*(?:$|[,)]|(?:limit|offset|fetch|for|rows|range|groups)\b))"
)
"""ASC or DESC behind what it sorts; a column may have that name elsewhere."""

ORDER_WORDS = (_NULLS, _FRAME, _DIRECTION)
"""Words that say how rows are sorted, and which of them are meant."""

_MADE = rf"(?i)\b(?:view|table|into|join|of)\s+(?:if\s+(?:not\s+)?exists\s+)?(?:{WORD})"
"""The name of what a statement creates, writes to, joins or locks."""

_BETWEEN_CONDITIONS = re.compile(r"(?i)\b(?:and|case|else|or|then|when|where)\b")
"""Words at which one condition ends and another begins."""

_VALUE = re.compile(r"(?<![:\w]):\w")
"""The beginning of a bind."""

_SUBQUERY = re.compile(r"(?i)\(\s*(?:select|with)\b")

_BEFORE_CONDITION = frozenset(
    ("", "and", "case", "else", "having", "not", "on", "or", "select", "then", "when", "where")
)
"""Words before a complete condition."""


_WORDS = (
    "all and any array as asc between both by case cast check collate column constraint cross "
    "current_date current_role current_time current_timestamp current_user default desc distinct "
    "do else end except exists false fetch filter first for foreign from full group having ilike "
    "in inner intersect interval into is join last lateral leading left like limit localtime "
    "localtimestamp natural not null nulls offset on only or order outer over partition primary "
    "range references returning right row rows select session_user set similar some table then to "
    "trailing true union unique update user using values when where window with"
)
_KEYWORDS = frozenset(_WORDS.split())
"""Words of SQL that are no name of a table where they stand without quotes."""


class Named(NamedTuple):
    """A column that raw SQL may name.

    :ivar source: the name of what it is selected from, if it has one.
    """

    source: str
    column: Any


def encrypted_column_named(
    sql: str,
    columns: Iterable[Any],
    around: Callable[[], Iterable[Any]] = tuple,
    behind: Callable[[Any], Any | None] = lambda column: None,
) -> Any | None:
    """The encrypted column that raw SQL names outside IS [NOT] NULL, or ``None``.

    :param columns: that it may name, encrypted or not.
    :param around: gives those of the surrounding statement, which it may name with their table.
    :param behind: gives the encrypted column, or its index, that a subquery's column holds without
        showing it.
    """
    known = columns if isinstance(columns, list) else list(columns)
    found = (
        _named_in(bare, known, around, behind) for bare in readings(re.sub(TYPED, blanked, sql))
    )
    return next((column for column in found if column is not None), None)


def readings(sql: str) -> Iterator[str]:
    """Raw SQL with blanks in the place of literals and comments, as a database may read it.

    ``'\\'`` is a literal, or the beginning of one, by the database and its settings. Who looks for
    names looks in each.
    """
    is_plain = re.search(r"[\\#$]|--", sql) is None
    for no_names in _NO_NAMES[: 1 if is_plain else None]:
        yield re.sub(f"(?s){_QUOTED}|{no_names}", _blanked_unless_name, sql)


def _named_in(
    bare: str,
    columns: Iterable[Any],
    around: Callable[[], Iterable[Any]],
    behind: Callable[[Any], Any | None],
) -> Any | None:
    sql = bare
    for nameless in (BINDS, UNITS, *ORDER_WORDS, _TOLD_BY_CIPHERTEXT, _MADE):
        bare = re.sub(nameless, blanked, bare)
    bare = _without_subqueries(bare)
    by_name: dict[str, list[Named]] | None = None
    if "*" in bare:
        by_name = columns_by_name(columns)
        for row in _whole_rows(sql):
            if named := _row_of(row, by_name):
                return named[0].column
    for found in re.finditer(_NAME, bare):
        if by_name is None:
            by_name = columns_by_name(columns)
        *qualifiers, name = map(folded, re.findall(WORD, found.group()))
        named = qualified(by_name.get(name, ()), qualifiers)
        if not named and qualifiers:
            named = qualified(columns_by_name(around()).get(name, ()), qualifiers)
        if not named and not qualifiers and _is_plain(found["name"]):
            named = _row_of(name, by_name)
        if not named:
            continue
        is_compared = _is_beside_value(sql, found.start(), found.end())
        meant = [_meant(one.column, behind(one.column), is_compared) for one in named]
        is_meant = all(one is not None for one in meant)
        if is_meant and not is_tested_for_null(bare, found.start(), found.end()):
            return meant[0]
    return None


def _is_beside_value(sql: str, start: int, end: int) -> bool:
    """Whether a place in raw SQL is in one condition with a value."""
    ends = (found.end() for found in _BETWEEN_CONDITIONS.finditer(sql, 0, start))
    following = _BETWEEN_CONDITIONS.search(sql, end)
    condition = sql[max(ends, default=0) : following.start() if following else len(sql)]
    return _VALUE.search(condition) is not None


def _whole_rows(sql: str) -> Iterator[str]:
    """The names of sources whose whole row is used as a value, as in ``(patient.*)::text``."""
    bare = _without_subqueries(re.sub(_TOLD_BY_CIPHERTEXT, blanked, sql))
    for found in re.finditer(_ROW, bare):
        if not is_tested_for_null(bare, found.start(), found.end()):
            yield folded(found[1] or found[2])


def parts_with_values(sql: str) -> Iterator[str]:
    """The parts of a list in raw SQL, such as selected columns, that contain a value."""
    bare = next(readings(sql))
    start = depth = 0
    for place, character in enumerate(f"{bare},"):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            part = bare[start:place]
            start = place + 1
            if _VALUE.search(part):
                yield part


def is_tested_for_null(sql: str, start: int, end: int) -> bool:
    """Whether a place in raw SQL is only tested for NULL.

    Only parentheses may surround it: ``lower(ssn) IS NULL`` tests a function, and ``x = ssn IS
    NULL`` compares.
    """
    after = re.match(r"(?i)((?:\s*\))*)\s*\b(?:is\s+(?:not\s+)?null|isnull|notnull)\b", sql[end:])
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
    """Raw SQL with blanks in place of each ``(SELECT ...)`` and ``(WITH ...)``."""
    for start, end in subqueries_in(sql):
        sql = sql[:start] + " " * (end - start) + sql[end:]
    return sql


def subqueries_in(sql: str) -> Iterator[tuple[int, int]]:
    """Where the outermost subqueries of raw SQL begin and end, with their parentheses."""
    end = 0
    while (found := _SUBQUERY.search(sql, end)) is not None:
        end = end_of_group(sql, found.end()) + 1
        yield found.start(), end


def end_of_group(sql: str, start: int) -> int:
    """Where the parentheses around a place end; the end of the SQL if none are around it."""
    depth = 0
    for found in re.compile(r"[()]").finditer(sql, start):
        depth += 1 if found.group() == "(" else -1
        if depth < 0:
            return found.start()
    return len(sql)


def _blanked_unless_name(found: re.Match[str]) -> str:
    return found.group() if found.group()[0] in '"`' else blanked(found)


def blanked(found: re.Match[str]) -> str:
    return " " * len(found.group())


def columns_by_name(columns: Iterable[Any]) -> dict[str, list[Named]]:
    by_name: dict[str, list[Named]] = {}
    for column in columns:
        if getattr(column, "name", None) is None:
            continue  # an expression without a name
        source = str(getattr(getattr(column, "table", None), "name", ""))
        one = Named(source.casefold(), column)
        by_name.setdefault(str(column.name).casefold(), []).append(one)
    return by_name


def _meant(column: Any, behind: Any | None, is_compared: bool) -> Any | None:
    """The encrypted column that a column is or holds; its blind index only where that is compared
    with a value."""
    for one in (behind, column):
        if one is not None and (is_encrypted(one) or (is_compared and _holds_hash(one))):
            return one
    return None


def _holds_hash(element: Any) -> bool:
    return isinstance(element.type, IndexColumnType | BlindView)


def _is_plain(word: str) -> bool:
    """Whether it may be a table's name: in quotes that it does not need, MySQL has a text."""
    if word[0] not in '"`[':
        return word.casefold() not in _KEYWORDS
    return word[1:-1] != word[1:-1].casefold() or word[1:-1] in _KEYWORDS


def _row_of(name: str, by_name: Mapping[str, Iterable[Named]]) -> list[Named]:
    """The encrypted columns of what a name stands for if it is no column's: PostgreSQL takes that
    of a table for its whole row."""
    every = (one for named in by_name.values() for one in named)
    return [one for one in every if one.source == name and is_encrypted(one.column)]


def qualified(named: Iterable[Named], qualifiers: list[str]) -> list[Named]:
    """The columns of the source that qualifies a name."""
    return [one for one in named if not qualifiers or is_source(one.source, qualifiers[-1])]


def is_source(source: str, qualifier: str) -> bool:
    anonymous = re.fullmatch(r"%\(\S+ (.*)\)s", source)  # SQLAlchemy numbers it
    if anonymous is None:
        return source == qualifier
    return re.fullmatch(rf"{re.escape(anonymous[1])}_\d+", qualifier) is not None


def folded(word: str) -> str:
    return unquoted(word).casefold()


def unquoted(word: str) -> str:
    """A name without its quotes."""
    if word[:1] in ('"', "`"):
        return word[1:-1].replace(word[0] * 2, word[0])
    return word[1:-1] if word[:1] == "[" else word
