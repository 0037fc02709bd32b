"""The triggers that a table has of its own, and what they may do to a plaintext column.

A trigger's text is searched, not parsed, so what is not certainly a comparison is taken for an
assignment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from encfields.adopt.catalog_column import CatalogColumn
from encfields.databases import MYSQL_NAMES


def own_triggers(plain: CatalogColumn) -> list[tuple[str, ...]]:
    """The triggers that are not of an adoption, of the table and its partitions: name and text."""
    name = plain.connection.dialect.name
    if name == "postgresql":
        return plain.ask(
            "SELECT DISTINCT t.tgname, p.prosrc FROM pg_trigger t JOIN pg_proc p "
            "ON p.oid = t.tgfoid JOIN pg_class c ON c.relname = :table AND c.relnamespace = "
            "(SELECT oid FROM pg_namespace WHERE nspname = COALESCE(:schema, current_schema())) "
            "WHERE (t.tgrelid = c.oid OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid)))"
            " AND NOT t.tgisinternal AND left(t.tgname, length(:ours)) <> :ours ORDER BY t.tgname"
        )
    if name in MYSQL_NAMES:
        return plain.ask(
            "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE "
            "EVENT_OBJECT_SCHEMA = COALESCE(:schema, DATABASE()) AND EVENT_OBJECT_TABLE = :table "
            "AND LEFT(TRIGGER_NAME, CHAR_LENGTH(:ours)) <> :ours"
        )
    return plain.ask(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = "
        "lower(:table) AND substr(name, 1, length(:ours)) <> :ours"
    )


def may_assign(sql: str, column: str) -> bool:
    """Whether a trigger may assign the column.

    :param sql: the trigger's text. :param column: the column's name.
    """
    if re.search(rf"(?<!\w){re.escape(column)}(?!\w)", sql, _ANY_CASE) is None:
        return False
    equated = [*_equated(sql, rf"{_QUALIFIER}{_name(column)}"), *_equated(sql, _WHOLE_ROW)]
    if any(not _is_comparison(sql, found) for found in equated):
        return True
    among_others = rf"\bset\s*\({_OTHERS}{_QUALIFIER}{_name(column)}"
    into_it = rf"\binto\s+(?:strict\s+)?{_OTHERS}new\s*\.\s*{_name(column)}"
    into_row = r"\binto\s+(?:strict\s+)?new(?!\s*[.\w])"
    return any(re.search(one, sql, _ANY_CASE) for one in (among_others, into_it, into_row))


_ANY_CASE = re.IGNORECASE

_WORD = r"(?:\w+|\"[^\"]*\"|`[^`]*`|\[[^\]]*\])"
_QUALIFIER = rf"(?:{_WORD}\s*\.\s*)*"
_OTHERS = rf"\s*(?:{_QUALIFIER}{_WORD}\s*,\s*)*"
"""Other names, before the one that is looked for."""

_WHOLE_ROW = r"(?<![\w.])new"

_COMPARES_AFTER = re.compile(
    r"(?:(?<!\w)(?:if|elsif|elseif|and|or|not|when|where|on|having|while|until|return|select)"
    r"|[(=<]|(?<!>)>)\s*$",  # two are the end of a label
    re.IGNORECASE,
)
"""What no assignment follows, in any database's SQL."""


def _name(column: str) -> str:
    return rf"[\"`\[]?(?<!\w){re.escape(column)}(?!\w)[\"`\]]?"


def _equated(sql: str, assigned: str) -> Iterator[re.Match[str]]:
    """Where something is followed by an equals sign, be it behind the number of an item."""
    return re.finditer(rf"{assigned}(?:\s*\[[^\]]*\])*\s*(:?=(?![=>]))", sql, _ANY_CASE)


def _is_comparison(sql: str, found: re.Match[str]) -> bool:
    if found[1] == ":=":
        return False
    before = sql[: found.start()]
    after = _COMPARES_AFTER.search(before)
    if after is None:
        return False
    # The word may be one of a comment, behind which an assignment begins.
    line = before[before.rfind("\n", 0, after.start()) + 1 :]
    return not any(mark in line for mark in ("--", "#", "/*", "*/"))
