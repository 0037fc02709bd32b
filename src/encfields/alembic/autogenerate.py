"""Autogenerate: what is changed in a declaration becomes an operation, or is refused in words.

Registered where every Alembic release since 1.17 looks, in the comparators that need no plug-in.
It runs after Alembic's own comparison, and goes through what that has found.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from alembic.autogenerate import comparators
from alembic.operations import ops
from sqlalchemy import Column, Connection, MetaData, Table
from sqlalchemy.types import LargeBinary

from encfields.alembic.bound_as import bound_otherwise, found_in, holds_bytes
from encfields.alembic.found_indexes import LazyKeys, fills, must_wait, postponed_fills
from encfields.alembic.found_operations import PostponedFillOp, PostponedRebindOp, RefusedChangeOp
from encfields.alembic.index_column import described
from encfields.alembic.operations import RebindOp
from encfields.alembic.renamed_identity import under_new_name
from encfields.alembic.settings import settings_of
from encfields.alembic.terse import terse, terse_columns
from encfields.binding.columns import ColumnBinding, bindings_of
from encfields.binding.index_columns import indexes_of
from encfields.keys.key_table import TABLE_NAME
from encfields.reencrypt.run_store import RunStore, has_run_tables
from encfields.reencrypt.run_tables import TABLE_NAMES
from encfields.reencrypt.spec import SealedColumn, TableSpec
from encfields.types import EncryptedType

log = logging.getLogger("encfields.alembic")

_ADOPT = (
    "An ALTER would leave the values in plaintext, or fail. In steps, each of which the "
    "application can be deployed with:",
    "1. add a second, encrypted column beside it (a revision),",
    "2. have the application write both, and copy what is there already through the ORM,",
    "3. read the encrypted column alone,",
    "4. drop the plaintext column (a revision), and have its backups expire.",
)
_DECRYPT = (
    "An ALTER would make text of ciphertext, or fail. In steps:",
    "1. add a plaintext column beside it (a revision),",
    "2. op.decrypt_column(...) in a revision of its own,",
    "3. drop the encrypted column (a revision).",
)
_LOST_IDENTITY = (
    "They cannot be opened while it is missing. If it was renamed, write op.rebind(...) by hand, "
    "with what each column of the identity was called as context_names= of was=. Else bring it "
    "back under that name, with what it held, rebind the values with op.rebind(...) to the new "
    "identity, and drop it then.",
)


def compare(autogen_context: Any, upgrade_ops: ops.UpgradeOps, schemas: Any) -> None:
    """Alembic's ``"schema"`` comparator.

    :param autogen_context: Alembic's ``AutogenContext``.
    :param upgrade_ops: what was found as yet; changed in place.
    :param schemas: the schemas compared.
    """
    _leave_own_tables(autogen_context, upgrade_ops)
    connection = autogen_context.connection
    refused: list[RefusedChangeOp] = []
    for modified in _modified(upgrade_ops.ops):
        for op in list(modified.ops):
            refusal = _refusal_of(connection, autogen_context, op)
            if refusal is not None or must_wait(connection, op):
                modified.ops.remove(op)
            if refusal is not None:
                refused.append(refusal)
    upgrade_ops.ops[:] = [op for op in upgrade_ops.ops if not _is_empty(op)]
    tables = list(_tables(connection, autogen_context))
    rebinds, lost = _rebinds(connection, tables)
    moved = {(rebind.spec.schema, rebind.spec.table) for rebind in rebinds}
    unmoved = [one for one in tables if (one[0].schema, one[0].name) not in moved]
    with ExitStack() as stack:
        keys = LazyKeys(autogen_context.migration_context, stack)
        filled = list(fills(connection, unmoved, keys))
    postponed = list(postponed_fills(tables, upgrade_ops))
    # A run stands alone in its revision.
    alone = not upgrade_ops.ops and not refused and not lost
    upgrade_ops.ops += [rebind if alone else PostponedRebindOp(rebind) for rebind in rebinds]
    upgrade_ops.ops += [fill if alone else PostponedFillOp(fill) for fill in filled]
    upgrade_ops.ops += [*postponed, *refused, *lost]


def _register() -> None:
    try:
        from alembic.util import DispatchPriority
    except ImportError:  # Alembic 1.17, which calls comparators in the order of registration
        comparators.dispatch_for("schema")(compare)
        return
    comparators.dispatch_for("schema", priority=DispatchPriority.LAST)(compare)


_register()


# -- our own tables ----------------------------------------------------------------------------


def _leave_own_tables(autogen_context: Any, upgrade_ops: ops.UpgradeOps) -> None:
    """Never propose to drop the keys, or the runs under way, for not being the application's."""
    table = settings_of(autogen_context.migration_context).key_table()
    own = TABLE_NAMES | {TABLE_NAME} | ({table.name} if table is not None else set())
    declared = {table.name for table in autogen_context.sorted_tables}
    upgrade_ops.ops[:] = [
        op
        for op in upgrade_ops.ops
        if not isinstance(op, ops.DropTableOp | ops.ModifyTableOps)
        or op.table_name not in own
        or op.table_name in declared
    ]


