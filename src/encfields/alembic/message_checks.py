"""``op.create_message_check()`` and its inverse: implementation, rendering and autogenerate, which
finds guarded columns without their CHECK and CHECKs no longer declared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic.autogenerate import renderers
from alembic.operations import BatchOperations, Operations, ops
from sqlalchemy import Column, LargeBinary, MetaData, Table, func, not_, select
from sqlalchemy.sql.elements import conv

from encfields.adopt.sqlite_schema import made_of
from encfields.alembic.errors import MigrationError
from encfields.alembic.implementing import implements
from encfields.alembic.operations.base import OPTIONS, Operation
from encfields.alembic.rendering import rendered_call
from encfields.expected_arguments import TEXT, require_all
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.message_check import is_message, name_of_check


class MessageCheckOp(Operation):
    """The CHECK that an encrypted column holds messages."""

    def __init__(
        self, table_name: str, column_name: str, name: str | None = None, schema: str | None = None
    ) -> None:
        self.table_name = table_name
        self.column_name = column_name
        self.name = name_of_check(table_name, column_name) if name is None else name
        self.schema = schema

    def arguments(self) -> tuple[Any, ...]:
        return self.schema, self.table_name, self.column_name, self.name


@Operations.register_operation("create_message_check")
class CreateMessageCheckOp(MessageCheckOp):
    """Make the database refuse whatever is not a message."""

    verb = "create_message_check"

    @classmethod
    def create_message_check(
        cls,
        operations: Operations,
        table_name: str,
        column_name: str,
        *,
        name: str | None = None,
        schema: str | None = None,
    ) -> None:
        """Add the CHECK of ``EncryptedType(guard=True)`` to a column.

        Like any CHECK it fails while the column holds something else: plaintext, or another
        library's ciphertext. PostgreSQL locks the table only for a moment to record the rule, and
        then reads it under a lock that allows writes; MySQL and MariaDB copy the table; on SQLite
        it is rebuilt, as in Alembic's batch mode.

        :param table_name: the table.
        :param column_name: the encrypted column.
        :param name: the CHECK's name. Default: the declaration's.
        :param schema: the table's schema.
        """
        require_all(OPTIONS | {"table_name": TEXT, "column_name": TEXT}, locals())
        operations.invoke(cls(table_name, column_name, name, schema))

    def reverse(self) -> DropMessageCheckOp:
        return DropMessageCheckOp(self.table_name, self.column_name, self.name, self.schema)


@Operations.register_operation("drop_message_check")
class DropMessageCheckOp(MessageCheckOp):
    """Make the database accept any value again."""

    verb = "drop_message_check"

    @classmethod
    def drop_message_check(
        cls,
        operations: Operations,
        table_name: str,
        column_name: str,
        *,
        name: str | None = None,
        schema: str | None = None,
    ) -> None:
        """Remove the CHECK of ``EncryptedType(guard=True)`` from a column.

        :param table_name: the table.
        :param column_name: the encrypted column.
        :param name: the CHECK's name. Default: the declaration's.
        :param schema: the table's schema.
        """
        require_all(OPTIONS | {"table_name": TEXT, "column_name": TEXT}, locals())
        operations.invoke(cls(table_name, column_name, name, schema))

    def reverse(self) -> CreateMessageCheckOp:
        return CreateMessageCheckOp(self.table_name, self.column_name, self.name, self.schema)


@implements(CreateMessageCheckOp)
def create_message_check(operations: Operations, operation: CreateMessageCheckOp) -> None:
    """Add the CHECK; on PostgreSQL in two steps, so that the longer one allows writes."""
    context = operations.migration_context
    _require_messages(operations, operation)
    if context.dialect.name == "sqlite":
        with _remade(operations, operation) as batch:
            batch.create_check_constraint(_exact_name(operation), _condition(operation))
        return
    in_steps = context.dialect.name == "postgresql"
    operations.create_check_constraint(
        _exact_name(operation),
        operation.table_name,
        _condition(operation),
        schema=operation.schema,
        **({"postgresql_not_valid": True} if in_steps else {}),
    )
    if in_steps:
        quote = context.dialect.identifier_preparer
        table, name = quote.format_table(_table(operation)), quote.quote(operation.name)
        operations.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


@implements(DropMessageCheckOp)
def drop_message_check(operations: Operations, operation: DropMessageCheckOp) -> None:
    """Remove it."""
    name, table_name, schema = _exact_name(operation), operation.table_name, operation.schema
    if operations.migration_context.dialect.name != "sqlite":
        operations.drop_constraint(name, table_name, type_="check", schema=schema)
        return
    with _remade(operations, operation) as batch:
        batch.drop_constraint(name, type_="check")


def _require_messages(operations: Operations, operation: CreateMessageCheckOp) -> None:
    """Refuse with the number of values that are not messages; the database would give none."""
    if operations.migration_context.as_sql:
        return
    table = _table(operation)
    others = not_(is_message(table.c[operation.column_name]))
    count = operations.get_bind().scalar(select(func.count()).select_from(table).where(others))
    if count:
        raise MigrationError(
            f"{count:,} values are not messages: plaintext, or another library's. Adopt them, or "
            "set them to NULL, before the column is guarded",
            table=table.fullname,
            column=operation.column_name,
            reason="unguarded",
        )


@contextmanager
def _remade(operations: Operations, operation: MessageCheckOp) -> Iterator[BatchOperations]:
    """SQLite's table, rebuilt with its rows, since it has no ALTER for a CHECK."""
    if operations.migration_context.as_sql:
        raise MigrationError(
            "SQLite can neither add a CHECK to a table nor remove one, and a script cannot rebuild "
            "the table: run the migration",
            table=operation.table_name,
            column=operation.column_name,
            reason="offline",
        )
    bind = operations.get_bind()
    triggers = made_of(bind, operation.table_name, "trigger")
    with operations.batch_alter_table(operation.table_name, recreate="always") as batch:
        yield batch
    for trigger in triggers:  # dropped with the former table
        bind.exec_driver_sql(trigger)


