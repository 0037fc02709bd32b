"""The SQL of a cell in which an encrypted value is delivered with its row's key.

If a statement has GROUP BY, PostgreSQL requires each selected column to be grouped by, or to belong
to a table whose whole primary key is. A cell contains each column of its row's key, even if the
statement groups by an equal column, or by the primary key of a subquery. Such a column is
aggregated: it has the same value throughout a group.

What the SELECT of a view selects is not delivered but stored. Another SELECT delivers it and adds
the key: there the cell is the message alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import Select

from encfields.databases import MYSQL_NAMES
from encfields.orm import internals
from encfields.orm.declare.row_keys import kind_of
from encfields.orm.internals import WrappedColumn
from encfields.orm.query.statement_scope import enclosing
from encfields.orm.read.delivered_keys import delivered_sql

if TYPE_CHECKING:
    from encfields.orm.read.row_reader import RowReader


class Packed(WrappedColumn):
    """The expression that selects an encrypted column with its row's key in one cell."""

    inherit_cache = False
    __visit_name__ = "encfields_packed"

    def __init__(
        self,
        ciphertext: ColumnElement[Any],
        identity: tuple[ColumnElement[Any], ...],
        reader: RowReader,
    ) -> None:
        self.ciphertext = ciphertext
        self.identity = identity
        self.type = reader
        self.reader = reader

    def wrapped(self) -> ColumnElement[Any]:
        """The stored column."""
        return self.ciphertext


@compiles(Packed)
def _compile_packed(element: Packed, compiler: Any, **kw: Any) -> str:
    if internals.is_part_of_ddl(compiler):
        return str(compiler.process(element.ciphertext, **without_result_map(kw)))
    name = compiler.dialect.name
    *head, ciphertext = _pieces(element, compiler, kw)
    if name == "postgresql":
        return f"(CAST({' || '.join(head)} AS BYTEA) || {ciphertext})"
    if name in MYSQL_NAMES:
        return f"CONCAT({', '.join((*head, ciphertext))})"
    return f"CAST({' || '.join((*head, ciphertext))} AS BLOB)"


def without_result_map(kw: dict[str, Any]) -> dict[str, Any]:
    """A compiler's options for the parts of a cell, which are not result columns themselves."""
    of_the_whole = ("add_to_result_map", "within_columns_clause", "result_map_targets")
    parts = {name: value for name, value in kw.items() if name not in of_the_whole}
    return {**parts, DELIVERED: True}


DELIVERED = "encfields_delivered"
"""Compiler option that marks a part of a result column."""


def _pieces(element: Packed, compiler: Any, kw: dict[str, Any]) -> list[str]:
    """The SQL of each part of the cell, the ciphertext last."""
    name = compiler.dialect.name
    inner = without_result_map(kw)
    pieces = [f"'{element.reader.tag}:'"]
    for key, declared in zip(element.identity, element.reader.key_columns, strict=True):
        kind = kind_of(declared.type, compiler.dialect)
        sql = compiler.process(key, **inner)
        if name == "postgresql" and needs_aggregate(key, compiler):
            sql = f"(array_agg({sql}))[1]"
        pieces += [delivered_sql(sql, kind, name), "':'"]
    return [*pieces, compiler.process(element.ciphertext, **inner)]


def needs_aggregate(key: Any, compiler: Any) -> bool:
    """Whether the SELECT being compiled has a GROUP BY that does not include the column `key`."""
    around = enclosing(compiler)
    select = around[0].statement if around else None
    if not isinstance(select, Select):
        return False
    clauses = internals.group_by_clauses(select)
    return bool(clauses) and not any(hash(clause) == hash(key) for clause in clauses)
