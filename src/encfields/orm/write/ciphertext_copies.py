"""Allows copies of whole rows inside the database, and refuses other copies of ciphertext.

A ciphertext opens only in the row and column that it was sealed for. So the only valid copy takes
it with the row's key and blind indexes from the columns of the same names of one table, as when a
migration rebuilds a table. Anything else assigned to an encrypted column would be stored as it is:
a literal in plaintext, or another column's value that nothing opens.

Nor does it open in a column that is not encrypted: ``update(patient).values(note=
patient.c.ssn)`` copies a text between plain columns. A column of bytes may keep a message as the
bytes that it is, unless the values that were sealed are bytes themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Alias, Column, LargeBinary, Table
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import (
    BindParameter,
    ColumnClause,
    ColumnElement,
    Grouping,
    Label,
    TextClause,
)
from sqlalchemy.sql.selectable import ScalarSelect, Select, SelectBase, TableClause
from sqlalchemy.sql.visitors import iterate
from sqlalchemy.types import TypeEngine

from encfields.errors import CiphertextCopyError
from encfields.orm import internals
from encfields.orm.declare.column_rules import stores_bytes
from encfields.orm.declare.columns import ColumnBinding, SealedColumnType, is_encrypted
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.query.comparison import clause_of
from encfields.orm.query.raw_operands import encrypted_name_given
from encfields.orm.query.statement_scope import selects_in
from encfields.orm.read.provenance import column_named, table_named


def refuse_other_copies(
    statement: Any, table: Table, bindings: Mapping[str, ColumnBinding], names: Sequence[str]
) -> None:
    """Refuse an INSERT .. SELECT into encrypted columns that does not copy whole rows.

    :param table: the table that it fills.
    :param bindings: the table's encrypted columns, by key.
    :param names: keys of the columns that are filled, in order.
    :raises CiphertextCopyError: names the column, and what may stand there.
    """
    filled = [bindings[name] for name in names if name in bindings]
    if not filled:
        return
    given = dict(zip(names, _selected(statement, filled[0], names), strict=True))
    source = _source_table(statement.select)
    for column in _columns_of_a_row(table, filled, names):
        element = given.get(column.key)
        if source is None or not _is_same_column(element, column, source):
            raise _refused(filled[0], f"{column.name} is filled with {_ELSE}")


_ELSE = (
    "something other than the column of that name of one table, which the database would store as "
    "it is. Read and insert the values. execution_options(encfields_raw_copy=True) lets whole "
    "rows through: the encrypted columns, their blind indexes and the row's key, each straight "
    "from its own column"
)


def _selected(statement: Any, binding: ColumnBinding, names: Sequence[str]) -> list[Any]:
    select = statement.select
    if isinstance(select, Select) and internals.is_bare_select(select):
        columns = list(select.inner_columns)
        if len(columns) == len(names) and not _has_text(select):
            return columns
    raise _refused(
        binding,
        "the statement does not show what INSERT .. SELECT copies: write one select() "
        "of the columns of one table, without UNION, GROUP BY, text() or hints",
    )


def _has_text(select: Select[Any]) -> bool:
    """Whether it contains raw SQL."""
    return any(
        isinstance(element, TextClause) or getattr(element, "is_literal", False)
        for element in iterate(select)
    )


def _source_table(select: Select[Any]) -> Any:
    """The single table that is read, or its alias; ``None`` if there is none."""
    froms = internals.top_level_from(select)
    if len(froms) != 1:
        return None
    (source,) = froms
    element = source.element if type(source) is Alias else source
    return source if isinstance(element, TableClause) else None


def _columns_of_a_row(
    table: Table, filled: Sequence[ColumnBinding], names: Sequence[str]
) -> Iterator[Column[Any]]:
    """Columns that belong together: values, their row's key, and blind indexes."""
    for binding in filled:
        yield binding.column
        yield from binding.bound_to
    for column in table.c:
        if column.key in names and isinstance(column.type, IndexColumnType):
            yield column


def _is_same_column(element: Any, column: Column[Any], source: Any) -> bool:
    while isinstance(element, Label):
        element = element.element
    if not isinstance(element, ColumnClause) or element.is_literal or element.table is None:
        return False
    # An entity's column is an annotated copy with the original's hash.
    if hash(element.table) != hash(source):
        return False
    if isinstance(column.type, SealedColumnType) and isinstance(element.type, SealedColumnType):
        stated = column.type.name, element.type.name
        if None not in stated:
            return stated[0] == stated[1]
    if is_encrypted(column) or isinstance(column.type, IndexColumnType):
        return bool(element.name == column.name) and _holds_bytes(element.type)
    return bool(element.name == column.name)


def _holds_bytes(type_: TypeEngine[Any]) -> bool:
    """Whether a column may hold ciphertext or hashes, by its type."""
    if isinstance(type_, SealedColumnType | IndexColumnType):
        return True
    return stores_bytes(type_)


def _refused(binding: ColumnBinding, message: str) -> CiphertextCopyError:
    return CiphertextCopyError(
        message, table=binding.table, column=binding.column_name, reason="half-copy"
    )


def refuse_copies_elsewhere(statement: Insert | Update) -> None:
    """Refuse an INSERT or UPDATE that copies an encrypted column into a plain one.

    :raises CiphertextCopyError: it does.
    """
    # An adopted column's name may be the key of the encrypted one, which SQLAlchemy goes by.
    of_table = statement.table.c
    columns = {its.name: its for its in of_table} | {its.key: its for its in of_table}
    for target, value in _assigned(statement):
        clause = clause_of(target)
        column: Any = clause if isinstance(clause, ColumnElement) else columns.get(clause)
        element = _bare(value)
        if column is None or is_encrypted(column):
            continue
        if not is_encrypted(element):
            element = encrypted_name_given(statement, clause_of(value))
            if element is None:
                continue
        if not isinstance(element, BindParameter) and not _keeps_bytes(column, element):
            raise CiphertextCopyError(
                f"{getattr(column, 'key', column)!r} is not encrypted and would get its "
                "ciphertext, which nothing opens there: load the value and write that. A column "
                "of bytes keeps a message as it is with type_coerce(column, LargeBinary)",
                table=table_named(element),
                column=column_named(element),
                reason="elsewhere",
            )


def _assigned(statement: Any) -> Iterator[tuple[Any, Any]]:
    """The values of columns in VALUES, SET, ON CONFLICT and SELECT, by column or its name."""
    yield from internals.update_values(statement)
    yield from internals.upsert_values(statement)
    if isinstance(statement, Insert):
        for row in internals.multi_value_rows(statement) or ():
            yield from row.items()
        names = internals.select_source_names(statement)
        fills_encrypted = any(is_encrypted(statement.table.c.get(name)) for name in names)
        if statement.select is not None and not fills_encrypted:  # otherwise a copy of whole rows
            for select in [*selects_in(statement.select)] or [statement.select]:
                yield from zip(names, _all_columns(select), strict=False)


def _all_columns(select: Any) -> Any:
    """What a SELECT selects, with ``text()``, which is not among its selected columns."""
    return select.inner_columns if isinstance(select, Select) else select.selected_columns


def _bare(value: Any) -> Any:
    """The expression inside labels, parentheses or a SELECT."""
    element = clause_of(value)
    while isinstance(element, Label | Grouping | ScalarSelect):
        inner: Any = element.element
        if isinstance(inner, SelectBase):
            inner = next(iter(inner.selected_columns), None)  # none where text() selects
        element = inner
    return element


def _keeps_bytes(column: Any, element: Any) -> bool:
    return internals.holds_bytes(column) and not isinstance(element.type.inner, LargeBinary)
