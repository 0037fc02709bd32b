"""Edits column definitions as text in a database's own DDL.

Content of quotes and parentheses is masked first, so that a default or a comment is never mistaken
for a rule.
"""

from __future__ import annotations

import re

from encfields.errors import DeclarationError


def _masked(definition: str, quoted: re.Pattern[str]) -> str:
    """The definition with the content of quotes and parentheses replaced by x's."""
    masked, depth, out = quoted.sub(lambda found: "x" * len(found[0]), definition), 0, []
    for character in masked:
        depth -= character == ")"
        out.append(character if depth <= 0 else "x")
        depth += character == "("
    return "".join(out)


# -- of SQLite ---------------------------------------------------------------------------------

_SQLITE_QUOTED = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/", re.S
)
_NOT_NULL = re.compile(
    r"\s*(?:CONSTRAINT\s+\S+\s+)?\bNOT\s+NULL\b(?:\s+ON\s+CONFLICT\s+\w+)?", re.I
)
_DEFAULT = re.compile(r"\s*\bDEFAULT\s*(?:\(x*\)|[+-]?\s*[\w.]+)", re.I)
_RULE = re.compile(r"\s*(?:CONSTRAINT|PRIMARY|UNIQUE|CHECK|FOREIGN)\b", re.I)


def definitions(sql: str) -> tuple[str, list[str], str]:
    """A CREATE TABLE in three parts: before the parenthesis, the definitions, and after it."""
    masked = _SQLITE_QUOTED.sub(lambda found: "x" * len(found[0]), sql)
    start = masked.index("(") + 1
    depth, begin, parts = 1, start, []
    for at in range(start, len(masked)):
        depth += {"(": 1, ")": -1}.get(masked[at], 0)
        if depth == 0 or (depth == 1 and masked[at] == ","):
            parts.append(sql[begin:at])
            begin = at + 1
        if depth == 0:
            return sql[:start], parts, sql[at:]
    raise ValueError("not a CREATE TABLE")


def defines_column(part: str, name: str) -> bool:
    """Whether a part of a CREATE TABLE defines this column."""
    defined = _column_name(part)
    return defined is not None and defined.lower() == name.lower()


def without_not_null(part: str) -> str:
    """A column's definition without its NOT NULL."""
    return _outside(_NOT_NULL, part)


def without_default(part: str) -> str:
    """A column's definition without its DEFAULT."""
    return _outside(_DEFAULT, part)


def with_not_null(part: str) -> str:
    """A column's definition with a NOT NULL."""
    return part if _NOT_NULL.search(_masked(part, _SQLITE_QUOTED)) else f"{part.rstrip()} NOT NULL"


def _outside(pattern: re.Pattern[str], part: str) -> str:
    """A definition without a pattern's matches outside quotes and parentheses."""
    match = pattern.search(_masked(part, _SQLITE_QUOTED))
    return part if match is None else part[: match.start()] + part[match.end() :]


def definition_without(sql: str, table: str, column: str) -> str:
    """The part after CREATE TABLE and the name, without one column.

    :raises DeclarationError: a constraint covers this column and others.
    """
    _, parts, after = definitions(sql)
    columns = [name for part in parts if (name := _column_name(part)) is not None]
    others = [name for name in columns if name.lower() != column.lower()]
    kept = [
        part
        for part in parts
        if not defines_column(part, column)
        and not (_RULE.match(part) and names_any(part, column) and not names_any(part, *others))
    ]
    if any(_RULE.match(part) and names_any(part, column) for part in kept):
        raise DeclarationError(
            "a constraint covers this column and others: drop it first",
            table=table,
            column=column,
            reason="constraint",
        )
    return f"({','.join(kept)}{after}"


def names_any(part: str, *columns: str) -> bool:
    """Whether a constraint names any of the columns."""
    words = "|".join(map(re.escape, columns))
    return bool(columns) and re.search(rf"\b(?:{words})\b", part, re.IGNORECASE) is not None


def _column_name(part: str) -> str | None:
    """The name of the column that a part of a CREATE TABLE defines, if it does."""
    if _RULE.match(part):
        return None
    match = re.match(r"\s*(\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]|\S+)", part)
    return None if match is None else match[1].strip('"`[]')


# -- of MySQL and MariaDB ----------------------------------------------------------------------

_MYSQL_QUOTED = re.compile(r"'(?:[^'\\]|''|\\.)*'|`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"", re.DOTALL)
_MYSQL_REST = re.compile(r" (?:COMMENT|CHECK|DEFAULT|ON UPDATE)\b")


def nullable(line: str) -> str:
    """The definition of a column that may be NULL."""
    return _changed(line, r" NOT NULL", " NULL")


def required(line: str) -> str:
    """The definition of a column that must not be NULL; MariaDB writes DEFAULT NULL for others."""
    if re.search(r" NOT NULL", _masked(line, _MYSQL_QUOTED)):
        return line
    line = _changed(_changed(line, r" DEFAULT NULL", ""), r"(?<! DEFAULT) NULL", "")
    rest = _MYSQL_REST.search(_masked(line, _MYSQL_QUOTED))
    end = rest.start() if rest else len(line)
    return f"{line[:end]} NOT NULL{line[end:]}"


def _changed(line: str, pattern: str, instead: str) -> str:
    match = re.search(pattern, _masked(line, _MYSQL_QUOTED))
    return line if match is None else line[: match.start()] + instead + line[match.end() :]