def _exact_name(operation: MessageCheckOp) -> str:
    """The CHECK's name, exempt from naming conventions."""
    return conv(operation.name)


def _table(operation: MessageCheckOp) -> Table:
    column: Column[Any] = Column(operation.column_name, LargeBinary())
    return Table(operation.table_name, MetaData(), column, schema=operation.schema)


def _condition(operation: MessageCheckOp) -> Any:
    return is_message(_table(operation).c[operation.column_name])


@renderers.dispatch_for(CreateMessageCheckOp)
@renderers.dispatch_for(DropMessageCheckOp)
def _render(autogen_context: Any, op: CreateMessageCheckOp | DropMessageCheckOp) -> str:
    arguments = [repr(op.table_name), repr(op.column_name)]
    if op.name != name_of_check(op.table_name, op.column_name):
        arguments.append(f"name={op.name!r}")
    return rendered_call(autogen_context, op.verb, arguments, op.schema, {})


# -- what autogenerate finds ------------------------------------------------------------------


def missing_checks(
    autogen_context: Any, upgrade_ops: ops.UpgradeOps, refused: set[tuple[str | None, str, str]]
) -> Iterator[CreateMessageCheckOp]:
    """The CHECKs to add, together with a new column or to an existing one.

    :param refused: schema, table and column of changes that autogenerate refuses.
    """
    created = {
        (op.schema, op.table_name) for op in upgrade_ops.ops if isinstance(op, ops.CreateTableOp)
    }
    for table in autogen_context.sorted_tables:
        place = table.schema, table.name
        if not (is_there := _is_compared(autogen_context, table)) and place not in created:
            continue
        existing = _check_names(autogen_context, table) if is_there else set()
        for column in table.c:
            if is_there and adoption_of(column) and not _has(autogen_context, column):
                continue  # op.begin_adoption() adds it with the column
            name = name_of_check(table.name, column.name)
            if (
                _is_guarded(column)
                and name not in existing
                and (*place, column.name) not in refused
            ):
                yield CreateMessageCheckOp(table.name, column.name, schema=table.schema)


def unneeded_checks(autogen_context: Any) -> Iterator[DropMessageCheckOp]:
    """The CHECKs of columns that are no longer guarded, or will be dropped."""
    for table in autogen_context.sorted_tables:
        if not _is_compared(autogen_context, table):
            continue
        # What was reflected declares it as an ordinary CHECK.
        existing = _check_names(autogen_context, table) - {str(c.name) for c in table.constraints}
        columns = (
            autogen_context.inspector.get_columns(table.name, table.schema) if existing else []
        )
        for name in (column["name"] for column in columns):
            if name_of_check(table.name, name) in existing and not _is_guarded(table.c.get(name)):
                yield DropMessageCheckOp(table.name, name, schema=table.schema)


def drop_others_check_ops(modified: ops.ModifyTableOps) -> None:
    """Remove operations on our CHECKs by Alembic's plug-in that compares CHECKs by name."""
    modified.ops[:] = [op for op in modified.ops if not _is_ours(op)]


def _has(autogen_context: Any, column: Any) -> bool:
    """Whether the database has a column."""
    table = column.table
    listed = autogen_context.inspector.get_columns(table.name, table.schema)
    return column.name in {known["name"] for known in listed}


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
    checks = autogen_context.inspector.get_check_constraints(table.name, schema=table.schema)
    return {str(check["name"]) for check in checks}
