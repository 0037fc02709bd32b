"""Autogenerate for blind indexes: which ones differ from their declaration, and when to fill them.

SQL finds rows without an index. Only a key tells how an index was made: a few values are opened,
and their indexes computed and compared. No separate record exists that could be outdated.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from alembic.operations import ops
from sqlalchemy import Column, Connection, MetaData, Select, Table, func, select

from encfields.alembic.descriptions import (
    IndexColumn,
    columns_without_defaults,
    index_column_of,
    with_indexes,
)
from encfields.alembic.environment import FetchKeys
from encfields.alembic.operations.indexes import FillBlindIndexOp
from encfields.alembic.operations.refused_or_postponed import PostponedFillOp
from encfields.bulk.rows.places import ColumnPlaces, ValuePlace
from encfields.bulk.rows.spec import ReflectedTable, SealedColumn, TableSpec
from encfields.bulk.survey.index_check import any_unindexed
from encfields.engine import engine_encryption
from encfields.errors import DecryptionError, EncFieldsError
from encfields.index.definition import IndexDefinition
from encfields.message import open_
from encfields.message.header import as_bytes, read_header
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.declare.table_indexes import indexes_of

if TYPE_CHECKING:
    from encfields.engine import Encryption

log = logging.getLogger("encfields.alembic")

ROWS_AT_EITHER_END = 5
"""Rows at each end of the primary key whose indexes are compared."""


def must_wait(connection: Connection, op: ops.MigrateOperation) -> bool:
    """Whether an index's column would become shorter than its present content."""
    if not isinstance(op, ops.AlterColumnOp) or not isinstance(op.modify_type, IndexColumnType):
        return False
    column: Column[Any] = Column(op.column_name, op.existing_type)
    table = Table(op.table_name, MetaData(), column, schema=op.schema)
    length = func.length if connection.dialect.name == "sqlite" else func.octet_length
    longer = select(column).select_from(table).where(length(column) > op.modify_type.length)
    return connection.execute(longer.limit(1)).first() is not None


def fills(
    connection: Connection, tables: Iterable[tuple[Table, dict[str, Any]]], keys: FetchKeys
) -> Iterator[FillBlindIndexOp]:
    """Fills for indexes whose columns exist.

    :param tables: declared tables, with the types of the columns that the database has.
    """
    for table, types in tables:
        present = [index for index in indexes_of(table) if _names(index) <= types.keys()]
        if not present:
            continue
        columns = tuple(c for c in TableSpec.from_table(table).columns if c.name in types)
        stale = stale_indexes(
            connection, TableSpec(table.name, columns, table.schema), present, keys
        )
        if stale.indexes:
            names = {index.name for index in stale.indexes}
            to_fill = [index for index in present if index.index_column.name in names]
            yield _fill(table, to_fill, reindex=stale.changed)


def postponed_fills(
    tables: Iterable[tuple[Table, dict[str, Any]]], found: ops.UpgradeOps
) -> Iterator[PostponedFillOp]:
    """Fills for indexes whose columns this revision adds to existing tables.

    The database that autogenerate reads does not tell whether production has rows.
    """
    added = set(_added(found.ops))
    for table, types in tables:
        to_fill = [
            index
            for index in indexes_of(table)
            if (table.schema, table.name, index.index_column.name) in added
            and {source.column_name for source in index.sources} <= types.keys()
        ]
        if to_fill:
            yield PostponedFillOp(_fill(table, to_fill, reindex=False))


def _fill(table: Table, indexes: list[IndexBinding], *, reindex: bool) -> FillBlindIndexOp:
    names = {source.column_name for index in indexes for source in index.sources}
    columns = tuple(
        column
        for column in columns_without_defaults(table)
        if column.name in names and column != SealedColumn(column.name)
    )
    to_fill = tuple(index_column_of(index) for index in indexes)
    spec = TableSpec(table.name, columns, table.schema)
    return FillBlindIndexOp(spec, to_fill, reindex=reindex, queue=False)


def _names(index: IndexBinding) -> set[str]:
    return {index.index_column.name, *(source.column_name for source in index.sources)}


