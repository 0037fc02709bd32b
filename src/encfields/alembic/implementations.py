"""What the operations do: on a database, or, in ``--sql`` mode, in a script."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic.operations import Operations
from sqlalchemy import Table, select

from encfields.alembic.errors import MigrationError
from encfields.alembic.guards import Guard
from encfields.alembic.operations import (
    CreateBranchKeyOp,
    CreateKeyTableOp,
    DecryptColumnOp,
    DropKeyTableOp,
    EnsureEncryptedOp,
    PostponedRebindOp,
    RebindOp,
    ReencryptOp,
    RefusedChangeOp,
    RotateBranchKeyOp,
)
from encfields.alembic.progress import LoggedProgress
from encfields.alembic.settings import settings_of
from encfields.alembic.transaction import engine_for, outside_transaction, require_first
from encfields.encryption import Encryption
from encfields.errors import KeyExistsError
from encfields.keys.key_table import key_table
from encfields.reencrypt.engine import Reencryption, Report
from encfields.reencrypt.job import Job
from encfields.reencrypt.run_tables import runs
from encfields.reencrypt.spec import TableSpec

log = logging.getLogger("encfields.alembic")

MAX_TOLD = 5
"""Quarantined values that an error names."""


@Operations.implementation_for(CreateKeyTableOp)
def create_key_table(operations: Operations, operation: CreateKeyTableOp) -> None:
    table = key_table(operation.table_name, operation.schema)
    context = operations.migration_context
    if context.as_sql and context.dialect.name == "mysql":
        _write_comment(operations, "For MySQL; for MariaDB give --sql a mariadb+... URL.")
    context.impl.create_table(table, if_not_exists=operation.if_not_exists)


@Operations.implementation_for(DropKeyTableOp)
def drop_key_table(operations: Operations, operation: DropKeyTableOp) -> None:
    table = key_table(operation.table_name, operation.schema)
    refusal = (
        f"{table.fullname} holds keys; with them goes all that they sealed: say "
        "destroy_keys=True if that is meant"
    )
    if not operation.destroy_keys:
        if operations.migration_context.as_sql:
            _write_guard(operations, Guard.any_key, table, message=refusal)
        elif operations.get_bind().execute(select(table.c.key_id).limit(1)).first() is not None:
            raise MigrationError(refusal, table=table.fullname, reason="keys")
    operations.migration_context.impl.drop_table(table)


@Operations.implementation_for(CreateBranchKeyOp)
def create_branch_key(operations: Operations, operation: CreateBranchKeyOp) -> None:
    key_id = operation.key_id
    if operations.migration_context.as_sql:
        _write_comment(operations, f"Make the branch key {key_id!r} before this goes on.")
        message = f"there is no branch key {key_id!r}: make it first (encfields keys create)"
        _write_guard(operations, Guard.no_key, _key_table(operations), key_id, message=message)
        return
    with _encryption(operations, operation.verb) as encryption:
        try:
            encryption.keys.create(key_id)
        except KeyExistsError:
            log.info("branch key %r is there already", key_id)


@Operations.implementation_for(RotateBranchKeyOp)
def rotate_branch_key(operations: Operations, operation: RotateBranchKeyOp) -> None:
    key_id = operation.key_id
    if operations.migration_context.as_sql:
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        since = f"{now:%Y-%m-%d %H:%M:%S} UTC, when this script was written"
        _write_comment(operations, f"Rotate the branch key {key_id!r} before this goes on.")
        message = f"branch key {key_id!r} was not rotated since {since}"
        table = _key_table(operations)
        _write_guard(operations, Guard.no_key_since, table, key_id, now, message=message)
        return
    with _encryption(operations, operation.verb) as encryption:
        encryption.keys.rotate(key_id)


@Operations.implementation_for(ReencryptOp)
def reencrypt(operations: Operations, operation: ReencryptOp) -> None:
    job = Job(operation.spec)
    if not _write_run_guard(operations, operation.verb, job, queue=operation.queue):
        _work(operations, operation.verb, job, queue=operation.queue)


@Operations.implementation_for(RebindOp)
def rebind(operations: Operations, operation: RebindOp) -> None:
    job = Job(operation.spec, operation.was)
    if not _write_run_guard(operations, operation.verb, job, queue=operation.queue):
        _work(operations, operation.verb, job, queue=operation.queue)


@Operations.implementation_for(DecryptColumnOp)
def decrypt_column(operations: Operations, operation: DecryptColumnOp) -> None:
    job = Job(operation.spec, to_plaintext=operation.into)
    if operations.migration_context.as_sql:
        _write_comment(operations, f"Decrypt {job.table_name} before this goes on.")
        message = f"{_told_columns(job.spec)}: values have no plaintext yet: run the migration"
        _write_guard(operations, Guard.not_decrypted, job.spec, operation.into, message=message)
        return
    _work(operations, operation.verb, job, queue=False)


@Operations.implementation_for(EnsureEncryptedOp)
def ensure_encrypted(operations: Operations, operation: EnsureEncryptedOp) -> None:
    context = operations.migration_context
    if _write_run_guard(operations, operation.verb, Job(operation.spec), queue=False):
        return
    require_first(context, operation.verb)
    settings = settings_of(context)
    engine = engine_for(context, settings)
    with settings.attached(engine) as encryption:
        Reencryption(engine, encryption, operation.spec, options=settings.options).ensure()


@Operations.implementation_for(RefusedChangeOp)
def refuse_change(operations: Operations, operation: RefusedChangeOp) -> None:
    """For whoever applies what autogenerate found without writing a migration."""
    if operation.upwards:
        raise MigrationError(
            " ".join((f"{operation.reason}.", *operation.steps)),
            table=operation.table_name,
            column=operation.column,
            reason="refused-change",
        )


@Operations.implementation_for(PostponedRebindOp)
def postpone_rebind(operations: Operations, operation: PostponedRebindOp) -> None:
    log.warning("%s: values are still to be rebound", operation.rebind.spec.table)


# -- on a database -----------------------------------------------------------------------------


@contextmanager
def _encryption(operations: Operations, verb: str) -> Iterator[Encryption]:
    context = operations.migration_context
    settings = settings_of(context)
    with (
        outside_transaction(context, settings, verb) as engine,
        settings.attached(engine) as encryption,
    ):
        yield encryption


def _work(operations: Operations, verb: str, job: Job, *, queue: bool) -> None:
    context = operations.migration_context
    settings = settings_of(context)
    with (
        outside_transaction(context, settings, verb) as engine,
        settings.attached(engine) as encryption,
    ):
        run = Reencryption(
            engine,
            encryption,
            job.spec,
            source=job.source,
            to_plaintext=job.to_plaintext,
            options=settings.options,
        )
        if queue:
            run_id = run.record()
            log.info("%s: run %s recorded for `encfields reencrypt`", job.table_name, run_id)
            return
        report = run.run(progress=settings.progress or LoggedProgress(log))
        _require_finished(job, report)
        log.info(
            "%s: %d rows written, %d were current, in %.1f s",
            job.table_name,
            report.rows_written,
            report.rows_current,
            report.seconds,
        )


def _require_finished(job: Job, report: Report) -> None:
    if report.finished:
        return
    first = [
        f"{q.column} of {', '.join(f'{k}={v}' for k, v in q.key.items())}: {q.message}"
        for q in report.quarantined[:MAX_TOLD]
    ]
    quarantined = len(report.quarantined)
    told = f"; {quarantined} values do not open, the first are: {'; '.join(first)}" if first else ""
    raise MigrationError(
        f"the run is not finished ({report.error or report.state}){told}. The revision goes on "
        "where it was when it is run again",
        table=job.table_name,
        reason="unfinished",
    )


# -- in a script -------------------------------------------------------------------------------


def _write_run_guard(operations: Operations, verb: str, job: Job, *, queue: bool) -> bool:
    """In ``--sql`` mode, the guard of a run in its place; whether it is that mode."""
    if not operations.migration_context.as_sql:
        return False
    columns = _told_columns(job.spec)
    if queue:
        _write_comment(operations, f"Record op.{verb}() of {columns} by running the migration.")
        message = f"{columns}: the run of op.{verb}() is not recorded: run the migration once"
        _write_guard(operations, Guard.no_run, runs, job.fingerprint(), message=message)
        return True
    _write_comment(
        operations,
        f"No script can encrypt: op.{verb}() of {columns} is to be done before this goes on, by "
        "running the migration or `encfields reencrypt`.",
    )
    message = f"{columns}: values of another format, name or key version: re-encrypt them first"
    table = _key_table(operations)
    _write_guard(operations, Guard.not_current, job.spec, table, message=message)
    return True


def _write_guard(
    operations: Operations, condition: Callable[..., str], *arguments: Any, message: str
) -> None:
    guard = Guard(operations.migration_context.dialect)
    impl = operations.migration_context.impl
    if operations.migration_context.dialect.name == "sqlite":
        _write_comment(operations, "Run this script with `sqlite3 -bail`, which ends at an error.")
    for statement in guard.raising(condition(guard, *arguments), message):
        impl.static_output(statement + impl.command_terminator)


def _write_comment(operations: Operations, text: str) -> None:
    operations.migration_context.impl.static_output("-- encfields: " + " ".join(text.split()))


def _key_table(operations: Operations) -> Table:
    table = settings_of(operations.migration_context).key_table()
    if table is None:
        raise MigrationError(
            "a script cannot tell key versions, because they are not kept in this database: run "
            "this revision online",
            reason="no-key-table",
        )
    return table


def _told_columns(spec: TableSpec) -> str:
    return f"{spec.table}.{', '.join(c.name for c in spec.columns)}"
