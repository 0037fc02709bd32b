"""Guarded columns whose CHECK the database lacks, and CHECKs that no declaration asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic.operations import ops
from sqlalchemy import Table

from encfields.alembic.message_checks import CreateMessageCheckOp, DropMessageCheckOp
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.message_check import check_name


def missing_checks(
    autogen_context: Any, upgrade_ops: ops.UpgradeOps, refused: set[tuple[str | None, str, str]]
) -> Iterator[CreateMessageCheckOp]:
    """The CHECKs to be made: in the revision that makes the column, or when it is there.

    :param refused: schema, table and column of what is not as it is declared yet.
    """
    created = {
        (op.schema, op.table_name) for op in upgrade_ops.ops if isinstance(op, ops.CreateTableOp)
    }
    for table in autogen_context.sorted_tables:
        place = table.schema, table.name
        if not (is_there := _is_compared(autogen_context, table)) and place not in created:
            continue
        there = _check_names(autogen_context, table) if is_there else set()
        for column in table.c:
            if is_there and adoption_of(column) and not _has(autogen_context, column):
                continue  # op.begin_adoption() adds it with the column
            name = check_name(table.name, column.name)
            if _is_guarded(column) and name not in there and (*place, column.name) not in refused:
                yield CreateMessageCheckOp(table.name, column.name, schema=table.schema)


def needless_checks(autogen_context: Any) -> Iterator[DropMessageCheckOp]:
    """The CHECKs of columns that are guarded no longer, or about to go."""
    for table in autogen_context.sorted_tables:
        if not _is_compared(autogen_context, table):
            continue
        there = _check_names(autogen_context, table)
        columns = autogen_context.inspector.get_columns(table.name, table.schema) if there else []
        for name in (column["name"] for column in columns):
            if check_name(table.name, name) in there and not _is_guarded(table.c.get(name)):
                yield DropMessageCheckOp(table.name, name, schema=table.schema)


def leave_checks_to_us(modified: ops.ModifyTableOps) -> None:
    """Remove what Alembic's own comparison of CHECKs by name, a plug-in, says of ours."""
    modified.ops[:] = [op for op in modified.ops if not _is_ours(op)]


def _has(autogen_context: Any, column: Any) -> bool:
    """Whether the database has a column."""
    table = column.table
    there = autogen_context.inspector.get_columns(table.name, table.schema)
    return column.name in {one["name"] for one in there}


def _is_ours(op: Any) -> bool:
    named = isinstance(op, ops.CreateCheckConstraintOp | ops.DropConstraintOp)
    return named and "_is_message" in str(op.constraint_name)


def _is_guarded(column: Any) -> bool:
    return column is not None and is_encrypted(column) and column.type.guard


def _is_compared(autogen_context: Any, table: Table) -> bool:
    return bool(
        autogen_context.inspector.has_table(table.name, schema=table.schema)
        and autogen_context.run_object_filters(table, table.name, "table", False, None)
    )


def _check_names(autogen_context: Any, table: Table) -> set[str]:
    found = autogen_context.inspector.get_check_constraints(table.name, schema=table.schema)
    return {str(one["name"]) for one in found}