def _added(found: Iterable[Any]) -> Iterator[tuple[str | None, str, str]]:
    for op in found:
        if isinstance(op, ops.ModifyTableOps):
            yield from _added(op.ops)
        elif isinstance(op, ops.AddColumnOp):
            yield op.schema, op.table_name, op.column.name


# -- what they hold ---------------------------------------------------------------------------


class StaleIndexes(NamedTuple):
    """Indexes of one table that differ from their declaration.

    :param indexes: in declaration order.
    :param changed: whether one was made differently; otherwise rows lack it.
    """

    indexes: tuple[IndexColumn, ...]
    changed: bool


def stale_indexes(
    connection: Connection, declared: TableSpec, indexes: Sequence[IndexBinding], keys: FetchKeys
) -> StaleIndexes:
    """The indexes of a table to fill.

    :param declared: the table and those of its encrypted columns that the database has.
    :param indexes: declared indexes whose columns the database has.
    """
    descriptions = tuple(index_column_of(index) for index in indexes)
    spec = with_indexes(declared, descriptions)
    sampled = SampledRows(connection, spec)
    changed = {index.name for index in spec.indexes if sampled.is_changed(index, keys)}
    missing = {index.name for index in spec.indexes if any_unindexed(connection, spec, index)}
    stale = tuple(
        description for description in descriptions if description.name in changed | missing
    )
    return StaleIndexes(stale, bool(changed))


class SampledRows:
    """Compares the indexes of some rows with their declaration.

    :param spec: the table, its encrypted columns and indexes.
    """

    def __init__(self, connection: Connection, spec: TableSpec) -> None:
        reflected: ReflectedTable = spec.reflect(connection)
        self._connection = connection
        self._table = reflected.table
        self._bindings = {binding.column_name: binding for binding in reflected.bindings}

    def is_changed(self, index: IndexDefinition, keys: FetchKeys) -> bool:
        """Whether an index was made differently than declared, judged by a few rows."""
        rows = self._rows(index)
        if any(len(as_bytes(row[0])) != index.stored_bytes for row in rows):
            return True
        encryption = keys() if rows else None
        if encryption is None:
            return False
        try:
            return any(self._differs(index, row, encryption) for row in rows)
        except EncFieldsError as error:
            log.warning("%s: not compared with its declaration: %s", index.name, error)
            return False

    def _rows(self, index: IndexDefinition) -> list[Any]:
        """The stored index, then for each of its columns the value and the row's identity."""
        columns = [self._table.c[name] for name in (index.name, *index.columns)]
        cells = [columns[0]]
        for name in index.columns:
            cells += [self._table.c[name]]
            cells += [self._table.c[c.name] for c in self._bindings[name].identity]
        some: Select[Any] = select(*cells).where(*(c.is_not(None) for c in columns))
        key = list(self._table.primary_key.columns)
        rows: list[Any] = []
        for order in ([c.asc() for c in key], [c.desc() for c in key]):
            rows += self._connection.execute(some.order_by(*order).limit(ROWS_AT_EITHER_END)).all()
        return rows

    def _differs(self, index: IndexDefinition, row: Any, encryption: Encryption) -> bool:
        """Whether one row's index differs; ``False`` if one of its values does not open.

        :raises KeyStoreError: a key cannot be fetched.
        """
        keys = engine_encryption(encryption)
        plaintexts: list[bytes] = []
        key_id, at = "", 1
        for name in index.columns:
            count = len(self._bindings[name].identity)
            place = self._place(name, row[at], row[at + 1 : at + 1 + count])
            if place is None:
                return False
            try:
                data = as_bytes(row[at])
                plaintexts.append(open_(data, place.context, keys.find_key, place.key_ids))
            except DecryptionError:
                return False
            key_id = key_id or place.key_id
            at += 1 + count
        return index.of_plaintexts(plaintexts, key_id, keys) != as_bytes(row[0])

    def _place(self, name: str, value: Any, identity: Sequence[Any]) -> ValuePlace | None:
        places = ColumnPlaces(self._bindings[name], self._connection.dialect)
        texts = places.texts(identity)
        if texts is None:
            return None
        try:
            return places.find(texts, read_header(as_bytes(value)).context)
        except DecryptionError:
            return None
