"""What the operations write into the script of ``--sql`` mode: comments, and guards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alembic.operations import Operations
from sqlalchemy import Table

from encfields.alembic.errors import MigrationError
from encfields.alembic.guards import Guard
from encfields.alembic.settings import settings_of
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.runs.tables import runs


def write_run_guard(operations: Operations, verb: str, job: Job, *, queue: bool) -> bool:
    """In ``--sql`` mode, the guard of a run in its place; whether it is that mode."""
    if not operations.migration_context.as_sql:
        return False
    columns = columns_text(job.spec)
    if queue:
        write_comment(operations, f"Record op.{verb}() of {columns} by running the migration.")
        message = f"{columns}: the run of op.{verb}() is not recorded: run the migration once"
        write_guard(operations, Guard.no_run, runs, job.fingerprint(), message=message)
        return True
    write_comment(
        operations,
        f"No script can encrypt: op.{verb}() of {columns} is to be done before this goes on, by "
        "running the migration or `encfields reencrypt`.",
    )
    message = f"{columns}: values of another format, name or key version: re-encrypt them first"
    table = key_table_of(operations)
    write_guard(operations, Guard.not_current, job.spec, table, message=message)
    if job.spec.derived:
        write_index_guard(operations, job.spec)
    return True


def write_index_guard(operations: Operations, spec: TableSpec) -> None:
    """Have the script end while a row has its values and no index of them."""
    names = ", ".join(derived.name for derived in spec.derived)
    message = f"{spec.table}.{names}: rows have a value and no index: fill it first"
    write_guard(operations, Guard.not_indexed, spec, message=message)


def write_guard(
    operations: Operations, condition: Callable[..., str], *arguments: Any, message: str
) -> None:
    """Have the script end with `message` while a condition is true.

    :param condition: a method of :class:`Guard`; its arguments follow.
    """
    guard = Guard(operations.migration_context.dialect)
    impl = operations.migration_context.impl
    if operations.migration_context.dialect.name == "sqlite":
        write_comment(operations, "Run this script with `sqlite3 -bail`, which ends at an error.")
    for statement in guard.raising(condition(guard, *arguments), message):
        impl.static_output(statement + impl.command_terminator)


def write_comment(operations: Operations, text: str) -> None:
    """A line for whoever reads the script."""
    operations.migration_context.impl.static_output("-- encfields: " + " ".join(text.split()))


def key_table_of(operations: Operations) -> Table:
    """The key table.

    :raises MigrationError: keys are kept elsewhere than in a table.
    """
    table = settings_of(operations.migration_context).key_table()
    if table is None:
        raise MigrationError(
            "a script cannot tell key versions, because they are not kept in this database: run "
            "this revision online",
            reason="no-key-table",
        )
    return table


def columns_text(spec: TableSpec) -> str:
    """The columns of a run, for messages."""
    return f"{spec.table}.{', '.join(c.name for c in spec.columns)}"
