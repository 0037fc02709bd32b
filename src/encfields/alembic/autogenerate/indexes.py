"""Autogenerate's part about blind indexes: which are to be filled, and when."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy import Column, Connection, MetaData, Table, func, select

from encfields.alembic.autogenerate.index_contents import FetchKeys, unfilled
from encfields.alembic.descriptions import columns_without_defaults, described
from encfields.alembic.environment import engine_for, settings_of
from encfields.alembic.index_operations import FillBlindIndexOp
from encfields.alembic.refused_or_postponed import PostponedFillOp
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.engine import known_encryption
from encfields.errors import EncFieldsError
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.declare.table_indexes import indexes_of

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

    from encfields.engine import Encryption

log = logging.getLogger("encfields.alembic")


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
        there = [index for index in indexes_of(table) if _names(index) <= types.keys()]
        if not there:
            continue
        columns = tuple(c for c in TableSpec.from_table(table).columns if c.name in types)
        found = unfilled(connection, TableSpec(table.name, columns, table.schema), there, keys)
        if found.indexes:
            names = {index.name for index in found.indexes}
            indexes_to_fill = [index for index in there if index.index_column.name in names]
            yield _fill(table, indexes_to_fill, anew=found.changed)


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
            yield PostponedFillOp(_fill(table, indexes_to_fill, anew=False))


class LazyKeys:
    """The keys of the environment, asked for when they are needed first.

    :param stack: detaches at its end what was attached.
    """

    def __init__(self, context: MigrationContext, stack: ExitStack) -> None:
        self._context = context
        self._stack = stack
        self._known: list[Encryption | None] = []

    def __call__(self) -> Encryption | None:
        if not self._known:
            self._known.append(self._get())
        return self._known[0]

    def if_any(self) -> Encryption | None:
        """The keys; without a word, ``None`` where the environment names none."""
        settings, connection = settings_of(self._context), self._context.connection
        known = connection is not None and known_encryption(connection.dialect)
        if not (known or settings.encryption or settings.key_store):
            return None
        return self()

    def _get(self) -> Encryption | None:
        try:
            settings = settings_of(self._context)
            engine = engine_for(self._context, settings)
            return self._stack.enter_context(settings.attached(engine))
        except EncFieldsError as error:
            log.warning("values are not opened, and indexes not compared with them: %s", error)
            return None


def _fill(table: Table, indexes: list[IndexBinding], *, anew: bool) -> FillBlindIndexOp:
    names = {source.column_name for index in indexes for source in index.sources}
    columns = tuple(
        column
        for column in columns_without_defaults(table)
        if column.name in names and column != SealedColumn(column.name)
    )
    indexes_to_fill = tuple(described(index) for index in indexes)
    spec = TableSpec(table.name, columns, table.schema)
    return FillBlindIndexOp(spec, indexes_to_fill, anew=anew, queue=False)


def _names(index: IndexBinding) -> set[str]:
    return {index.index_column.name, *(source.column_name for source in index.sources)}


def _added(found: Iterable[Any]) -> Iterator[tuple[str | None, str, str]]:
    for op in found:
        if isinstance(op, ops.ModifyTableOps):
            yield from _added(op.ops)
        elif isinstance(op, ops.AddColumnOp):
            yield op.schema, op.table_name, op.column.name
