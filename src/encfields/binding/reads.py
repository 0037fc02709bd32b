"""Reading: ciphertext and the identity of its row, delivered in one cell.

A type is shown one cell and never a row. So where an encrypted column is delivered to the
application, ``column_expression`` selects :class:`Packed`::

    <tag> ':' <key part> ':' ... <ciphertext>

Identity and ciphertext then come out of the same row through aliases, joins, loader
strategies, RETURNING and unions, and :class:`RowReader` opens the one with the other. The tag
names the column, so that a UNION of two encrypted columns is a clear error and no false alarm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement, Label
from sqlalchemy.sql.selectable import ScalarSelect, Select
from sqlalchemy.types import TypeEngine

from encfields.binding.attachment import attachment_of
from encfields.binding.columns import ColumnBinding, binding_of, is_encrypted
from encfields.binding.delivered_keys import delivered_sql, from_delivered
from encfields.binding.grouped_key import needs_aggregate
from encfields.binding.index_comparison import BlindValue
from encfields.binding.key_look_up import looked_up
from encfields.binding.misspelt import misspelt
from encfields.binding.opened_cell import OpenedCell
from encfields.binding.row_keys import MYSQL_NAMES, kind_of
from encfields.errors import (
    DecryptionError,
    EncFieldsError,
    KeyDestroyedError,
    KeyStoreError,
    MalformedMessageError,
    UnreadableError,
)
from encfields.foreign import ForeignReader, is_foreign
from encfields.message import open_
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

_SEPARATOR = b":"


class RowReader(TypeEngine[Any]):
    """The type of a :class:`Packed` cell: opens it for one column.

    :param binding: the encrypted column.
    """

    delivers_row_key = True

    def __init__(self, binding: ColumnBinding) -> None:
        self.binding = binding
        digest = hashlib.sha256(binding.logical_name.encode("utf-8")).hexdigest()
        self.tag = digest[:6]

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        binding = self.binding
        attachment = attachment_of(dialect)
        tag = self.tag.encode("ascii")
        parts = len(binding.identity) + 1
        to_text = tuple(from_delivered(column.type, dialect) for column in binding.identity)
        serialize, key_ids = binding.context.serialize, binding.key_ids
        decode = binding.codec.decode

        def open_cell(cell: Any) -> Any:
            if cell is None:
                return None
            if type(cell) is OpenedCell:
                return cell.value
            encryption = attachment.encryption or attachment.require(
                binding.table, binding.column_name
            )
            # Text, if the column holds text as yet: plaintext, which is refused with its row.
            packed = cell.encode("utf-8") if isinstance(cell, str) else bytes(cell)
            found = packed.split(_SEPARATOR, parts)
            if found[0] != tag or len(found) <= parts:
                raise (
                    _holds_text(binding)
                    if isinstance(cell, str)
                    else _not_packed(binding, found[0])
                )
            try:
                texts = [convert(part) for convert, part in zip(to_text, found[1:-1], strict=True)]
            except ValueError:
                raise misspelt(binding, found[1:-1], dialect) from None
            try:
                context = serialize(texts)
                data = open_(found[-1], context, encryption.find_key, key_ids(texts))
                encryption.stats.opened += 1
                return decode(data, dialect)
            except EncFieldsError as error:
                if is_foreign(error):
                    reader = encryption.foreign.get(binding.logical_name)
                    if reader is not None:
                        return _foreign(reader, binding, texts, found[-1], dialect)
                    _hint(error, binding)
                if _is_destroyed(error) and encryption.destroyed != "raise":
                    return encryption.destroyed
                raise _located(error, binding, texts) from None

        return leaves_no_trace(open_cell)

    def row_of(self, cell: Any, dialect: Dialect) -> Mapping[str, str]:
        """The identity of a cell's row, by column name.

        :raises ValueError: it is no cell of this column.
        """
        columns = self.binding.identity
        parts = bytes(cell).split(_SEPARATOR, len(columns) + 1)[1:-1]
        texts = [
            from_delivered(column.type, dialect)(part)
            for column, part in zip(columns, parts, strict=True)
        ]
        return self.binding.row(texts)


def _holds_text(binding: ColumnBinding) -> EncFieldsError:
    return MalformedMessageError(
        "the database's column holds text, so its values are plaintext that was never encrypted: "
        "add an encrypted column beside it, as Alembic's autogenerate describes",
        table=binding.table,
        column=binding.column_name,
        reason="text",
    )


def _is_destroyed(error: EncFieldsError) -> bool:
    """Whether the value's whole key was destroyed on purpose. Nothing should be under a version
    that was retired, so that is an error."""
    return isinstance(error, KeyDestroyedError) and error.reason == "destroyed"


def _not_packed(binding: ColumnBinding, tag: bytes) -> DecryptionError:
    return MalformedMessageError(
        "the cell does not hold this column's value and its row's key: it may stem from a UNION "
        "with another encrypted column, or from SQL that was not made by SQLAlchemy",
        table=binding.table,
        column=binding.column_name,
        reason="not-packed",
    )


def _foreign(
    reader: ForeignReader, binding: ColumnBinding, texts: list[str], message: bytes, dialect: Any
) -> Any:
    """The value of a message that was written by hand, before the column was encrypted by us."""
    try:
        data = reader.open(message, binding.row(texts))
        return reader.decode(data) if reader.decode else binding.codec.decode(data, dialect)
    except EncFieldsError as error:
        failure = error
    raise _located(failure, binding, texts)


def _hint(error: EncFieldsError, binding: ColumnBinding) -> None:
    """Say how values that were encrypted by hand are read."""
    if isinstance(error, MalformedMessageError):
        error.message += (
            f". To read such values here: attach(..., foreign={{{binding.logical_name!r}: "
            "ForeignReader(keyring, context=...)})"
        )


def _located(error: EncFieldsError, binding: ColumnBinding, texts: list[str]) -> EncFieldsError:
    """The same error, told where it happened."""
    if isinstance(error, DecryptionError | KeyStoreError):
        error.table = error.table or binding.table
        error.column = error.column or binding.column_name
        if len(texts) == len(binding.identity):
            error.row = error.row or dict(binding.row(texts))
    return error


class Packed(ColumnElement[Any]):
    """The expression that delivers an encrypted column with its row's key in one cell."""

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

    @property
    def _from_objects(self) -> list[Any]:
        return list(self.ciphertext._from_objects)


