"""The operations on blind indexes."""

from __future__ import annotations

from typing import Any

from alembic.operations import MigrateOperation, Operations

from encfields.alembic.descriptions import IndexColumn, Indexes, index_columns, with_indexes
from encfields.alembic.errors import IrreversibleError
from encfields.alembic.operations.base import OPTIONS, NothingOp, Operation
from encfields.alembic.operations.values import Columns
from encfields.bulk.rows.spec import TableSpec
from encfields.expected_arguments import FLAG, require_all


@Operations.register_operation("fill_blind_index")
class FillBlindIndexOp(Operation):
    """Compute the blind indexes of existing rows."""

    verb = "fill_blind_index"

    def __init__(
        self,
        spec: TableSpec,
        indexes: tuple[IndexColumn, ...],
        *,
        reindex: bool,
        queue: bool,
    ) -> None:
        self.spec = spec
        self.indexes = indexes
        self.reindex = reindex
        self.queue = queue

    @classmethod
    def fill_blind_index(
        cls,
        operations: Operations,
        table_name: str,
        indexes: Indexes,
        *,
        columns: Columns = (),
        reindex: bool = False,
        schema: str | None = None,
        queue: bool = False,
        anew: bool = False,
    ) -> None:
        """Compute the blind indexes of rows written without them.

        First add the indexes' columns in an earlier revision, and deploy the application that
        writes them. Until older rows are filled, queries by the index miss them. It works like
        :func:`reencrypt`, and also moves values to the active key version.

        :param table_name: the table.
        :param indexes: columns of blind indexes: names that follow the convention, such as
            ``"ssn_bidx"``, or :class:`IndexColumn` if the name does not say everything.
        :param columns: the encrypted columns that need more than a name, as for :func:`reencrypt`.
        :param reindex: compute the index of every row, and write those that differ: after a change
            of transform, bits, domain or key. Default: only missing ones.
        :param schema: the table's schema.
        :param queue: as for :func:`reencrypt`; :func:`ensure_blind_index` raises until it is done.
        :param anew: former name of `reindex`, kept for existing migrations.
        :raises MigrationError: as :func:`reencrypt`.
        :raises KeyStoreError: a beacon key has no such version, or cannot be fetched.
        """
        require_all(OPTIONS | {"anew": FLAG}, locals())
        spec = TableSpec.of(table_name, columns, schema=schema)
        every_row = reindex or anew
        operations.invoke(cls(spec, index_columns(indexes), reindex=every_row, queue=queue))

    @property
    def whole(self) -> TableSpec:
        """The run's description."""
        return with_indexes(self.spec, self.indexes, reindex=self.reindex)

    def reverse(self) -> NothingOp:
        """Nothing: undoing the revision that added the column removes the index."""
        return NothingOp()

    def arguments(self) -> tuple[Any, ...]:
        return self.spec.schema, self.spec.table, self.indexes, self.spec.columns, self.reindex


@Operations.register_operation("ensure_blind_index")
class EnsureBlindIndexOp(Operation):
    """Fail while rows have a value but no index."""

    verb = "ensure_blind_index"

    def __init__(self, spec: TableSpec, indexes: tuple[IndexColumn, ...]) -> None:
        self.spec = spec
        self.indexes = indexes

    @classmethod
    def ensure_blind_index(
        cls,
        operations: Operations,
        table_name: str,
        indexes: Indexes,
        *,
        schema: str | None = None,
    ) -> None:
        """Fail while any row has a value but no blind index, or a run is still filling one.

        Use it after ``queue=True``, before a revision that relies on the index, such as one that
        drops the index of an older beacon key. It needs no key, and does not check what indexes
        contain.

        :param table_name: the table.
        :param indexes: as :func:`fill_blind_index` had them.
        :param schema: the table's schema.
        :raises UnfinishedError: says how many rows are left.
        """
        require_all(OPTIONS, locals())
        spec = TableSpec.of(table_name, (), schema=schema)
        operations.invoke(cls(spec, index_columns(indexes)))

    @property
    def whole(self) -> TableSpec:
        """The table with its indexes."""
        return with_indexes(self.spec, self.indexes)

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a check has no inverse. Do nothing on a downgrade (`pass`)",
            table=self.spec.table,
            reason="ensure",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.spec.schema, self.spec.table, self.indexes
