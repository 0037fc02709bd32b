"""A plaintext column in a database's catalog, of which questions are asked in SQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import text

from encfields.orm.adoption.triggers import PREFIX

if TYPE_CHECKING:
    from sqlalchemy import Connection


class CatalogColumn:
    """A plaintext column in a database's catalog."""

    def __init__(self, connection: Connection, table: str, schema: str | None, name: str) -> None:
        self.connection = connection
        self.table = table
        self.schema = schema
        self.name = name

    def ask(self, sql: str) -> list[tuple[str, ...]]:
        """The texts that a query returns; it may use :table, :schema, :name and :ours."""
        asked = {"table": self.table, "schema": self.schema, "name": self.name, "ours": PREFIX}
        named = {name: value for name, value in asked.items() if f":{name}" in sql}
        rows = self.connection.execute(text(sql), named)
        return [tuple("" if cell is None else _as_text(cell) for cell in row) for row in rows]

    def is_named_in(self, sql: str) -> bool:
        """Whether SQL contains the column's name as a word."""
        return re.search(rf"(?<!\w){re.escape(self.name)}(?!\w)", sql, re.IGNORECASE) is not None

    def is_used_in(self, expression: str) -> bool:
        """Whether a view or an expression contains it as a word outside of texts."""
        return self.is_named_in(_without_texts(expression))


def _without_texts(expression: str) -> str:
    """SQL with its texts emptied; as it is if there is doubt about where one ends."""
    if re.search(r"(?<!\\)'", expression) is None:
        expression = expression.replace("\\'", "'")  # as MySQL's catalog writes them
    if any(mark in expression for mark in ("\\", "--", "/*", "#")):
        return expression
    return re.sub(r"'(?:[^']|'')*'", "''", expression)


def _as_text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
