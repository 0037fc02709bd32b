"""What the operations on beacon keys do: on a database, or, in ``--sql`` mode, in a script."""

from __future__ import annotations

import logging

from alembic.operations import Operations

from encfields.alembic.errors import MigrationError
from encfields.alembic.guards import Guard
from encfields.alembic.indexed_columns import columns_under
from encfields.alembic.key_operations import RetireBeaconKeyOp, RotateBeaconKeyOp
from encfields.alembic.running import keys_of
from encfields.alembic.script import key_table_of, write_comment, write_guard

log = logging.getLogger("encfields.alembic")


@Operations.implementation_for(RotateBeaconKeyOp)
def rotate_beacon_key(operations: Operations, operation: RotateBeaconKeyOp) -> None:
    key_id, version = operation.key_id, operation.version
    if operations.migration_context.as_sql:
        _write_rotation_guard(operations, operation)
        return
    with keys_of(operations, operation.verb) as encryption:
        newest = encryption.keys.list_beacons(key_id)[-1].version
        if version is not None and newest >= version:
            log.info("beacon key version %d of %r is there already", newest, key_id)
            return
        if version is not None and newest != version - 1:
            raise MigrationError(
                f"the newest beacon key has version {newest}, and the next one will not be "
                f"{version}",
                key_id=key_id,
                reason="beacon-version",
            )
        made = encryption.keys.rotate_beacon(key_id)
        log.info("beacon key version %d of %r made", made.version, key_id)


@Operations.implementation_for(RetireBeaconKeyOp)
def retire_beacon_key(operations: Operations, operation: RetireBeaconKeyOp) -> None:
    key_id, version = operation.key_id, operation.version
    context = operations.migration_context
    if context.as_sql:
        write_comment(operations, f"Retire beacon key version {version} of {key_id!r} online.")
        message = f"beacon key version {version} of {key_id!r} is still in force: retire it online"
        arguments = key_table_of(operations), key_id, version
        write_guard(operations, Guard.beacon, *arguments, message=message)
        return
    with keys_of(operations, operation.verb) as encryption:
        in_force = [one.version for one in encryption.keys.list_beacons(key_id)]
        if version < in_force[0]:
            log.info("beacon key version %d of %r was retired before", version, key_id)
            return
        metadata = context.opts.get("target_metadata")
        left = columns_under(operations.get_bind(), metadata, key_id, version)
        left -= set(operation.except_columns)
        if left:
            raise MigrationError(
                f"beacon key version {version} cannot be retired, because there are indexes under "
                f"it: {', '.join(sorted(left))}. Declare versions=({max(in_force)},), and drop "
                "their columns. If they belong to another key or to no index, name them in "
                "except_columns=",
                key_id=key_id,
                reason="indexes-left",
            )
        # No process can index under it, or look for what it is to find, without such a column: so
        # there is nothing to wait for until all of them know the newer version.
        encryption.keys.retire_beacon(key_id, version, at_once=True)
        log.info("beacon key version %d of %r retired", version, key_id)


def _write_rotation_guard(operations: Operations, operation: RotateBeaconKeyOp) -> None:
    key_id, version = operation.key_id, operation.version
    if version is None:
        raise MigrationError(
            "a script cannot tell whether a beacon key was rotated unless it is given "
            f"the version: op.{operation.verb}({key_id!r}, version=2)",
            key_id=key_id,
            reason="beacon-version",
        )
    write_comment(operations, f"Rotate the beacon key of {key_id!r} to version {version} online.")
    message = f"{key_id!r} has no beacon key version {version}: rotate it first, online"
    arguments = key_table_of(operations), key_id, version
    write_guard(operations, Guard.no_beacon, *arguments, message=message)
