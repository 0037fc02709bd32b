"""Selects ciphertext together with the identity of its row, in one cell.

A type sees one cell and never a row. So wherever an encrypted column is selected for the
application, ``column_expression`` selects :class:`Packed`. Identity and ciphertext then come from
the same row through aliases, joins, loader strategies, RETURNING and unions, and :class:`RowReader`
opens one with the other. The tag names the column, so that a UNION of two encrypted columns gives a
clear error instead of a false report of tampering.

A part of the key that a subquery leaves out is found under another column's name, where its own
conditions set the two equal (a subclass's ``id`` for its parent's), or, if the primary key is
selected, looked up in the value's row: the ORM creates such subqueries for ``joinedload()`` with
LIMIT, and ``load_only()`` or ``defer()`` may omit the tenant's column.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Table, type_coerce
from sqlalchemy.sql.elements import Case, ColumnClause, ColumnElement, Label, quoted_name
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import ScalarSelect, Select, TableClause
from sqlalchemy.sql.visitors import iterate

from encfields.errors import UnreadableError
from encfields.orm.adoption.columns import plaintext_column, plaintext_type
from encfields.orm.adoption.plaintext import WRITE_BOTH, Plaintext, adoption_of
from encfields.orm.adoption.reads import AdoptingReader, PackedOrPlain
from encfields.orm.declare.columns import WITH_ITS_KEY, ColumnBinding, binding_of, is_encrypted
from encfields.orm.read.beside import (
    beside_null,
    equal_keys,
    has_null_branch,
    is_in_each,
    looked_up,
    same_row,
)
from encfields.orm.read.packed import Packed
from encfields.orm.read.row_reader import RowReader
from encfields.orm.read.union_reads import (
    hides_union,
    is_no_value,
    packed_branches,
    union_of,
)


def packed(expression: ColumnElement[Any]) -> ColumnElement[Any]:
    """The expression to select instead of the encrypted `expression`.

    :raises UnreadableError: the expression cannot be traced to one row: a function, a CASE, a
        bound value, or a column of a subquery that does not select the row's key.
    """
    if isinstance(expression, Label):
        return packed(expression.element)
    if isinstance(expression, ScalarSelect):
        return _packed_scalar(expression)
    if is_no_value(expression):
        return expression
    if not isinstance(expression, Column) and not _is_proxy(expression):
        raise _untraceable(type(expression).__name__, expression)
    of_branches = packed_branches(expression)
    if of_branches is not None:
        return of_branches
    source = source_column(expression)
    if hides_union(expression):
        raise _of_hierarchy(source)
    binding = binding_of(source)
    adopts = adoption_of(source)
    if adopts is not None:
        return _adopted(expression, source, binding, adopts)
    identity = tuple(row_part(expression, key, source) for key in binding.bound_to)
    return Packed(expression, identity, RowReader(binding, lazy=binding.lazy))


def _adopted(
    expression: ColumnElement[Any], source: Column[Any], binding: ColumnBinding, adopts: Plaintext
) -> ColumnElement[Any]:
    """The expression to select for a column that is being adopted."""
    plain = row_part(expression, plaintext_column(source), source)
    plain_type = plaintext_type(source, adopts)
    if adopts.phase == WRITE_BOTH:
        read = plain_type.column_expression(plain)
        return type_coerce(plain, plain_type) if read is None or read is plain else read
    identity = tuple(row_part(expression, key, source) for key in binding.identity)
    return PackedOrPlain(expression, identity, AdoptingReader(binding, plain_type), plain)


def row_part(expression: Any, key: Column[Any], source: Column[Any]) -> ColumnElement[Any]:
    """Another column of the row of `expression`, selected beside it or looked up.

    :param expression: an encrypted column, or an alias's or subquery's that represents it.
    :param key: the other column of the table.
    :param source: the table's encrypted column that `expression` is.
    :raises UnreadableError: it is selected from something that has neither the column nor the row's
        key.
    """
    # By its key a row of the table would be found for another SELECT's row, which has NULL.
    is_missing = next(row_siblings(expression, key, source), None) is None
    if is_missing and not has_null_branch(expression):
        columns = source.table.primary_key.columns
        primary_key = {c: next(row_siblings(expression, c, source), None) for c in columns}
        selected = {column: found for column, found in primary_key.items() if found is not None}
        if selected and len(selected) == len(primary_key):
            return looked_up(key, selected, expression.table)
    return sibling(expression, key, source)


def _is_proxy(expression: Any) -> bool:
    """A column of an alias, a subquery or a CTE."""
    return getattr(expression, "table", None) is not None and hasattr(expression, "base_columns")


def source_column(expression: Any) -> Column[Any]:
    """The table's column that `expression` stands for."""
    bases = [
        base
        for base in expression.base_columns
        if isinstance(base, Column) and isinstance(base.table, Table) and is_encrypted(base)
    ]
    sources = {(base.table.key, base.key): base for base in bases}
    if len(sources) != 1:
        raise _of_several(bases) if sources else _keyless(expression)
    base = next(iter(sources.values()))
    return base.table.c[base.key]


