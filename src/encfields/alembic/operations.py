"""The operations as data: what a migration asks for, its inverse, and its form in a diff.

What they do is in :mod:`encfields.alembic.implementations`, how they are written into a
migration in :mod:`encfields.alembic.rendering`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alembic.operations import MigrateOperation, Operations

from encfields.alembic.errors import IrreversibleError
from encfields.alembic.index_column import IndexColumn, Indexes, index_columns, with_indexes
from encfields.keys.key_table import TABLE_NAME
from encfields.reencrypt.spec import SealedColumn, TableSpec

Columns = Sequence[str | SealedColumn]
"""Encrypted columns: names, or descriptions where more than the name is out of the ordinary."""


class Operation(MigrateOperation):
    """One of ours.

    :cvar verb: its name as ``op.<verb>``.
    """

    verb: str

    def arguments(self) -> tuple[Any, ...]:
        """What it was called with, for a diff."""
        raise NotImplementedError

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return (self.verb, *self.arguments())


@Operations.register_operation("create_encryption_keys_table")
class CreateKeyTableOp(Operation):
    """Make the table of branch keys."""

    verb = "create_encryption_keys_table"

    def __init__(self, table_name: str, schema: str | None, if_not_exists: bool) -> None:
        self.table_name = table_name
        self.schema = schema
        self.if_not_exists = if_not_exists

    @classmethod
    def create_encryption_keys_table(
        cls,
        operations: Operations,
        table_name: str = TABLE_NAME,
        *,
        schema: str | None = None,
        if_not_exists: bool = False,
    ) -> None:
        """Make the table that a ``SqlKeyStore`` keeps its wrapped branch keys in.

        :param table_name: as given to ``SqlKeyStore``.
        :param schema: as given to ``SqlKeyStore``.
        :param if_not_exists: leave a table alone that ``attach(create=True)`` made.
        """
        operations.invoke(cls(table_name, schema, if_not_exists))

    def reverse(self) -> DropKeyTableOp:
        return DropKeyTableOp(self.table_name, self.schema, destroy_keys=False)

    def arguments(self) -> tuple[Any, ...]:
        return self.schema, self.table_name


@Operations.register_operation("drop_encryption_keys_table")
class DropKeyTableOp(Operation):
    """Drop the table of branch keys."""

    verb = "drop_encryption_keys_table"

    def __init__(self, table_name: str, schema: str | None, destroy_keys: bool) -> None:
        self.table_name = table_name
        self.schema = schema
        self.destroy_keys = destroy_keys

    @classmethod
    def drop_encryption_keys_table(
        cls,
        operations: Operations,
        table_name: str = TABLE_NAME,
        *,
        schema: str | None = None,
        destroy_keys: bool = False,
    ) -> None:
        """Drop the key table. With the keys in it goes everything that they ever sealed.

        :param table_name: as given to ``SqlKeyStore``.
        :param schema: as given to ``SqlKeyStore``.
        :param destroy_keys: drop it with the keys in it. Every value that they sealed, in this
            database, its copies and its backups, is then unreadable for good.
        :raises MigrationError: it holds keys, and `destroy_keys` was not said.
        """
        operations.invoke(cls(table_name, schema, destroy_keys))

    def reverse(self) -> CreateKeyTableOp:
        return CreateKeyTableOp(self.table_name, self.schema, if_not_exists=False)

    def arguments(self) -> tuple[Any, ...]:
        return self.schema, self.table_name


@Operations.register_operation("create_branch_key")
class CreateBranchKeyOp(Operation):
    """Make a branch key unless it is there."""

    verb = "create_branch_key"

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id

    @classmethod
    def create_branch_key(cls, operations: Operations, key_id: str = "default") -> None:
        """Make a branch key, unless there is one of that id.

        It is committed on a connection of its own, so it stands before anything else in its
        revision, and a revision that is run again finds it there.

        :param key_id: for instance ``"default"``, at most 255 characters.
        :raises MigrationError: something preceded it in the revision's transaction.
        :raises KeyStoreError: KMS or the database is out of reach.
        """
        operations.invoke(cls(key_id))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "making a key is not undone: values may have been sealed under it meanwhile, and "
            "without it they are lost. Leave it in place on a downgrade (`pass`)",
            key_id=self.key_id,
            reason="create-key",
        )

    def arguments(self) -> tuple[Any, ...]:
        return (self.key_id,)


@Operations.register_operation("rotate_branch_key")
class RotateBranchKeyOp(Operation):
    """Make a new version of a branch key."""

    verb = "rotate_branch_key"

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id

    @classmethod
    def rotate_branch_key(cls, operations: Operations, key_id: str = "default") -> None:
        """Make a new version of a branch key: it seals new values, old ones stay readable.

        It is committed on a connection of its own, as :func:`create_branch_key`. A revision that
        is run again makes one version more, which does no harm.

        :param key_id: the key.
        :raises MigrationError: something preceded it in the revision's transaction.
        :raises KeyStoreError: there is no such key, or KMS or the database is out of reach.
        """
        operations.invoke(cls(key_id))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a rotation is not undone: values are under the new version already, and old values "
            "stay readable without it. Do nothing on a downgrade (`pass`)",
            key_id=self.key_id,
            reason="rotate-key",
        )

    def arguments(self) -> tuple[Any, ...]:
        return (self.key_id,)


@Operations.register_operation("reencrypt")
class ReencryptOp(Operation):
    """Move a table's values to the active version of their key."""

    verb = "reencrypt"

    def __init__(self, spec: TableSpec, queue: bool, indexes: tuple[IndexColumn, ...] = ()) -> None:
        self.spec = spec
        self.queue = queue
        self.indexes = indexes

    @classmethod
    def reencrypt(
        cls,
        operations: Operations,
        table_name: str,
        columns: Columns,
        *,
        indexes: Indexes = (),
        schema: str | None = None,
        queue: bool = False,
    ) -> None:
        """Seal a table's values again that are not under the active version of their key.

        It works on connections of its own, in short transactions, while the application reads
        and writes. Killed at any moment, the revision goes on where it was when it is run again.

        :param table_name: the table.
        :param columns: its encrypted columns; best all of them, for the table is walked once.
        :param indexes: columns of blind indexes that are filled on the way, as for
            :func:`fill_blind_index`.
        :param schema: the table's schema.
        :param queue: only record the run. ``encfields reencrypt`` works at it, on any number of
            hosts, and :func:`ensure_encrypted` in a later revision refuses until it is done.
        :raises MigrationError: something preceded it in the revision's transaction, or values
            were left over, for instance such as do not open.
        """
        spec = TableSpec.of(table_name, columns, schema=schema)
        operations.invoke(cls(spec, queue, index_columns(indexes)))

    @property
    def whole(self) -> TableSpec:
        """The run's description."""
        return with_indexes(self.spec, self.indexes)

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a re-encryption is not undone, and need not be: the values are the same, and open "
            "with every version of this library. Do nothing on a downgrade (`pass`)",
            table=self.spec.table,
            reason="reencrypt",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.spec.schema, self.spec.table, self.spec.columns, self.indexes


