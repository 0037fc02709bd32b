"""What the operations do: on a database, or, in ``--sql`` mode, in a script."""

from __future__ import annotations

import datetime as dt
import logging

from alembic.operations import Operations

from encfields.alembic.adoption_operations import PostponedAdoptionOp
from encfields.alembic.errors import MigrationError
from encfields.alembic.guards import Guard
from encfields.alembic.key_making import create_keys, each_of, rotate_keys
from encfields.alembic.key_operations import (
    CreateBranchKeyOp,
    CreateKeyTableOp,
    DropKeyTableOp,
    RotateBranchKeyOp,
)
from encfields.alembic.operations import DecryptColumnOp, EnsureEncryptedOp, RebindOp, ReencryptOp
from encfields.alembic.refused_or_postponed import (
    PostponedRebindOp,
    RefusedChangeOp,
)
from encfields.alembic.running import keys_of, work
from encfields.alembic.script import (
    columns_text,
    key_table_of,
    write_comment,
    write_guard,
    write_run_guard,
)
from encfields.alembic.settings import settings_of
from encfields.alembic.transaction import engine_for, require_first
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.job import Job
from encfields.keys.sql.name import has_keys
from encfields.keys.sql.schema import key_table

log = logging.getLogger("encfields.alembic")


@Operations.implementation_for(CreateKeyTableOp)
def create_key_table(operations: Operations, operation: CreateKeyTableOp) -> None:
    table = key_table(operation.table_name, operation.schema)
    context = operations.migration_context
    if context.as_sql and context.dialect.name == "mysql":
        write_comment(operations, "For MySQL; for MariaDB give --sql a mariadb+... URL.")
    # The key store's name is put into it with the first key.
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
            write_guard(operations, Guard.any_key, table, message=refusal)
        elif has_keys(operations.get_bind(), table):
            raise MigrationError(refusal, table=table.fullname, reason="keys")
    operations.migration_context.impl.drop_table(table)


@Operations.implementation_for(CreateBranchKeyOp)
def create_branch_key(operations: Operations, operation: CreateBranchKeyOp) -> None:
    if operations.migration_context.as_sql:
        for key_id in each_of(operation.key_id):
            write_comment(operations, f"Make the branch key {key_id!r} before this goes on.")
            message = f"there is no branch key {key_id!r}: make it first (encfields keys create)"
            keys = key_table_of(operations)
            write_guard(operations, Guard.no_key, keys, key_id, message=message)
        return
    with keys_of(operations, operation.verb) as encryption:
        create_keys(encryption.keys, operation.key_id)


@Operations.implementation_for(RotateBranchKeyOp)
def rotate_branch_key(operations: Operations, operation: RotateBranchKeyOp) -> None:
    if operations.migration_context.as_sql:
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        since = f"{now:%Y-%m-%d %H:%M:%S} UTC, when this script was written"
        for key_id in each_of(operation.key_id):
            write_comment(operations, f"Rotate the branch key {key_id!r} before this goes on.")
            message = f"branch key {key_id!r} was not rotated since {since}"
            table = key_table_of(operations)
            write_guard(operations, Guard.no_key_since, table, key_id, now, message=message)
        return
    with keys_of(operations, operation.verb) as encryption:
        rotate_keys(encryption.keys, operation.key_id)


@Operations.implementation_for(ReencryptOp)
def reencrypt(operations: Operations, operation: ReencryptOp) -> None:
    job = Job(operation.whole)
    if not write_run_guard(operations, operation.verb, job, queue=operation.queue):
        work(operations, operation.verb, job, queue=operation.queue)


@Operations.implementation_for(RebindOp)
def rebind(operations: Operations, operation: RebindOp) -> None:
    job = Job(operation.whole, operation.source)
    if not write_run_guard(operations, operation.verb, job, queue=operation.queue):
        work(operations, operation.verb, job, queue=operation.queue)


@Operations.implementation_for(DecryptColumnOp)
def decrypt_column(operations: Operations, operation: DecryptColumnOp) -> None:
    job = Job(operation.spec, to_plaintext=operation.into)
    if operations.migration_context.as_sql:
        write_comment(operations, f"Decrypt {job.table_name} before this goes on.")
        message = f"{columns_text(job.spec)}: values have no plaintext yet: run the migration"
        write_guard(operations, Guard.not_decrypted, job.spec, operation.into, message=message)
        return
    work(operations, operation.verb, job, queue=False)


@Operations.implementation_for(EnsureEncryptedOp)
def ensure_encrypted(operations: Operations, operation: EnsureEncryptedOp) -> None:
    context = operations.migration_context
    if write_run_guard(operations, operation.verb, Job(operation.spec), queue=False):
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


@Operations.implementation_for(PostponedAdoptionOp)
def postpone_adoption(operations: Operations, operation: PostponedAdoptionOp) -> None:
    step = operation.step
    log.warning("%s: op.%s() is still to be done", step.adopted.table, step.verb)
