"""Autogenerate for declarations with ``formerly=``.

It writes a run as long as it finds a value in the former state, unless the application still writes
that state.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

from sqlalchemy import Connection, Table

from encfields.alembic.autogenerate.binding_check import (
    BindingAnswer,
    BindingCheck,
    binding_check_of,
)
from encfields.alembic.autogenerate.inner_types import conversion_of, is_read
from encfields.alembic.autogenerate.rebindings import Stored, rebinding_of, stored_table
from encfields.alembic.autogenerate.sampled import SampledValue, drawn, near_ends
from encfields.alembic.environment import FetchKeys
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.rows.spec_base import sealed_column_of
from encfields.errors import EncFieldsError
from encfields.orm.declare.columns import ColumnBinding, SealedColumnType, bindings_of

if TYPE_CHECKING:
    from encfields.alembic.operations.values import ConvertEncryptedOp, RebindOp
    from encfields.orm.declare.formerly import Formerly

log = logging.getLogger("encfields.alembic")


def changes_under_way(
    connection: Connection, tables: Iterable[Stored], keys: FetchKeys
) -> Iterator[RebindOp | ConvertEncryptedOp]:
    """The runs that move values in the former state.

    :param tables: declared tables, with the types of the columns that the database has.
    :param keys: gives the keys, if a value must be opened; without them headers are believed.
    """
    for table, types in tables:
        moves = []
        for binding in bindings_of(table).values():
            other, formerly = binding.other, _formerly(binding)
            if other is None or formerly.writes_former or binding.column_name not in types:
                continue
            seen = _count_former(connection, table, stored_table(table, types), binding, keys)
            if seen is None:
                continue
            if formerly.inner is None:
                moves.append((binding, sealed_column_of(other), seen))
            else:
                yield conversion_of(binding, formerly.inner, other, types, (seen,))
        if moves:
            yield rebinding_of(table, moves, types)


def _formerly(binding: ColumnBinding) -> Formerly:
    return cast("Formerly", cast("SealedColumnType", binding.column.type).formerly)


def _count_former(
    connection: Connection, table: Table, stored: Table, binding: ColumnBinding, keys: FetchKeys
) -> str | None:
    """How many values are in the former state, in words; ``None`` if there are none."""
    spec = TableSpec.from_table(table)
    column, encrypted = stored.c[binding.column_name], {c.name for c in spec.columns}
    former = sealed_column_of(binding.other or binding)
    try:
        judge = binding_check_of(connection, spec, former, keys())
        for look in (near_ends, drawn):
            sampled = look(connection, column, encrypted)
            cells = {(cell.context, cell.value): cell for cell in sampled}.values()
            count = sum(_is_former(judge, binding, cell, connection) for cell in cells)
            if count:
                return f"{count} of {len(cells)} values looked at are kept as formerly= says"
    except EncFieldsError as error:
        log.warning(
            "%s.%s: could not find out whether values are stored as formerly= says: %s",
            binding.table,
            binding.column_name,
            error,
        )
    return None


def _is_former(
    judge: BindingCheck, binding: ColumnBinding, cell: SampledValue, connection: Connection
) -> bool:
    other = binding.other or binding
    if binding.context.differs_from(other.context):
        return judge.belongs(cell) is BindingAnswer.YES
    data, type_ = judge.opened(cell), cast("SealedColumnType", binding.column.type)
    return data is not None and not is_read(type_.inner, data, connection)