@Operations.register_operation("rebind")
class RebindOp(Operation):
    """Move a table's values from one binding to another."""

    verb = "rebind"

    def __init__(
        self,
        spec: TableSpec,
        was: TableSpec,
        queue: bool,
        indexes: tuple[IndexColumn, ...] = (),
    ) -> None:
        self.spec = spec
        self.was = was
        self.queue = queue
        self.indexes = indexes

    @classmethod
    def rebind(
        cls,
        operations: Operations,
        table_name: str,
        columns: Columns,
        *,
        was: Columns,
        indexes: Indexes = (),
        schema: str | None = None,
        queue: bool = False,
    ) -> None:
        """Bind a table's values to what they are called, or identified by, from now on.

        Needed after a table or column was renamed whose logical name was not pinned with
        ``name=``, and after a changed primary key, ``bind_to=`` or ``key=``. Until it is done,
        an application that declares the new binding cannot read the old values: run it between
        the two, or pin the old name instead, which needs no run at all.

        :param table_name: the table's name now.
        :param columns: how its columns are to be bound.
        :param was: how the same columns are bound as yet, under their present column names:
            ``SealedColumn("social", "patient.ssn")``. Columns that identified the row must
            still be there; where one was renamed, ``context_names=`` tells what it was called.
        :param indexes: columns of blind indexes of these columns, as for
            :func:`fill_blind_index`. They are made anew with each value that is bound anew: the
            key of an index depends on the column's logical name and key, unless it has its own.
        :param schema: the table's schema.
        :param queue: as for :func:`reencrypt`.
        :raises MigrationError: as :func:`reencrypt`.
        """
        spec = TableSpec.of(table_name, columns, schema=schema)
        source = TableSpec.of(table_name, was, schema=schema)
        operations.invoke(cls(spec, source, queue, index_columns(indexes)))

    @property
    def whole(self) -> TableSpec:
        """The run's target."""
        return with_indexes(self.spec, self.indexes)

    @property
    def source(self) -> TableSpec:
        """How the same columns are bound as yet; those that an index adds, as they are."""
        names = {column.name for column in self.was.columns}
        added = tuple(column for column in self.whole.columns if column.name not in names)
        return TableSpec(self.was.table, (*self.was.columns, *added), self.was.schema)

    def reverse(self) -> RebindOp:
        return RebindOp(self.was, self.spec, self.queue, self.indexes)

    def arguments(self) -> tuple[Any, ...]:
        spec = self.spec
        return spec.schema, spec.table, self.was.columns, spec.columns, self.indexes


