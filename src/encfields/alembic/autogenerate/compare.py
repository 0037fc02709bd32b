"""Our comparators, which collect changes of encrypted columns from the modules beside this one.

They run after Alembic's own comparison and edit its result. They are registered in a way that works
in every Alembic release since 1.17 without a plug-in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from alembic.autogenerate import comparators
from alembic.operations import ops
from sqlalchemy import Column, Connection, MetaData, Table
from sqlalchemy.types import LargeBinary

from encfields.alembic import internals
from encfields.alembic.autogenerate.adoptions import adoption_steps
from encfields.alembic.autogenerate.adoptions import postponed as postponed_steps
from encfields.alembic.autogenerate.formerly import changes_under_way
from encfields.alembic.autogenerate.indexes import fills, must_wait, postponed_fills
from encfields.alembic.autogenerate.inner_types import conversions
from encfields.alembic.autogenerate.rebindings import Stored, rebindings
from encfields.alembic.autogenerate.sampled import drawn, near_ends
from encfields.alembic.environment import LazyKeys, settings_of
from encfields.alembic.message_checks import (
    drop_others_check_ops,
    missing_checks,
    unneeded_checks,
)
from encfields.alembic.operations.refused_or_postponed import (
    PostponedFillOp,
    PostponedRunOp,
    RefusedChangeOp,
)
from encfields.alembic.operations.values import ConvertEncryptedOp, RebindOp
from encfields.bulk.runs.store import RunStore, has_run_tables
from encfields.bulk.runs.tables import TABLE_NAMES
from encfields.keys.sql.schema import TABLE_NAME
from encfields.orm.declare.column_rules import stores_bytes
from encfields.orm.declare.columns import bindings_of
from encfields.orm.internals import column_copy
from encfields.orm.types import EncryptedType

log = logging.getLogger("encfields.alembic")

_ADOPT = (
    "An ALTER would leave the values in plaintext, or fail. Declare a column beside it that adopts "
    "it, under the same attribute, and autogenerate writes the steps, one revision each",
    "    {column}: Mapped[...] = mapped_column({sealed!r}, EncryptedType(..., name={name!r},",
    "        adopts=Plaintext({column!r}, phase='write-both')))",
    "docs/adopting.md goes through them: begin_adoption, adopt, ensure_adopted, close_plaintext, "
    "end_adoption.",
)
_DECRYPT = (
    "An ALTER would turn ciphertext into text, or fail. In steps:",
    "1. add a plaintext column beside it (a revision),",
    "2. op.decrypt_column(...) in a revision of its own,",
    "3. drop the encrypted column (a revision).",
)


def compare(autogen_context: Any, upgrade_ops: ops.UpgradeOps, schemas: Any) -> None:
    """Alembic's ``"schema"`` comparator.

    :param autogen_context: Alembic's ``AutogenContext``.
    :param upgrade_ops: the operations found so far; changed in place.
    :param schemas: the schemas compared.
    """
    _keep_own_tables(autogen_context, upgrade_ops)
    connection = autogen_context.connection
    adopted = adoption_steps(autogen_context, upgrade_ops)
    refused: list[RefusedChangeOp] = []
    for modified in _modified(upgrade_ops.ops):
        for op in list(modified.ops):
            refusal = _refusal_of(connection, op)
            if refusal is not None or must_wait(connection, op):
                modified.ops.remove(op)
            if refusal is not None:
                refused.append(refusal)
        _add_nullable(modified)
        drop_others_check_ops(modified)
    upgrade_ops.ops[:] = [op for op in upgrade_ops.ops if not _is_empty(op)]
    tables = list(_tables(connection, autogen_context))
    with ExitStack() as stack:
        keys = LazyKeys(autogen_context.migration_context, stack)
        rebinds, unclear = rebindings(autogen_context, tables, keys)
        runs: list[RebindOp | ConvertEncryptedOp] = [*rebinds]
        runs += changes_under_way(connection, tables, keys.or_none)
        converted, unfit_types = conversions(connection, _without_runs(tables, runs), keys.or_none)
        runs += converted
        filled = list(fills(connection, _without_runs(tables, runs), keys))
        refused += unfit_types
    postponed = list(postponed_fills(tables, upgrade_ops))
    refused += unclear
    unfit = {(refusal.schema, refusal.table_name, refusal.column) for refusal in refused}
    upgrade_ops.ops += missing_checks(autogen_context, upgrade_ops, unfit)
    # Before columns are dropped: on some databases a CHECK blocks dropping its column.
    upgrade_ops.ops[:0] = unneeded_checks(autogen_context)
    # A run needs a revision of its own.
    alone = not upgrade_ops.ops and not refused
    upgrade_ops.ops += [run if alone else PostponedRunOp(run) for run in runs]
    upgrade_ops.ops += [fill if alone else PostponedFillOp(fill) for fill in filled]
    upgrade_ops.ops += postponed
    alone = not upgrade_ops.ops and not refused
    upgrade_ops.ops += adopted if alone else postponed_steps(adopted)
    # Refusals first: without transactional DDL, anything before them would already be done.
    upgrade_ops.ops[:0] = refused


def _without_runs(
    tables: Iterable[Stored], runs: Iterable[RebindOp | ConvertEncryptedOp]
) -> list[Stored]:
    """The tables whose values no run will move."""
    moved = {(run.spec.schema, run.spec.table) for run in runs}
    return [table for table in tables if (table[0].schema, table[0].name) not in moved]


def skip_own_tables(autogen_context: Any, upgrade_ops: ops.UpgradeOps, schemas: Any) -> None:
    """Hide our own tables from Alembic, which would log each as removed.

    A comparator that runs before Alembic's.
    """
    own = _own_tables(autogen_context)
    internals.add_name_filter(
        autogen_context, lambda name, kind, parents: kind != "table" or name not in own
    )


def _register() -> None:
    try:
        from alembic.util import DispatchPriority
    except ImportError:  # Alembic 1.17 calls comparators in the order of registration
        comparators.dispatch_for("schema")(compare)
        return
    comparators.dispatch_for("schema", priority=DispatchPriority.FIRST)(skip_own_tables)
    comparators.dispatch_for("schema", priority=DispatchPriority.LAST)(compare)


_register()


# -- our own tables ----------------------------------------------------------------------------


def _own_tables(autogen_context: Any) -> frozenset[str]:
    """Names of the key table and the run tables, unless the application declares them."""
    table = settings_of(autogen_context.migration_context).key_table()
    own = TABLE_NAMES | {TABLE_NAME} | ({table.name} if table is not None else set())
    return own - {table.name for table in autogen_context.sorted_tables}


def _keep_own_tables(autogen_context: Any, upgrade_ops: ops.UpgradeOps) -> None:
    """Never propose to drop the key table or the run tables as undeclared."""
    own = _own_tables(autogen_context)
    upgrade_ops.ops[:] = [
        op
        for op in upgrade_ops.ops
        if not isinstance(op, ops.DropTableOp | ops.ModifyTableOps) or op.table_name not in own
    ]


def _modified(found: Iterable[Any]) -> Iterator[ops.ModifyTableOps]:
    return (op for op in found if isinstance(op, ops.ModifyTableOps))


def _add_nullable(modified: ops.ModifyTableOps) -> None:
    """Add encrypted columns as nullable to tables that may hold rows.

    MySQL and MariaDB fill a NOT NULL column with '', which no key opens; other databases refuse.
    """
    for op in modified.ops:
        if not isinstance(op, ops.AddColumnOp) or not isinstance(op.column.type, EncryptedType):
            continue
        if op.column.nullable or op.column.server_default is not None:
            continue
        op.column = column_copy(op.column)
        op.column.nullable = True
        log.warning(
            "%s.%s is added nullable, because existing rows have no value yet. Once they have "
            "one, the next autogenerate makes it NOT NULL, as declared",
            op.table_name,
            op.column.name,
        )


def _is_empty(op: Any) -> bool:
    return isinstance(op, ops.ModifyTableOps) and op.is_empty()


# -- columns that become encrypted, or plain ---------------------------------------------------


def _refusal_of(connection: Connection, op: Any) -> RefusedChangeOp | None:
    if not isinstance(op, ops.AlterColumnOp) or op.modify_type is None:
        return None
    stored = op.existing_type
    if isinstance(op.modify_type, EncryptedType):
        if stores_bytes(stored):
            return None
        reason = f"declared encrypted, but the database has {stored!r}"
        places = {
            "column": op.column_name,
            "sealed": f"{op.column_name}_enc",
            "name": f"{op.table_name}.{op.column_name}",
        }
        steps = tuple(step.format(**places) for step in _ADOPT)
        return RefusedChangeOp(op.table_name, op.column_name, reason, steps, schema=op.schema)
    if not stores_bytes(stored) or stores_bytes(op.modify_type):
        return None
    table = Table(op.table_name, MetaData(), schema=op.schema)
    column: Column[Any] = Column(op.column_name, LargeBinary())
    table.append_column(column)
    if not near_ends(connection, column) and not drawn(connection, column):
        return None
    reason = f"declared {op.modify_type!r}, but the database holds encrypted values"
    return RefusedChangeOp(op.table_name, op.column_name, reason, _DECRYPT, schema=op.schema)


# -- tables whose values are looked at ---------------------------------------------------------


def _tables(connection: Connection, autogen_context: Any) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Declared tables with encrypted columns, and the types of their columns in the database."""
    inspector = autogen_context.inspector
    under_way = _under_way(connection)
    for table in autogen_context.sorted_tables:
        if not bindings_of(table) or not inspector.has_table(table.name, schema=table.schema):
            continue
        if table.fullname in under_way:
            log.info("%s: not compared while a run is working on it", table.fullname)
            continue
        if not autogen_context.run_object_filters(table, table.name, "table", False, None):
            continue
        yield table, {c["name"]: c["type"] for c in inspector.get_columns(table.name, table.schema)}


def _under_way(connection: Connection) -> set[str]:
    """Tables that a recorded run is working on, so values are in both states."""
    if not has_run_tables(connection):
        return set()
    return RunStore().tables_under_way(connection)
