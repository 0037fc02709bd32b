"""The operations on keys."""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, Table, inspect

from encfields.alembic.descriptions import conventional_version, is_conventional
from encfields.alembic.errors import MigrationError
from encfields.alembic.implementations.running import keys_of
from encfields.alembic.implementations.script import Guard, key_table_of, write_comment, write_guard
from encfields.alembic.implementing import implements
from encfields.alembic.operations.keys import (
    CreateBranchKeyOp,
    CreateKeyTableOp,
    DropKeyTableOp,
    KeyIds,
    RetireBeaconKeyOp,
    RetireBranchKeyOp,
    RotateBeaconKeyOp,
    RotateBranchKeyOp,
)
from encfields.errors import KeyDestroyedError, KeyExistsError
from encfields.key_template import KeyTemplate
from encfields.keys.admin import KeyAdmin
from encfields.keys.many.report import KeysReport
from encfields.keys.sql.schema import key_table
from encfields.keys.sql.store_name import has_keys
from encfields.orm.declare.column_rules import stores_bytes
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.declare.table_indexes import indexes_of

log = logging.getLogger("encfields.alembic")


@implements(RotateBeaconKeyOp)
def rotate_beacon_key(operations: Operations, operation: RotateBeaconKeyOp) -> None:
    key_id, version = operation.key_id, operation.version
    if operations.migration_context.as_sql:
        _write_rotation_guard(operations, operation)
        return
    with keys_of(operations, operation.verb) as encryption:
        newest = encryption.keys.list_beacons(key_id)[-1].version
        if version is not None and newest >= version:
            log.info("beacon key version %d of %r exists already", newest, key_id)
            return
        if version is not None and newest != version - 1:
            raise MigrationError(
                f"the newest beacon key has version {newest}, so the next one cannot be {version}",
                key_id=key_id,
                reason="beacon-version",
            )
        made = encryption.keys.rotate_beacon(key_id)
        log.info("beacon key version %d of %r made", made.version, key_id)


@implements(RetireBeaconKeyOp)
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
        in_force = [beacon.version for beacon in encryption.keys.list_beacons(key_id)]
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
        # Without such a column no process can use the old version, so there is no need to wait
        # until all of them know the newer one.
        encryption.keys.retire_beacon(key_id, version, at_once=True)
        log.info("beacon key version %d of %r retired", version, key_id)


def _write_rotation_guard(operations: Operations, operation: RotateBeaconKeyOp) -> None:
    key_id, version = operation.key_id, operation.version
    if version is None:
        raise MigrationError(
            "a script cannot tell whether a beacon key was rotated without the version: "
            f"op.{operation.verb}({key_id!r}, version=2)",
            key_id=key_id,
            reason="beacon-version",
        )
    write_comment(operations, f"Rotate the beacon key of {key_id!r} to version {version} online.")
    message = f"{key_id!r} has no beacon key version {version}: rotate it first, online"
    arguments = key_table_of(operations), key_id, version
    write_guard(operations, Guard.no_beacon, *arguments, message=message)


@implements(CreateKeyTableOp)
def create_key_table(operations: Operations, operation: CreateKeyTableOp) -> None:
    table = key_table(operation.table_name, operation.schema)
    context = operations.migration_context
    if context.as_sql and context.dialect.name == "mysql":
        write_comment(operations, "For MySQL; for MariaDB run --sql with a mariadb+... URL.")
    # The first key writes the key store's name into it.
    context.impl.create_table(table, if_not_exists=operation.if_not_exists)


@implements(DropKeyTableOp)
def drop_key_table(operations: Operations, operation: DropKeyTableOp) -> None:
    table = key_table(operation.table_name, operation.schema)
    refusal = (
        f"{table.fullname} holds keys, and without them everything that they sealed is lost: pass "
        "destroy_keys=True to drop it anyway"
    )
    if not operation.destroy_keys:
        if operations.migration_context.as_sql:
            write_guard(operations, Guard.any_key, table, message=refusal)
        elif has_keys(operations.get_bind(), table):
            raise MigrationError(refusal, table=table.fullname, reason="keys")
    operations.migration_context.impl.drop_table(table)


@implements(CreateBranchKeyOp)
def create_branch_key(operations: Operations, operation: CreateBranchKeyOp) -> None:
    if operations.migration_context.as_sql:
        for key_id in each_of(operation.key_id):
            write_comment(
                operations, f"Create the branch key {key_id!r} before the script continues."
            )
            message = f"there is no branch key {key_id!r}: create it first (encfields keys create)"
            keys = key_table_of(operations)
            write_guard(operations, Guard.no_key, keys, key_id, message=message)
        return
    with keys_of(operations, operation.verb) as encryption:
        create_keys(encryption.keys, operation.key_id)