@compiles(Packed)
def _compile_packed(element: Packed, compiler: Any, **kw: Any) -> str:
    """Portable form, which SQLite and SQLAlchemy's own default dialect understand."""
    pieces = _pieces(element, compiler, compiler.dialect.name, kw)
    return "CAST(" + " || ".join(pieces) + " AS BLOB)"


@compiles(Packed, "postgresql")
def _compile_packed_postgresql(element: Packed, compiler: Any, **kw: Any) -> str:
    *head, ciphertext = _pieces(element, compiler, "postgresql", kw)
    return f"(CAST({' || '.join(head)} AS BYTEA) || {ciphertext})"


@compiles(Packed, *sorted(MYSQL_NAMES))
def _compile_packed_mysql(element: Packed, compiler: Any, **kw: Any) -> str:
    return "CONCAT(" + ", ".join(_pieces(element, compiler, "mysql", kw)) + ")"


def _pieces(element: Packed, compiler: Any, dialect_name: str, kw: dict[str, Any]) -> list[str]:
    """The SQL of each part of the cell, the ciphertext last."""
    inner = {
        name: value
        for name, value in kw.items()
        if name not in ("add_to_result_map", "within_columns_clause", "result_map_targets")
    }
    pieces = [f"'{element.reader.tag}:'"]
    for key, declared in zip(element.identity, element.reader.binding.identity, strict=True):
        kind = kind_of(declared.type, compiler.dialect)
        sql = compiler.process(key, **inner)
        if dialect_name == "postgresql" and needs_aggregate(key, compiler):
            sql = f"(array_agg({sql}))[1]"
        pieces += [delivered_sql(sql, kind, dialect_name), "':'"]
    return [*pieces, compiler.process(element.ciphertext, **inner)]