def row_siblings(
    expression: Any, key: Column[Any], source: Column[Any]
) -> Iterator[ColumnElement[Any]]:
    """The columns of the same row that represent `key` where `expression` is selected from.

    :param expression: an encrypted column, or an alias's or subquery's that stands for it.
    :param key: a column of the same table.
    :param source: the table's encrypted column that `expression` is.
    """
    if expression.table is source.table:
        yield key
        return
    is_selected = False
    union = union_of(expression)
    for candidate in expression.table.c:
        if not any(base is key for base in candidate.base_columns):
            continue
        if union is not None:
            is_key = is_in_each(union, candidate, key, beside_null(key, source))
        else:  # several base columns come from a UNION of UNIONs
            is_key = len(candidate.base_columns) == 1 and same_row(candidate, expression)
        if is_key:
            is_selected = True
            yield candidate
    if not is_selected:
        may_be = beside_null(key, source)
        yield from equal_keys(expression, lambda inner: row_siblings(inner, key, source), may_be)


def sibling(expression: Any, key: Column[Any], source: Column[Any]) -> ColumnElement[Any]:
    """The row-key column that comes from the same row as `expression`.

    :param expression: an encrypted column, or an alias's or subquery's that stands for it.
    :param key: a column of the same table.
    :param source: the table's encrypted column that `expression` is.
    :raises UnreadableError: it is selected from something without the key.
    """
    for column in row_siblings(expression, key, source):
        return column
    raise UnreadableError(
        f"the subquery or alias that it is selected from does not carry the row's key "
        f"{key.name!r}: select that too, and load relationships with selectinload(), not "
        "subqueryload()",
        table=source.table.fullname,
        column=source.name,
        reason="key-not-selected",
    )


def _packed_scalar(expression: ScalarSelect[Any]) -> ColumnElement[Any]:
    inner = expression.element
    if not isinstance(inner, Select):
        raise _untraceable("scalar subquery of a UNION", expression)
    (column,) = inner.selected_columns
    cell = packed(column)
    rebuilt = inner.with_only_columns(cell, maintain_column_froms=True).scalar_subquery()
    rebuilt.type = cell.type
    return rebuilt


def _of_several(columns: list[Column[Any]]) -> UnreadableError:
    """The error for a UNION of several tables, as in concrete inheritance."""
    names = sorted({f"{column.table.fullname}.{column.name}" for column in columns})
    return UnreadableError(
        f"it comes from a UNION of {', '.join(names)}, which tells neither the table nor the row "
        "of a value: select from each table, or each class of a concrete hierarchy, by itself. A "
        "UNION can be read if every branch selects its row's key and a literal_column() that no "
        "other branch has, as polymorphic_union() does with a type column",
        reason="untraceable",
    )


def _of_hierarchy(column: Column[Any]) -> UnreadableError:
    """The error for a subquery that selects single columns of a concrete hierarchy."""
    return UnreadableError(
        "the subquery selects a column of a concrete hierarchy, which does not tell the table that "
        "a row came from: select the class in it, or an alias of the class",
        table=column.table.fullname,
        column=column.name,
        reason="untraceable",
    )


def _keyless(expression: Any) -> UnreadableError:
    """The error for a column of a ``table()``, which does not declare a key."""
    table = getattr(expression, "table", None)
    if not isinstance(table, TableClause):
        return _untraceable("expression", expression)
    return UnreadableError(
        f"table() and column() do not tell the row's key: {WITH_ITS_KEY}",
        table=table.name,
        column=expression.name,
        reason="no-key",
    )


def _untraceable(what: str, expression: Any) -> UnreadableError:
    columns = (part for part in iterate(expression) if isinstance(part, ColumnClause))
    column = next(filter(is_encrypted, columns), None)
    return UnreadableError(
        f"an encrypted value comes from a {what}, which does not tell the row it came from: select "
        "the column itself and apply the function in Python",
        table=table_named(column),
        column=column_named(column),
        reason="untraceable",
    )


def table_named(expression: Any) -> str | None:
    """Name of a column's table, or of its alias if the application named that.

    An unnamed alias gets a name only in compilation, so its table is named instead.
    """
    column = _delivered_by(expression)
    table: Any = getattr(column, "table", None)
    bases = getattr(column, "base_columns", ())
    for candidate in (table, *(getattr(base, "table", None) for base in bases)):
        name = (
            candidate.fullname if isinstance(candidate, Table) else getattr(candidate, "name", None)
        )
        if name and not _is_anonymous(name):
            return str(name)
    return None


def column_named(expression: Any) -> str | None:
    """Name of a column; for an expression without a name, that of the table's column in it."""
    column = _delivered_by(expression)
    for candidate in (column, *getattr(column, "base_columns", ())):
        name = getattr(candidate, "name", None)
        if name and not _is_anonymous(name):
            return str(name)
    return None


def _delivered_by(expression: Any) -> Any:
    """The encrypted column that a scalar subquery selects, or that is in a function or a CASE;
    anything else unchanged."""
    if isinstance(expression, ScalarSelect):
        return next(filter(is_encrypted, expression.element.selected_columns), expression)
    if isinstance(expression, FunctionElement | Case):
        columns = (part for part in iterate(expression) if isinstance(part, ColumnClause))
        return next(filter(is_encrypted, columns), expression)
    return expression


def _is_anonymous(name: object) -> bool:
    return isinstance(name, quoted_name) and getattr(name, "apply_map", None) is not None
