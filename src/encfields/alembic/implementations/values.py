"""The operations on values and their blind indexes."""

from __future__ import annotations

import datetime as dt
import logging

from alembic.operations import Operations

from encfields.alembic.environment import engine_for, require_first, settings_of
from encfields.alembic.errors import MigrationError
from encfields.alembic.implementations.running import run_job
from encfields.alembic.implementations.script import (
    Guard,
    columns_text,
    write_comment,
    write_guard,
    write_index_guard,
    write_recorded_guard,
    write_run_guard,
)
from encfields.alembic.implementing import implements
from encfields.alembic.operations.adoptions import PostponedAdoptionOp
from encfields.alembic.operations.base import NothingOp
from encfields.alembic.operations.indexes import EnsureBlindIndexOp, FillBlindIndexOp
from encfields.alembic.operations.refused_or_postponed import (
    PostponedFillOp,
    PostponedRunOp,
    RefusedChangeOp,
)
from encfields.alembic.operations.values import (
    ConvertEncryptedOp,
    DecryptColumnOp,
    EnsureEncryptedOp,
    RebindOp,
    ReencryptOp,
)
from encfields.bulk.errors import UnfinishedError
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.job import Job
from encfields.bulk.runs.store import RunStore, has_run_tables
from encfields.bulk.survey.index_check import count_unindexed

log = logging.getLogger("encfields.alembic")


@implements(FillBlindIndexOp)
def fill_blind_index(operations: Operations, operation: FillBlindIndexOp) -> None:
    job = Job(operation.whole)
    if operations.migration_context.as_sql:
        _write_fill_guard(operations, operation, job)
    else:
        run_job(operations, operation.verb, job, queue=operation.queue)


@implements(EnsureBlindIndexOp)
def ensure_blind_index(operations: Operations, operation: EnsureBlindIndexOp) -> None:
    spec = operation.whole
    if operations.migration_context.as_sql:
        write_index_guard(operations, spec)
        return
    connection, table_name = operations.get_bind(), Job(spec).table_name
    # Missing indexes can be counted; an index being recomputed shows only in its run.
    if has_run_tables(connection) and RunStore().fills_indexes_of(connection, table_name):
        raise UnfinishedError(
            f"a run is still working on {', '.join(index.name for index in spec.indexes)} or "
            "another index of the table: let it finish",
            table=table_name,
            reason="unfinished",
        )
    left = {name: rows for name, rows in count_unindexed(connection, spec).items() if rows}
    if left:
        counts = ", ".join(f"{rows:,} rows not in {name}" for name, rows in left.items())
        raise UnfinishedError(
            f"rows have a value but no blind index ({counts}); queries by the index miss them: "
            "fill it with op.fill_blind_index(...) or `encfields reencrypt`",
            table=table_name,
            column=next(iter(left)),
            reason="unindexed",
        )


@implements(PostponedFillOp)
def postpone_fill(operations: Operations, operation: PostponedFillOp) -> None:
    """Warn, if autogenerate's result is applied without a migration."""
    log.warning("%s: blind indexes are still to be filled", operation.fill.spec.table)


@implements(NothingOp)
def do_nothing(operations: Operations, operation: NothingOp) -> None:
    """Do nothing."""


def _write_fill_guard(operations: Operations, operation: FillBlindIndexOp, job: Job) -> None:
    names = f"{job.spec.table}.{', '.join(index.name for index in job.spec.indexes)}"
    if operation.queue:
        write_comment(operations, f"Record op.{operation.verb}() of {names} by the migration.")
        message = f"{names}: the run that fills it is not recorded: run the migration once"
        write_recorded_guard(operations, Guard.no_run, job.fingerprint(), message=message)
        return
    write_comment(
        operations,
        f"A script cannot compute a blind index: do op.{operation.verb}() of {names} before the "
        "script continues, by running the migration or `encfields reencrypt`.",
    )
    if operation.reindex:
        # Only a key tells whether an index matches its declaration. A run with the same description
        # may have finished long ago, before other declarations.
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        message = f"{names}: no run has computed it again since {now:%Y-%m-%d %H:%M:%S} UTC"
        arguments = job.fingerprint(), now
        write_recorded_guard(operations, Guard.no_finished_run, *arguments, message=message)
    write_index_guard(operations, job.spec)


@implements(ReencryptOp)
def reencrypt(operations: Operations, operation: ReencryptOp) -> None:
    job = Job(operation.whole)
    if not write_run_guard(operations, operation.verb, job, queue=operation.queue):
        run_job(operations, operation.verb, job, queue=operation.queue)


@implements(RebindOp)
def rebind(operations: Operations, operation: RebindOp) -> None:
    job = Job(operation.whole, operation.source)
    if not write_run_guard(operations, operation.verb, job, queue=operation.queue):
        run_job(operations, operation.verb, job, queue=operation.queue)


@implements(DecryptColumnOp)
def decrypt_column(operations: Operations, operation: DecryptColumnOp) -> None:
    job = Job(operation.spec, to_plaintext=operation.into)
    if operations.migration_context.as_sql:
        write_comment(operations, f"Decrypt {job.table_name} before the script continues.")
        message = f"{columns_text(job.spec)}: values have no plaintext yet: run the migration"
        write_guard(operations, Guard.not_decrypted, job.spec, operation.into, message=message)
        return
    run_job(operations, operation.verb, job, queue=False)


@implements(EnsureEncryptedOp)
def ensure_encrypted(operations: Operations, operation: EnsureEncryptedOp) -> None:
    context = operations.migration_context
    if write_run_guard(operations, operation.verb, Job(operation.spec), queue=False):
        return
    require_first(context, operation.verb)
    settings = settings_of(context)
    engine = engine_for(context, settings)
    with settings.attached(engine) as encryption:
        Reencryption(engine, encryption, operation.spec, options=settings.options).ensure()


@implements(RefusedChangeOp)
def refuse_change(operations: Operations, operation: RefusedChangeOp) -> None:
    """Warn, if autogenerate's result is applied without a migration."""
    if operation.upwards:
        raise MigrationError(
            " ".join((f"{operation.reason}.", *operation.steps)),
            table=operation.table_name,
            column=operation.column,
            reason="refused-change",
        )


@implements(PostponedRunOp)
def postpone_run(operations: Operations, operation: PostponedRunOp) -> None:
    run = operation.run
    log.warning("%s: op.%s() is still to be done", run.spec.table, run.verb)


@implements(PostponedAdoptionOp)
def postpone_adoption(operations: Operations, operation: PostponedAdoptionOp) -> None:
    step = operation.step
    log.warning("%s: op.%s() is still to be done", step.adopted.table, step.verb)


@implements(ConvertEncryptedOp)
def convert_encrypted(operations: Operations, operation: ConvertEncryptedOp) -> None:
    """Convert values, or make the script check that it was done."""
    job = operation.job
    if not operations.migration_context.as_sql:
        run_job(operations, operation.verb, job, queue=operation.queue)
        return
    columns = columns_text(operation.spec)
    write_comment(
        operations, f"Convert {columns} by running the migration before the script continues."
    )
    # Only the key shows which type wrote a value.
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    message = f"{columns}: no run has converted it since {now:%Y-%m-%d %H:%M:%S} UTC"
    arguments = job.fingerprint(), now
    write_recorded_guard(operations, Guard.no_finished_run, *arguments, message=message)
