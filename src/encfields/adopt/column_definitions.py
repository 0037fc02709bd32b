"""Edits column definitions as text in a database's own DDL.

Content of quotes and parentheses is masked first, so that a default or a comment is never mistaken
for a rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from encfields.errors import DeclarationError


def _masked(definition: str, quoted: re.Pattern[str]) -> str:
    """The definition with the content of quotes and parentheses replaced by x's."""
    masked, depth, out = _hidden(definition, quoted), 0, []
    for character in masked:
        depth -= character == ")"
        out.append(character if depth <= 0 else "x")
        depth += character == "("
    return "".join(out)


def _hidden(definition: str, quoted: re.Pattern[str]) -> str:
    """The definition with quotes replaced by x's, and comments by what is no word."""
    return quoted.sub(
        lambda found: ("~" if found[0][:2] in ("--", "/*") else "x") * len(found[0]), definition
    )


# -- of SQLite ---------------------------------------------------------------------------------

_SQLITE_QUOTED = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/", re.S
)
_NOT_NULL = re.compile(
    r"\s*(?:CONSTRAINT\s+\S+\s+)?\bNOT\s+NULL\b(?:\s+ON\s+CONFLICT\s+\w+)?", re.I
)
_DEFAULT = re.compile(r"\s*\bDEFAULT\s*(?:\(x*\)|[+-]?\s*[\w.]+)", re.I)
_RULE = re.compile(r"(?:CONSTRAINT|PRIMARY|UNIQUE|CHECK|FOREIGN)\b", re.I)
_REFERS = re.compile(r"\bREFERENCES\s+\S+\s*\Z", re.I)
_SPACE = re.compile(r"\A(?:\s|--[^\n]*|/\*.*?\*/)+", re.S)
_SQLITE_NAME = r"(?:\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\])"
_SQLITE_WORD = re.compile(rf"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/|({_SQLITE_NAME}|[\w$]+)", re.S)
"""A name as its first group, or what may contain words that are none."""


def definitions(sql: str) -> tuple[str, list[str], str]:
    """A CREATE TABLE in three parts: before the parenthesis, the definitions, and after it."""
    masked = _hidden(sql, _SQLITE_QUOTED)
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
    masked = _masked(part, _SQLITE_QUOTED)
    apart = "\n" if "--" in part else " "  # what follows a comment on its line is part of it
    return part if _NOT_NULL.search(masked) else f"{part.rstrip()}{apart}NOT NULL"


def _outside(pattern: re.Pattern[str], part: str) -> str:
    """A definition without a pattern's matches outside quotes and parentheses."""
    match = pattern.search(_masked(part, _SQLITE_QUOTED))
    if match is None:
        return part
    ends_comment = "\n" if "\n" in match[0] else ""
    return f"{part[: match.start()]}{ends_comment}{part[match.end() :]}"


def definition_without(sql: str, table: str, column: str) -> str:
    """The part after CREATE TABLE and the name, without one column.

    :raises DeclarationError: a constraint covers this column and others.
    """
    _, parts, after = definitions(sql)
    others = [name for name in columns_of(parts) if name.lower() != column.lower()]
    of_column = [part for part in parts if _is_rule(part) and names_any(covered(part), column)]
    if any(names_any(covered(part), *others) for part in of_column):
        raise DeclarationError(
            "a constraint covers this column and others: drop it first",
            table=table,
            column=column,
            reason="constraint",
        )
    kept = [part for part in parts if part not in of_column and not defines_column(part, column)]
    return f"({','.join(kept)}{after}"


def columns_of(parts: Iterable[str]) -> list[str]:
    """The names of the columns that parts of a CREATE TABLE define."""
    return [name for part in parts if (name := _column_name(part)) is not None]


def covered(part: str) -> str:
    """What a part of a CREATE TABLE is about besides the column that it defines: what stands in its
    parentheses, without columns of other tables. Of a CREATE INDEX its columns and its condition.
    """
    masked = _hidden(part, _SQLITE_QUOTED)
    if re.match(r"\s*CREATE\b", masked, re.IGNORECASE):
        return part[masked.index("(") :]
    inside, depth, counts = [], 0, True
    for at, character in enumerate(masked):
        if character == "(":
            counts = counts if depth else _REFERS.search(masked, 0, at) is None
            depth += 1
        depth -= character == ")"
        if depth and counts:
            inside.append(part[at])
    return "".join(inside)


def checks_in(part: str) -> Iterator[str]:
    """The conditions of the CHECKs in a part of a CREATE TABLE."""
    masked = _hidden(part, _SQLITE_QUOTED)
    for found in re.finditer(r"\bCHECK\s*\(", masked, re.IGNORECASE):
        depth, end = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(masked[end], 0)
            end += 1
        yield part[found.end() : end - 1]


def names_any(sql: str, *columns: str) -> bool:
    """Whether SQL names any of the columns, outside its texts and comments."""
    named = {_unquoted(found[0]).lower() for found in _SQLITE_WORD.finditer(sql) if found[1]}
    return not named.isdisjoint(map(str.lower, columns))


def _is_rule(part: str) -> bool:
    return _RULE.match(_SPACE.sub("", part)) is not None


def _column_name(part: str) -> str | None:
    """The name of the column that a part of a CREATE TABLE defines, if it does."""
    part = _SPACE.sub("", part)
    if _RULE.match(part):
        return None
    match = re.match(rf"{_SQLITE_NAME}|\S+", part)
    return None if match is None else _unquoted(match[0])


def _unquoted(name: str) -> str:
    if name[0] in '"`':
        return name[1:-1].replace(name[0] * 2, name[0])
    return name[1:-1] if name[0] == "[" else name


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