@implements(RotateBranchKeyOp)
def rotate_branch_key(operations: Operations, operation: RotateBranchKeyOp) -> None:
    if operations.migration_context.as_sql:
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        since = f"{now:%Y-%m-%d %H:%M:%S} UTC, when this script was written"
        for key_id in each_of(operation.key_id):
            write_comment(
                operations, f"Rotate the branch key {key_id!r} before the script continues."
            )
            message = f"branch key {key_id!r} was not rotated since {since}"
            table = key_table_of(operations)
            write_guard(operations, Guard.no_key_since, table, key_id, now, message=message)
        return
    with keys_of(operations, operation.verb) as encryption:
        rotate_keys(encryption.keys, operation.key_id)


@implements(RetireBranchKeyOp)
def retire_branch_key(operations: Operations, operation: RetireBranchKeyOp) -> None:
    """Wipe older versions, or make the script check that it was done."""
    key_id = operation.key_id
    if operations.migration_context.as_sql:
        write_comment(operations, f"Retire the older versions of {key_id!r} online.")
        message = f"branch key {key_id!r} has older versions in force: retire them online"
        write_guard(
            operations, Guard.older_version, key_table_of(operations), key_id, message=message
        )
        return
    with keys_of(operations, operation.verb) as encryption:
        for version in encryption.keys.list():
            if version.id != key_id or version.active:
                continue
            # Already retired. A version that was blocked but not wiped is wiped now.
            with suppress(KeyDestroyedError):
                encryption.keys.retire(
                    key_id, version.version, specs=operation.specs, at_once=operation.at_once
                )
                log.info("version %s of branch key %r retired", version.version, key_id)


DeclaredTables = MetaData | Sequence[MetaData] | None
"""Alembic's ``target_metadata``."""


def columns_under(
    connection: Connection, declared: DeclaredTables, key_id: str, version: int
) -> set[str]:
    """Columns, in the database or declared, that need a version of a key's beacon key.

    Undeclared columns are recognised by the naming convention.

    :param connection: its schema is searched, and all declared schemas.
    :returns: ``"table.column"``, with the schema if there is one.
    """
    indexes = list(_indexes(declared))
    ours = {
        _name(i) for i in indexes if i.definition.version == version and may_be_for(i.key, key_id)
    }
    others = {_name(index) for index in indexes} - ours
    schemas = {None, *(index.index_column.table.schema for index in indexes)}
    there = {
        name for schema in schemas for name in _columns_of_version(connection, schema, version)
    }
    return ours | (there - others)


def may_be_for(template: KeyTemplate, key_id: str) -> bool:
    """Whether a template can give this key id."""
    if not template.columns:
        return template.template == key_id
    parts = re.split(r"(\{[^{}]*\})", template.template)
    pattern = "".join("(?s:.*)" if part.startswith("{") else re.escape(part) for part in parts)
    return re.fullmatch(pattern, key_id) is not None


def _indexes(declared: DeclaredTables) -> Iterator[IndexBinding]:
    for metadata in _all(declared):
        for table in metadata.tables.values():
            yield from indexes_of(table)


def _all(declared: DeclaredTables) -> Sequence[MetaData]:
    if declared is None:
        return ()
    return (declared,) if isinstance(declared, MetaData) else declared


def _name(index: IndexBinding) -> str:
    table: Table = index.index_column.table
    return f"{table.fullname}.{index.index_column.name}"


def _columns_of_version(connection: Connection, schema: str | None, version: int) -> Iterator[str]:
    tables = inspect(connection).get_multi_columns(schema=schema)
    for (schema_name, table_name), columns in tables.items():
        place = f"{schema_name}.{table_name}" if schema_name else table_name
        for column in columns:
            name = column["name"]
            if (
                is_conventional(name)
                and conventional_version(name) == version
                and stores_bytes(column["type"])
            ):
                yield f"{place}.{name}"


MAX_FAILURES_NAMED = 5


def each_of(key_id: KeyIds) -> Sequence[str]:
    """The ids."""
    return [key_id] if isinstance(key_id, str) else key_id


def create_keys(keys: KeyAdmin, key_id: KeyIds) -> None:
    """Create the keys that are missing.

    :raises MigrationError: some of several failed.
    :raises KeyStoreError: the one key failed.
    """
    if not isinstance(key_id, str):
        report = keys.each(key_id).create()
        log.info("%d branch keys were made, %d existed already", *_counts(report))
        _require_all(report)
        return
    try:
        keys.create(key_id)
    except KeyExistsError:
        log.info("branch key %r exists already", key_id)


def rotate_keys(keys: KeyAdmin, key_id: KeyIds) -> None:
    """Create a new version of each key; raises as :func:`create_keys`."""
    if isinstance(key_id, str):
        keys.rotate(key_id)
    else:
        _require_all(keys.each(key_id).rotate())


def _counts(report: KeysReport) -> tuple[int, int]:
    return len(report.done), len(report.already)


def _require_all(report: KeysReport) -> None:
    if report.is_complete:
        return
    failures = [
        f"{failure.key_id!r:.80} ({failure.message})"
        for failure in report.failed[:MAX_FAILURES_NAMED]
    ]
    more = len(report.failed) + len(report.left) - len(failures)
    raise MigrationError(
        "some keys failed, the others are done: "
        + "; ".join(failures)
        + (f"; and {more:,} more" if more else "")
        + ". Fix that and run the revision again",
        reason="keys",
    )