def _modified(found: Iterable[Any]) -> Iterator[ops.ModifyTableOps]:
    return (op for op in found if isinstance(op, ops.ModifyTableOps))


def _is_empty(op: Any) -> bool:
    return isinstance(op, ops.ModifyTableOps) and op.is_empty()


# -- columns that become encrypted, or plain ---------------------------------------------------


def _refusal_of(connection: Connection, autogen_context: Any, op: Any) -> RefusedChangeOp | None:
    if not isinstance(op, ops.AlterColumnOp) or op.modify_type is None:
        return None
    stored = op.existing_type
    if isinstance(op.modify_type, EncryptedType):
        if holds_bytes(stored):
            return None
        reason = f"declared encrypted, but the database has {stored!r}"
        return RefusedChangeOp(op.table_name, op.column_name, reason, _ADOPT, schema=op.schema)
    if not holds_bytes(stored) or holds_bytes(op.modify_type):
        return None
    table = Table(op.table_name, MetaData(), schema=op.schema)
    column: Column[Any] = Column(op.column_name, LargeBinary())
    table.append_column(column)
    if not any(found_in(connection, column)):
        return None
    reason = f"declared {op.modify_type!r}, but the database holds encrypted values"
    return RefusedChangeOp(op.table_name, op.column_name, reason, _DECRYPT, schema=op.schema)


# -- values that are bound otherwise -----------------------------------------------------------


def _tables(connection: Connection, autogen_context: Any) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Declared tables with encrypted columns, and the types of the columns they have by now."""
    inspector = autogen_context.inspector
    under_way = _under_way(connection)
    for table in autogen_context.sorted_tables:
        if not bindings_of(table) or not inspector.has_table(table.name, schema=table.schema):
            continue
        if table.fullname in under_way:
            log.info("%s: not compared while a run is at work on it", table.fullname)
            continue
        if not autogen_context.run_object_filters(table, table.name, "table", False, None):
            continue
        yield table, {c["name"]: c["type"] for c in inspector.get_columns(table.name, table.schema)}


def _rebinds(
    connection: Connection, tables: Iterable[tuple[Table, dict[str, Any]]]
) -> tuple[list[RebindOp], list[RefusedChangeOp]]:
    rebinds: list[RebindOp] = []
    lost: list[RefusedChangeOp] = []
    for table, types in tables:
        whole = []
        for binding, was in _otherwise(connection, table, list(bindings_of(table).values()), types):
            there: SealedColumn | None = was
            if not set(was.bind_to or ()) <= types.keys():
                there = under_new_name(connection, binding, was)
            if there is None:
                lost.append(_lost(binding, was))
            else:
                whole.append((binding, there))
        if whole:
            rebinds.append(_rebind(table, whole, types))
    return rebinds, lost


def _under_way(connection: Connection) -> set[str]:
    """Tables that a recorded run is at work on: some of their values are as they were."""
    if not has_run_tables(connection):
        return set()
    store = RunStore(connection.dialect.name)
    return {run.job.table_name for run in store.unfinished(connection)}


def _otherwise(
    connection: Connection, table: Table, bindings: Sequence[ColumnBinding], types: dict[str, Any]
) -> Iterator[tuple[ColumnBinding, SealedColumn]]:
    key = [c.name for c in table.primary_key.columns if c.name in types]
    stored = Table(table.name, MetaData(), schema=table.schema)
    for name, type_ in types.items():
        stored.append_column(Column(name, type_, primary_key=name in key))
    for binding in bindings:
        if binding.column_name not in types:
            continue
        was = bound_otherwise(binding, found_in(connection, stored.c[binding.column_name]))
        if was is not None:
            yield binding, was


def _rebind(
    table: Table, pairs: Sequence[tuple[ColumnBinding, SealedColumn]], types: dict[str, Any]
) -> RebindOp:
    was = {binding.column_name: terse(table, column) for binding, column in pairs}
    indexes = [
        index
        for index in indexes_of(table)
        if index.companion.name in types and any(s.column_name in was for s in index.sources)
    ]
    # Of a compound index, the other columns are needed too, as they are.
    needed = was.keys() | {s.column_name for index in indexes for s in index.sources}
    now = tuple(column for column in terse_columns(table) if column.name in needed)
    return RebindOp(
        TableSpec(table.name, now, table.schema),
        TableSpec(table.name, tuple(was.get(c.name, c) for c in now), table.schema),
        queue=False,
        indexes=tuple(described(index) for index in indexes),
    )


def _lost(binding: ColumnBinding, was: SealedColumn) -> RefusedChangeOp:
    table = binding.column.table
    names = ", ".join(was.bind_to or ())
    reason = f"its values are bound to {names}, which the table no longer has"
    return RefusedChangeOp(
        table.name, binding.column_name, reason, _LOST_IDENTITY, schema=table.schema
    )
