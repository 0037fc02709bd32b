"""The operations on values.

Their implementations are in :mod:`encfields.alembic.implementations`, their rendering in
:mod:`encfields.alembic.rendering`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from alembic.operations import MigrateOperation, Operations

from encfields.alembic.descriptions import IndexColumn, Indexes, index_columns, with_indexes
from encfields.alembic.errors import IrreversibleError
from encfields.alembic.operations.base import ONE_COLUMN, OPTIONS, Operation
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.rows.types_as_data import InnerType, type_from_data, type_to_data
from encfields.codecs import codec_for
from encfields.expected_arguments import COLUMN_NAMES, INNER_TYPE, require_all
from encfields.index.transforms import exact
from encfields.orm.declare.index_binding import TRANSFORM_OF_WHOLE

Columns = Sequence[str | SealedColumn]
"""Encrypted columns: names, or descriptions if not everything else is the default."""


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
        """Reseal a table's values that are not under the active version of their key.

        It uses separate connections and short transactions while the application reads and
        writes. It may be killed at any moment; run it again and it continues.

        :param table_name: the table.
        :param columns: its encrypted columns; best all, since the table is read once.
        :param indexes: columns of blind indexes to fill as well, as for :func:`fill_blind_index`.
        :param schema: the table's schema.
        :param queue: only record the run. ``encfields reencrypt`` works on it, on any number of
            hosts, and :func:`ensure_encrypted` in a later revision raises until it is done.
        :raises MigrationError: something preceded it in the revision's transaction, or values were
            left over, such as those that do not open.
        """
        require_all(OPTIONS, locals())
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

        :param seen: for a proposed one, the evidence in words.
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
        """Rebind a table's values to their new name or identity.

        Needed after renaming a table or column whose logical name was not pinned with ``name=``,
        and after a change of primary key, ``bind_to=`` or ``key=``. Until it is done, an
        application with the new declaration cannot read the old values: run it before deploying
        that, or pin the old name instead, which needs no run.

        A value is moved only if it is bound, as `was` says, to the row it is in; others are left
        alone and reported. So the columns in `was` must be the row's key, or columns that only the
        application writes: anybody else who can write one chooses the row. Never name a source
        under which another column is declared: its values, copied into this one, would move too.

        :param table_name: the table's name now.
        :param columns: how its columns will be bound.
        :param was: how the same columns are bound now, under their present column names:
            ``SealedColumn("social", "patient.ssn")``. Columns that identified the row must still
            exist; if one was renamed, ``context_names=`` gives its former name.
        :param indexes: columns of blind indexes of these columns, as for
            :func:`fill_blind_index`. They are recomputed with each rebound value: an index's key
                depends on the column's logical name and key, unless it has its own.
        :param schema: the table's schema.
        :param queue: as for :func:`reencrypt`, but workers need the run's id, since it changes what
            values belong to: `encfields reencrypt --run ID`, with the id from the log.
        :raises MigrationError: as :func:`reencrypt`.
        """
        require_all(OPTIONS, locals())
        spec = TableSpec.of(table_name, columns, schema=schema)
        source = TableSpec.of(table_name, was, schema=schema)
        operations.invoke(cls(spec, source, queue, index_columns(indexes)))

    @property
    def whole(self) -> TableSpec:
        """The run's target."""
        return with_indexes(self.spec, self.indexes)

    @property
    def source(self) -> TableSpec:
        """How the same columns are bound now; columns that only an index needs stay as they are."""
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

        Add the plaintext columns, with the inner type, in an earlier revision; drop the encrypted
        columns in a later one.

        :param table_name: the table.
        :param columns: the encrypted columns to decrypt.
        :param into: encrypted column to plaintext column, for each of `columns`.
        :param schema: the table's schema.
        :raises MigrationError: as :func:`reencrypt`.
        """
        require_all(OPTIONS | {"into": COLUMN_NAMES}, locals())
        operations.invoke(cls(TableSpec.of(table_name, columns, schema=schema), into))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "the encrypted columns were not changed, so there is nothing to restore; remove the "
            "plaintext by dropping its columns. Do nothing on a downgrade (`pass`)",
            table=self.spec.table,
            reason="decrypt",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.spec.schema, self.spec.table, self.spec.columns, tuple(self.into.items())


@Operations.register_operation("ensure_encrypted")
class EnsureEncryptedOp(Operation):
    """Fail while values are not as a run would leave them."""

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
        """Fail while any value is not bound as described under the active key version.

        Use it after ``queue=True``, before a revision that relies on the run. It reads the header
        of every value, and needs no key. No header tells the inner type: after a queued
        :func:`convert_encrypted`, call that again without ``queue=True`` instead.

        :param table_name: the table.
        :param columns: its encrypted columns, as :func:`reencrypt` or :func:`rebind` had them.
        :param schema: the table's schema.
        :raises UnfinishedError: says how many values are left.
        """
        require_all(OPTIONS, locals())
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
        :param seen: for a proposed one, the evidence in words.
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
        """Convert a column's values from one inner type to another.

        Works like :func:`reencrypt`, while the application reads and writes: values of the former
        type are opened, converted and resealed; those of the new type are left. Until it is done,
        old and new processes each read only what they wrote; run it again for what an old process
        wrote afterwards.

        A value is converted if it has an equivalent: a date becomes midnight of that day and back,
        ``1.00`` becomes 1, a text becomes that JSON string. A value without one (``1.50`` as an
        integer) is left and reported, and the revision fails.

        :param table_name: the table.
        :param column: the encrypted column, with its new binding.
        :param was: the inner type that wrote the values: one of SQLAlchemy's own.
        :param to: the inner type that will read them.
        :param was_bound: the same column with its former logical name, if the new declaration
            gives it another (``EncryptedType(..., name=)``). Then the name shows what is converted.
            Required between text and JSON, which otherwise look alike.
        :param indexes: columns of blind indexes of this column, as for :func:`fill_blind_index`.
            They are recomputed with each converted value.
        :param schema: the table's schema.
        :param queue: as for :func:`rebind`.
        :raises MigrationError: as :func:`reencrypt`.
        :raises DeclarationError: a type is not one of SQLAlchemy's own, or the stored forms look
            alike.
        """
        described = {"column": ONE_COLUMN, "was_bound": ONE_COLUMN.or_none}
        require_all(OPTIONS | described | {"was": INNER_TYPE, "to": INNER_TYPE}, locals())
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
    """An index with the type's rule of equality, which an index of whole values depends on."""
    if index.transform not in (
        None,
        *(transform.name for transform in TRANSFORM_OF_WHOLE.values()),
    ):
        return index
    transform = TRANSFORM_OF_WHOLE[codec_for(type_from_data(type_)).equality]
    return replace(index, transform=None if transform == exact else transform.name)
