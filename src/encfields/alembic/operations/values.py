"""The operations on values. Those on keys, blind indexes and adoptions are beside it.

What they do is in :mod:`encfields.alembic.implementations`, how they are written into a migration
in :mod:`encfields.alembic.rendering`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from alembic.operations import MigrateOperation, Operations

from encfields.alembic.descriptions import IndexColumn, Indexes, index_columns, with_indexes
from encfields.alembic.errors import IrreversibleError
from encfields.alembic.operations.base import Operation
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.rows.types_as_data import InnerType, type_from_data, type_to_data
from encfields.codecs import codec_for
from encfields.index.transforms import exact
from encfields.orm.declare.index_binding import TRANSFORM_OF_WHOLE

Columns = Sequence[str | SealedColumn]
"""Encrypted columns: names, or descriptions where more than the name is out of the ordinary."""


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
        and writes. Killed at any moment, it continues where it left off when it is run again.

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
            "a re-encryption cannot be undone, and need not be: the values are the same, and open "
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
        seen: tuple[str, ...] = (),
    ) -> None:
        """One rebinding.

        :param seen: of one that autogenerate proposes, what it rests on, in words.
        """
        self.spec = spec
        self.was = was
        self.queue = queue
        self.indexes = indexes
        self.seen = seen

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

        A value is moved if it is bound, as `was` says, to the very row that it stands in; any
        other is left alone and reported. So the columns that `was` names have to be the row's
        key, or others that nobody but the application fills: whoever else may write one of them
        chooses the row. And never name a source that another column is declared under: its
        values, put into this one, would be moved as well.

        :param table_name: the table's name now.
        :param columns: how its columns are to be bound.
        :param was: how the same columns are bound so far, under their present column names:
            ``SealedColumn("social", "patient.ssn")``. Columns that identified the row must
            still be there; where one was renamed, ``context_names=`` tells what it was called.
        :param indexes: columns of blind indexes of these columns, as for
            :func:`fill_blind_index`. They are made again with each value that is rebound: the
            key of an index depends on the column's logical name and key, unless it has its own.
        :param schema: the table's schema.
        :param queue: as for :func:`reencrypt`, but a worker has to be given the run's id, since it
            changes what values belong to: `encfields reencrypt --run ID`, with the id that the
            log tells.
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
        """How the same columns are bound so far; those that an index adds, as they are."""
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
        It reads the header of every value, and needs no key. Which inner type wrote a value no
        header tells: after a queued :func:`convert_encrypted` say that once more in its place,
        without ``queue=True``.

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
        seen: tuple[str, ...] = (),
    ) -> None:
        """One conversion.

        :param spec: the table and the one column. :param types: the former and the new type.
        :param seen: of one that autogenerate proposes, what it rests on, in words.
        """
        self.spec = spec
        self.types = types
        self.was_bound = was_bound
        self.queue = queue
        self.indexes = indexes
        self.seen = seen

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
            They are made again with each value that is converted.
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
            others = tuple(other for other in whole.columns if other.name != column.name)
            source = TableSpec(whole.table, (self.was_bound, *others), whole.schema)
        return Job(whole, source, conversions={column.name: self.types})

    def reverse(self) -> ConvertEncryptedOp:
        (column,) = self.spec.columns
        spec = TableSpec(self.spec.table, (self.was_bound,), self.spec.schema)
        was, to = self.types
        indexes = tuple(_of_type(index, was) for index in self.indexes)
        return ConvertEncryptedOp(spec, (to, was), column, self.queue, indexes)

    def arguments(self) -> tuple[Any, ...]:
        spec = self.spec
        return spec.schema, spec.table, spec.columns, self.types, self.was_bound, self.indexes


def _of_type(index: IndexColumn, type_: dict[str, Any]) -> IndexColumn:
    """An index as it is of values of a type: one of whole values depends on when they are equal."""
    if index.transform not in (
        None,
        *(transform.name for transform in TRANSFORM_OF_WHOLE.values()),
    ):
        return index
    transform = TRANSFORM_OF_WHOLE[codec_for(type_from_data(type_)).equality]
    return replace(index, transform=None if transform == exact else transform.name)
