"""``op.retire_branch_key()``: the operation, what it does, and how it is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from alembic.autogenerate import renderers
from alembic.operations import MigrateOperation, Operations

from encfields.alembic.errors import IrreversibleError
from encfields.alembic.guards import Guard
from encfields.alembic.operation import Operation
from encfields.alembic.operations import Columns
from encfields.alembic.rendering import rendered_call, rendered_columns
from encfields.alembic.running import keys_of
from encfields.alembic.script import key_table_of, write_comment, write_guard
from encfields.bulk.rows.spec import TableSpec
from encfields.errors import KeyDestroyedError

log = logging.getLogger("encfields.alembic")

Tables = Mapping[str, Columns]
"""Encrypted columns by table, ``"table"`` or ``"schema.table"``."""


@Operations.register_operation("retire_branch_key")
class RetireBranchKeyOp(Operation):
    """Wipe a branch key's older versions."""

    verb = "retire_branch_key"

    def __init__(self, key_id: str, specs: Sequence[TableSpec], at_once: bool) -> None:
        self.key_id = key_id
        self.specs = tuple(specs)
        self.at_once = at_once

    @classmethod
    def retire_branch_key(
        cls, operations: Operations, key_id: str, tables: Tables, *, at_once: bool = False
    ) -> None:
        """Wipe every version of a branch key but the newest, when no value is under it any more.

        The last of three revisions: :func:`rotate_branch_key`, :func:`reencrypt`, and this. A
        revision that is run again finds them wiped, and does nothing.

        :param key_id: the branch key.
        :param tables: every table that may hold values under it, with its encrypted columns.
        :param at_once: also if it was rotated less than ``cache_ttl`` ago, and without waiting
            for other processes: where there are none.
        :raises MigrationError: something preceded it in the revision's transaction.
        :raises ConfigurationError: values are under an older version, or it was rotated just now.
        :raises KeyStoreError: there is no such key, or the store is out of reach.
        """
        operations.invoke(cls(key_id, [_spec(*one) for one in tables.items()], at_once))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a version that was wiped cannot be brought back, and nothing is under it. Do nothing "
            "on a downgrade (`pass`)",
            key_id=self.key_id,
            reason="retire-key",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.key_id, *(_table_name(spec) for spec in self.specs)


def _spec(name: str, columns: Columns) -> TableSpec:
    schema, _, table = name.rpartition(".")
    return TableSpec.of(table, columns, schema=schema or None)


def _table_name(spec: TableSpec) -> str:
    return f"{spec.schema}.{spec.table}" if spec.schema else spec.table


@Operations.implementation_for(RetireBranchKeyOp)
def retire_branch_key(operations: Operations, operation: RetireBranchKeyOp) -> None:
    """Wipe them, or have the script see to it that they were."""
    key_id = operation.key_id
    if operations.migration_context.as_sql:
        write_comment(operations, f"Retire the older versions of {key_id!r} online.")
        message = f"branch key {key_id!r} has older versions in force: retire them online"
        write_guard(
            operations, Guard.older_version, key_table_of(operations), key_id, message=message
        )
        return
    with keys_of(operations, operation.verb) as encryption:
        for one in encryption.keys.list():
            if one.id != key_id or one.active:
                continue
            # Retired before. A version that was refused and not wiped yet is finished here.
            with suppress(KeyDestroyedError):
                encryption.keys.retire(
                    key_id, one.version, specs=operation.specs, at_once=operation.at_once
                )
                log.info("version %s of branch key %r retired", one.version, key_id)


@renderers.dispatch_for(RetireBranchKeyOp)
def _render(autogen_context: Any, op: RetireBranchKeyOp) -> str:
    tables = ", ".join(
        f"{_table_name(spec)!r}: {rendered_columns(autogen_context, spec.columns)}"
        for spec in op.specs
    )
    arguments = [repr(op.key_id), f"{{{tables}}}"]
    return rendered_call(autogen_context, op.verb, arguments, None, {"at_once": op.at_once})
