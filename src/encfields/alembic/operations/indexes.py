"""The operations on blind indexes."""

from __future__ import annotations

from typing import Any

from alembic.operations import MigrateOperation, Operations

from encfields.alembic.descriptions import IndexColumn, Indexes, index_columns, with_indexes
from encfields.alembic.errors import IrreversibleError
from encfields.alembic.operations.base import NothingOp, Operation
from encfields.alembic.operations.values import Columns
from encfields.bulk.rows.spec import TableSpec


@Operations.register_operation("fill_blind_index")
class FillBlindIndexOp(Operation):
    """Compute the blind indexes of rows that are there."""

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
        """Compute the blind indexes of rows that were written before there were any.

        An earlier revision adds the indexes' columns, and the application that writes them is
        deployed; until the rows before are filled, queries by the index miss them. It works as
        :func:`reencrypt` does, and moves values to the active key version on the way.

        :param table_name: the table.
        :param indexes: columns of blind indexes: names that follow the convention, such as
            ``"ssn_bidx"``, or an :class:`IndexColumn` where more is to be said.
        :param columns: the encrypted columns of which more than the name is to be said, as for
            :func:`reencrypt`.
        :param reindex: compute every row's, and write those that are others: after a change of
            transform, bits, domain or key. Default: only where there is none.
        :param schema: the table's schema.
        :param queue: as for :func:`reencrypt`; :func:`ensure_blind_index` refuses until it is
            done.
        :param anew: what `reindex` was called before; migrations that say it go on working.
        :raises MigrationError: as :func:`reencrypt`.
        :raises KeyStoreError: a beacon key has no such version, or cannot be fetched.
        """
        spec = TableSpec.of(table_name, columns, schema=schema)
        every_row = reindex or anew
        operations.invoke(cls(spec, index_columns(indexes), reindex=every_row, queue=queue))

    @property
    def whole(self) -> TableSpec:
        """The run's description."""
        return with_indexes(self.spec, self.indexes, reindex=self.reindex)

    def reverse(self) -> NothingOp:
        """Nothing: what is filled goes when the revision that added its column is undone."""
        return NothingOp()

    def arguments(self) -> tuple[Any, ...]:
        return self.spec.schema, self.spec.table, self.indexes, self.spec.columns, self.reindex


@Operations.register_operation("ensure_blind_index")
class EnsureBlindIndexOp(Operation):
    """Refuse to go on while rows have a value and no index."""

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
        """Refuse while any row has a value and no blind index of it, or a run still fills one.

        The second half of ``queue=True``, before a revision that relies on the index: one that
        drops the index of an older beacon key, for instance. It needs no key, and tells nothing
        of what the indexes hold.

        :param table_name: the table.
        :param indexes: as :func:`fill_blind_index` had them.
        :param schema: the table's schema.
        :raises UnfinishedError: says how many rows are left.
        """
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