def packed(expression: ColumnElement[Any]) -> ColumnElement[Any]:
    """What is selected in place of the encrypted `expression`.

    :raises UnreadableError: the expression cannot be traced to one row: a function, a CASE, a
        bound value, or a column of a subquery that does not select the row's key.
    """
    if isinstance(expression, Label):
        return packed(expression.element)
    if isinstance(expression, ScalarSelect):
        return _packed_scalar(expression)
    if not isinstance(expression, Column) and not _is_proxy(expression):
        raise _untraceable(type(expression).__name__)
    source = source_column(expression)
    binding = binding_of(source)
    identity = tuple(_key_part(expression, key, source) for key in binding.identity)
    return Packed(expression, identity, RowReader(binding))


def _key_part(expression: Any, key: Column[Any], source: Column[Any]) -> ColumnElement[Any]:
    """The row-key column of the row that `expression` is of, selected beside it or looked up."""
    if next(row_siblings(expression, key, source), None) is None:
        columns = source.table.primary_key.columns
        primary_key = {c: next(row_siblings(expression, c, source), None) for c in columns}
        there = {column: found for column, found in primary_key.items() if found is not None}
        if there and len(there) == len(primary_key):
            return looked_up(key, there, expression.table)
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
        raise _of_several(bases) if sources else _untraceable("expression")
    base = next(iter(sources.values()))
    return base.table.c[base.key]


def _origins(expression: Any) -> frozenset[int]:
    """The selectables that a column passed through: what tells two aliases of a table apart."""
    found: set[int] = set()
    for column in expression.proxy_set:
        table = getattr(column, "table", None)
        if table is not None:
            found.add(id(table))
        elif isinstance(column, BlindValue):
            found |= _origins(column.clause)
    return frozenset(found)


def same_row(one: Any, other: Any) -> bool:
    """Whether two columns of one table, alias or subquery come from the same row of a table."""
    return _origins(one) == _origins(other)


def proxies(column: Any, expression: Any, via: tuple[Any, ...]) -> bool:
    """Whether a subquery's column stands for `expression` in it.

    :param via: the subquery, and those within it that the column passed through.
    """
    if getattr(column, "table", None) is not via[0] or not hasattr(column, "proxy_set"):
        return False
    stands_for = {hash(one) for one in column.proxy_set}
    return hash(expression) in stands_for and _origins(column) >= {id(one) for one in via}


def row_siblings(
    expression: Any, key: Column[Any], source: Column[Any]
) -> Iterator[ColumnElement[Any]]:
    """The columns that stand for `key` in what `expression` is selected from, of the same row."""
    if expression.table is source.table:
        yield key
        return
    for candidate in expression.table.c:
        if any(base is key for base in candidate.base_columns) and same_row(candidate, expression):
            yield candidate


def sibling(expression: Any, key: Column[Any], source: Column[Any]) -> ColumnElement[Any]:
    """The row-key column that comes from the same row as `expression`."""
    for found in row_siblings(expression, key, source):
        return found
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
        raise _untraceable("scalar subquery of a UNION")
    (column,) = inner.selected_columns
    cell = packed(column)
    rebuilt = inner.with_only_columns(cell, maintain_column_froms=True).scalar_subquery()
    rebuilt.type = cell.type
    return rebuilt


def _of_several(columns: list[Column[Any]]) -> UnreadableError:
    """The refusal of what a UNION of several tables delivers, as of concrete inheritance."""
    names = sorted({f"{column.table.fullname}.{column.name}" for column in columns})
    return UnreadableError(
        f"it comes out of a UNION of {', '.join(names)}, which does not tell the row it came from: "
        "read each table, or each class of a concrete hierarchy, with a select() of its own",
        reason="untraceable",
    )


def _untraceable(what: str) -> UnreadableError:
    return UnreadableError(
        f"an encrypted value comes out of a {what}, which does not tell the row it came from: "
        "select the column itself and apply the function in Python",
        reason="untraceable",
    )


def raw_select(table: Table) -> Any:
    """A SELECT of the table's stored bytes, for tests and tools: ciphertext stays ciphertext."""
    from sqlalchemy import LargeBinary, type_coerce

    return select(
        *(
            type_coerce(column, LargeBinary).label(column.key) if is_encrypted(column) else column
            for column in table.c
        )
    )
