"""Autogenerate for adoptions: the next step of each.

Alembic's own operations on the two columns and their indexes are removed: the steps do that online,
in an order that loses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from alembic.operations import ops
from sqlalchemy import Column, Connection, Table, select
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table

from encfields.adopt.adoption import Adoption
from encfields.adopt.advice import advice_before
from encfields.adopt.stages import adoptions_in, emptied_in, state_of
from encfields.alembic.descriptions import index_column_of
from encfields.alembic.operations.adoptions import (
    AdoptedColumn,
    AdoptionOp,
    AdoptOp,
    BeginAdoptionOp,
    ClosePlaintextOp,
    EndAdoptionOp,
    EnsureAdoptedOp,
    PostponedAdoptionOp,
)
from encfields.alembic.operations.refused_or_postponed import RefusedChangeOp
from encfields.bulk.column_runs import spec_of_column
from encfields.bulk.rows.types_as_data import OF_APPLICATION, declared_to_data
from encfields.errors import DeclarationError
from encfields.orm.adoption.columns import adopted_columns
from encfields.orm.adoption.plaintext import WRITE_SEALED, adoption_of
from encfields.orm.adoption.trigger_notes import CLOSED, OPEN, READY
from encfields.orm.declare.columns import bindings_of
from encfields.orm.declare.table_indexes import indexes_of
from encfields.orm.types import EncryptedType

log = logging.getLogger("encfields.alembic")

Step = AdoptionOp | RefusedChangeOp


def adoption_steps(autogen_context: Any, upgrade_ops: ops.UpgradeOps) -> list[Step]:
    """The next step of every adoption that is declared or to be ended.

    :param upgrade_ops: the operations found so far; those that the steps do are removed.
    """
    connection = autogen_context.connection
    steps: list[Step] = []
    for table in autogen_context.sorted_tables:
        if not autogen_context.inspector.has_table(table.name, schema=table.schema):
            continue
        if not bindings_of(table):
            continue
        for binding, adopts, plain in adopted_columns(table):
            emptied = emptied_in(connection, table.name, table.schema)
            _drop_others_ops(upgrade_ops, table, binding.column, plain.name, *emptied)
            steps += _next(connection, binding.column, plain.name, adopts.phase)
        steps += _undeclared_steps(connection, upgrade_ops, table)
    return steps


def postponed(steps: Iterable[Step]) -> list[Any]:
    """The steps as comments, when there are other changes: a step needs a revision of its own."""
    return [
        step if isinstance(step, RefusedChangeOp) else PostponedAdoptionOp(step) for step in steps
    ]


def _next(
    connection: Connection, column: Column[Any], plain: str, phase: str
) -> Iterator[AdoptionOp]:
    """The next step for a column that adopts another."""
    try:
        adoption = Adoption.of(column)
    except DeclarationError as error:
        log.warning("%s: %s; write the steps of its adoption by hand", column.table.name, error)
        return
    state = state_of(connection, adoption)
    adopted = adopted_column(column, plain)
    if not state.has_plain:
        return
    if state.stage is None or not state.knows_indexes_of(adoption):
        begin = BeginAdoptionOp(adopted)
        begin.is_anew = state.stage is not None
        begin.advice = advice_before(connection, column, plain)
        for sentence in begin.advice:
            log.warning("%s", sentence)
        yield begin
    elif state.stage in (OPEN, READY) and _is_pending(connection, adoption):
        yield AdoptOp(adopted)
    elif state.stage == OPEN and phase == WRITE_SEALED:
        yield EnsureAdoptedOp(adopted)


def _is_pending(connection: Connection, adoption: Adoption) -> bool:
    spec = adoption.spec
    names = [adoption.plain, adoption.sealed]
    table = sql_table(spec.table, *map(sql_column, names), schema=spec.schema)
    pending = (
        select(1)
        .select_from(table)
        .where(table.c[adoption.sealed].is_(None), table.c[adoption.plain].is_not(None))
    )
    return connection.execute(pending.limit(1)).first() is not None


def _undeclared_steps(
    connection: Connection, upgrade_ops: ops.UpgradeOps, table: Table
) -> Iterator[Step]:
    """The steps of adoptions that are no longer declared."""
    by_name = {binding.column_name: binding for binding in bindings_of(table).values()}
    for plain, sealed, through in sorted(
        adoptions_in(connection, table.name, table.schema), key=lambda one: one[:2]
    ):
        binding = by_name.get(sealed)
        if binding is None or adoption_of(binding.column) is not None:
            continue
        _drop_others_ops(upgrade_ops, table, binding.column, plain)
        adopted = adopted_column(binding.column, plain)
        if through is not None:
            # The models no longer give the type: the step's error asks for it.
            known = {"type": OF_APPLICATION, "name": through}
            adopted = replace(adopted, plain_type=known)
        stage = state_of(connection, adopted.adoption(adopted.type or {})).stage
        if stage == READY:
            yield ClosePlaintextOp(adopted)
        elif stage == CLOSED:
            yield EndAdoptionOp(adopted)
        else:
            reason = "declared without adopts=, but its plaintext has not been compared yet"
            fix = (
                "Declare adopts= again, run the steps up to op.ensure_adopted(), and deploy the "
                'phase "write-sealed" first.',
            )
            yield RefusedChangeOp(table.name, plain, reason, fix, schema=table.schema)


def adopted_column(column: Column[Any], plain: str) -> AdoptedColumn:
    """A declared column as the steps describe it."""
    table = column.table
    adopts = adoption_of(column)
    type_ = column.type
    assert isinstance(type_, EncryptedType)  # noqa: S101 - what bindings are made from
    plain_type = None if adopts is None or adopts.type is None else declared_to_data(adopts.type)
    indexes = [
        index
        for index in indexes_of(table)
        if any(source.column is column for source in index.sources)
    ]
    sealed = spec_of_column(column).columns[0]
    return AdoptedColumn(
        table.name,
        table.schema,
        plain,
        sealed,
        declared_to_data(type_.inner),
        tuple(map(index_column_of, indexes)),
        tuple(index.index_column.name for index in indexes if index.unique),
        plain_type,
        guard=type_.guard,
    )


def _drop_others_ops(
    upgrade_ops: ops.UpgradeOps, table: Table, column: Column[Any], *others: str
) -> None:
    """Remove Alembic's operations on the columns of an adoption, and their indexes.

    :param others: the plaintext column, and index columns no longer declared: dropping one while a
        trigger empties it would make every write of such a row fail.
    """
    index_columns = {
        index.index_column.name
        for index in indexes_of(table)
        if any(source.column is column for source in index.sources)
    }
    names = {column.name, *others, *index_columns}
    for modified in upgrade_ops.ops:
        if isinstance(modified, ops.ModifyTableOps) and _is_of(modified, table):
            modified.ops[:] = [op for op in modified.ops if not _is_about(op, names)]


def _is_of(op: Any, table: Table) -> bool:
    return bool(op.table_name == table.name and op.schema == table.schema)


def _is_about(op: Any, names: set[str]) -> bool:
    if isinstance(op, ops.AddColumnOp):
        return op.column.name in names
    if isinstance(op, ops.AlterColumnOp | ops.DropColumnOp):
        return op.column_name in names
    if isinstance(op, ops.CreateIndexOp | ops.DropIndexOp):
        return bool(names.intersection(_names_in(op.to_index())))
    if isinstance(op, ops.DropConstraintOp | ops.AddConstraintOp):
        return bool(names.intersection(_names_in(op.to_constraint())))
    return False


def _names_in(rule: Any) -> set[str]:
    return {str(getattr(one, "name", one)) for one in getattr(rule, "columns", ())}
