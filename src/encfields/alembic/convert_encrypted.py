"""``op.convert_encrypted()``: the operation, what it does, and how it is written."""

from __future__ import annotations

import datetime as dt
from typing import Any

from alembic.autogenerate import renderers
from alembic.operations import Operations

from encfields.alembic.guards import Guard
from encfields.alembic.index_column import IndexColumn, Indexes, index_columns, with_indexes
from encfields.alembic.operation import Operation
from encfields.alembic.rendering import rendered_call, rendered_columns, rendered_indexes
from encfields.alembic.running import work
from encfields.alembic.script import columns_text, write_comment, write_guard
from encfields.bulk.rows.inner_types import (
    InnerType,
    type_from_data,
    type_to_data,
)
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.runs.tables import runs


@Operations.register_operation("convert_encrypted")
class ConvertEncryptedOp(Operation):
    """Convert a column's values from one inner type to another."""

    verb = "convert_encrypted"

    def __init__(
        self,
        spec: TableSpec,
        types: tuple[dict[str, Any], dict[str, Any]],
        was_bound: SealedColumn,
        queue: bool,
        indexes: tuple[IndexColumn, ...] = (),
    ) -> None:
        """One conversion.

        :param spec: the table and the one column. :param types: the former and the new type.
        """
        self.spec = spec
        self.types = types
        self.was_bound = was_bound
        self.queue = queue
        self.indexes = indexes

    @classmethod
    def convert_encrypted(
        cls,
        operations: Operations,
        table_name: str,
        column: str | SealedColumn,
        *,
        was: InnerType,
        to: InnerType,
        was_bound: str | SealedColumn | None = None,
        indexes: Indexes = (),
        schema: str | None = None,
        queue: bool = False,
    ) -> None:
        """Have the values of a column that one inner type wrote read by another one.

        Works as :func:`reencrypt` does, while the application reads and writes: what the former
        type wrote is opened, converted and sealed again; what is of the new type already is left.
        Between old processes and new ones, each reads what it wrote itself until this is done; it
        is run again for what an old process wrote afterwards.

        Converted is what has an equal: a date is midnight of that day and back, ``1.00`` is 1, a
        text is that JSON string. A value that has none (``1.50`` as an integer) is left as it is
        and named, and the revision fails.

        :param table_name: the table.
        :param column: the encrypted column, as it is bound from now on.
        :param was: the inner type that wrote the values: one of SQLAlchemy's own.
        :param to: the inner type that is to read them.
        :param was_bound: the same column with its former logical name, where the new declaration
            gives it another one (``EncryptedType(..., name=)``). Then the name tells what is
            converted. Needed between text and JSON, which look alike otherwise.
        :param indexes: columns of blind indexes of this column, as for :func:`fill_blind_index`.
            They are made anew with each value that is converted.
        :param schema: the table's schema.
        :param queue: as for :func:`rebind`.
        :raises MigrationError: as :func:`reencrypt`.
        :raises DeclarationError: a type is none of SQLAlchemy's own, or what the two
            store looks alike.
        """
        spec = TableSpec.of(table_name, [column], schema=schema)
        (sealed,) = spec.columns
        former = SealedColumn(was_bound) if isinstance(was_bound, str) else was_bound
        types = type_to_data(was), type_to_data(to)
        operations.invoke(cls(spec, types, former or sealed, queue, index_columns(indexes)))

    @property
    def job(self) -> Job:
        """The run."""
        whole = with_indexes(self.spec, self.indexes)
        (column,) = self.spec.columns
        source = None
        if self.was_bound != column:
            others = tuple(one for one in whole.columns if one.name != column.name)
            source = TableSpec(whole.table, (self.was_bound, *others), whole.schema)
        return Job(whole, source, conversions={column.name: self.types})

    def reverse(self) -> ConvertEncryptedOp:
        (column,) = self.spec.columns
        spec = TableSpec(self.spec.table, (self.was_bound,), self.spec.schema)
        was, to = self.types
        return ConvertEncryptedOp(spec, (to, was), column, self.queue, self.indexes)

    def arguments(self) -> tuple[Any, ...]:
        spec = self.spec
        return spec.schema, spec.table, spec.columns, self.types, self.was_bound, self.indexes


@Operations.implementation_for(ConvertEncryptedOp)
def convert_encrypted(operations: Operations, operation: ConvertEncryptedOp) -> None:
    """Convert them, or have the script see to it that they were."""
    job = operation.job
    if not operations.migration_context.as_sql:
        work(operations, operation.verb, job, queue=operation.queue)
        return
    columns = columns_text(operation.spec)
    write_comment(operations, f"Convert {columns} by running the migration, before this goes on.")
    # What type wrote a value only its key tells.
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    message = f"{columns}: no run has converted it since {now:%Y-%m-%d %H:%M:%S} UTC"
    write_guard(operations, Guard.no_finished_run, runs, job.fingerprint(), now, message=message)


@renderers.dispatch_for(ConvertEncryptedOp)
def _render(autogen_context: Any, op: ConvertEncryptedOp) -> str:
    prefix = autogen_context.opts.get("sqlalchemy_module_prefix") or ""
    was, to = (f"{prefix}{type_from_data(one)!r}" for one in op.types)
    column = rendered_columns(autogen_context, op.spec.columns)[1:-1]
    arguments = [repr(op.spec.table), column, f"was={was}", f"to={to}"]
    if op.was_bound != op.spec.columns[0]:
        arguments.append(f"was_bound={rendered_columns(autogen_context, [op.was_bound])[1:-1]}")
    arguments += rendered_indexes(autogen_context, op.indexes)
    return rendered_call(autogen_context, op.verb, arguments, op.spec.schema, {"queue": op.queue})