@Operations.register_operation("decrypt_column")
class DecryptColumnOp(Operation):
    """Write the plaintext of encrypted columns into columns beside them."""

    verb = "decrypt_column"

    def __init__(self, spec: TableSpec, into: Mapping[str, str]) -> None:
        self.spec = spec
        self.into = dict(into)

    @classmethod
    def decrypt_column(
        cls,
        operations: Operations,
        table_name: str,
        columns: Columns,
        *,
        into: Mapping[str, str],
        schema: str | None = None,
    ) -> None:
        """Write plaintext into columns beside the encrypted ones, which stay as they are.

        An earlier revision adds the plaintext columns, of the type that was encrypted; a later
        one drops the encrypted columns.

        :param table_name: the table.
        :param columns: its encrypted columns to be decrypted.
        :param into: encrypted column to plaintext column, for each of `columns`.
        :param schema: the table's schema.
        :raises MigrationError: as :func:`reencrypt`.
        """
        operations.invoke(cls(TableSpec.of(table_name, columns, schema=schema), into))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "the encrypted columns were left as they are, so there is nothing to bring back; the "
            "plaintext is removed by dropping its columns. Do nothing on a downgrade (`pass`)",
            table=self.spec.table,
            reason="decrypt",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.spec.schema, self.spec.table, self.spec.columns, tuple(self.into.items())


@Operations.register_operation("ensure_encrypted")
class EnsureEncryptedOp(Operation):
    """Refuse to go on while values are not as a run would leave them."""

    verb = "ensure_encrypted"

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec

    @classmethod
    def ensure_encrypted(
        cls,
        operations: Operations,
        table_name: str,
        columns: Columns,
        *,
        schema: str | None = None,
    ) -> None:
        """Refuse while any value is not bound as described, under the active key version.

        The second half of ``queue=True``, before a revision that relies on the run being done.
        It reads the header of every value, and needs no key.

        :param table_name: the table.
        :param columns: its encrypted columns, as :func:`reencrypt` or :func:`rebind` had them.
        :param schema: the table's schema.
        :raises UnfinishedError: says how many values are left.
        """
        operations.invoke(cls(TableSpec.of(table_name, columns, schema=schema)))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a check has no inverse. Do nothing on a downgrade (`pass`)",
            table=self.spec.table,
            reason="ensure",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.spec.schema, self.spec.table, self.spec.columns


class RefusedChangeOp(Operation):
    """A change that autogenerate found and that no operation makes safely; never run as such.

    :param column: the column.
    :param reason: one sentence on what it is.
    :param steps: what to do instead, a line each.
    :param upwards: whether this is the upgrade's half.
    """

    verb = "encfields_refused"

    def __init__(
        self,
        table_name: str,
        column: str,
        reason: str,
        steps: Sequence[str],
        *,
        schema: str | None = None,
        upwards: bool = True,
    ) -> None:
        self.table_name = table_name
        self.column = column
        self.reason = reason
        self.steps = tuple(steps)
        self.schema = schema
        self.upwards = upwards

    def reverse(self) -> RefusedChangeOp:
        return RefusedChangeOp(
            self.table_name,
            self.column,
            self.reason,
            self.steps,
            schema=self.schema,
            upwards=not self.upwards,
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.schema, self.table_name, self.column, self.reason


class PostponedRebindOp(Operation):
    """A rebinding that autogenerate found beside changes that have to come first.

    A comment in the migration: the next autogenerate, when those are made, writes the operation.
    """

    verb = "encfields_postponed_rebind"

    def __init__(self, rebind: RebindOp) -> None:
        self.rebind = rebind

    def reverse(self) -> PostponedRebindOp:
        return self

    def arguments(self) -> tuple[Any, ...]:
        return self.rebind.arguments()
