"""Autogenerate's part about blind indexes: which do not hold what is declared, and when they are to
be filled.

That rows have none, SQL tells. How an index was made, only a key tells: a few values are opened,
their indexes computed and compared. There is no other record of it that could be out of date.
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
"""Rows at either end of the primary key whose indexes are compared."""


def must_wait(connection: Connection, op: ops.MigrateOperation) -> bool:
    """Whether an index's column would be made shorter than what it still holds."""
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
    """The filling of indexes whose columns are there.

    :param tables: declared tables, with the types of the columns that the database has.
    """
    for table, types in tables:
        present = [index for index in indexes_of(table) if _names(index) <= types.keys()]
        if not present:
            continue
        columns = tuple(c for c in TableSpec.from_table(table).columns if c.name in types)
        stale = unfilled(connection, TableSpec(table.name, columns, table.schema), present, keys)
        if stale.indexes:
            names = {index.name for index in stale.indexes}
            indexes_to_fill = [index for index in present if index.index_column.name in names]
            yield _fill(table, indexes_to_fill, reindex=stale.changed)


def postponed_fills(
    tables: Iterable[tuple[Table, dict[str, Any]]], found: ops.UpgradeOps
) -> Iterator[PostponedFillOp]:
    """The filling of indexes whose columns are only added, beside columns that are there.

    Whether there are rows, the database that autogenerate looks at does not tell: it is another
    one than that of production.
    """
    added = set(_added(found.ops))
    for table, types in tables:
        indexes_to_fill = [
            index
            for index in indexes_of(table)
            if (table.schema, table.name, index.index_column.name) in added
            and {source.column_name for source in index.sources} <= types.keys()
        ]
        if indexes_to_fill:
            yield PostponedFillOp(_fill(table, indexes_to_fill, reindex=False))


def _fill(table: Table, indexes: list[IndexBinding], *, reindex: bool) -> FillBlindIndexOp:
    names = {source.column_name for index in indexes for source in index.sources}
    columns = tuple(
        column
        for column in columns_without_defaults(table)
        if column.name in names and column != SealedColumn(column.name)
    )
    indexes_to_fill = tuple(index_column_of(index) for index in indexes)
    spec = TableSpec(table.name, columns, table.schema)
    return FillBlindIndexOp(spec, indexes_to_fill, reindex=reindex, queue=False)


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
    """Indexes of one table that do not hold what is declared.

    :param indexes: in the order in which they are declared.
    :param changed: whether one of them is made otherwise; if not, rows have none.
    """

    indexes: tuple[IndexColumn, ...]
    changed: bool


def unfilled(
    connection: Connection, declared: TableSpec, indexes: Sequence[IndexBinding], keys: FetchKeys
) -> StaleIndexes:
    """The indexes of a table that are to be filled.

    :param declared: the table and its encrypted columns, those that the database has.
    :param indexes: declared indexes; the database has their columns.
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
    """Some rows of a table, whose indexes are compared with what is declared.

    :param spec: the table, its encrypted columns and indexes.
    """

    def __init__(self, connection: Connection, spec: TableSpec) -> None:
        reflected: ReflectedTable = spec.reflect(connection)
        self._connection = connection
        self._table = reflected.table
        self._bindings = {binding.column_name: binding for binding in reflected.bindings}

    def is_changed(self, index: IndexDefinition, keys: FetchKeys) -> bool:
        """Whether an index was made otherwise than declared, as far as a few rows tell."""
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
        """The index, then of each of its columns the value and the row's identity."""
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
        """Whether one row's index is another; not so, if one of its values does not open.

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
