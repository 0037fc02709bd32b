"""Operations on blind indexes, and on the beacon keys that they are made under, as data."""

from __future__ import annotations

from typing import Any

from alembic.operations import MigrateOperation, Operations

from encfields.alembic.errors import IrreversibleError
from encfields.alembic.index_column import IndexColumn, Indexes, index_columns, with_indexes
from encfields.alembic.operations import Columns, Operation
from encfields.reencrypt.spec import TableSpec


@Operations.register_operation("fill_blind_index")
class FillBlindIndexOp(Operation):
    """Compute the blind indexes of rows that are there."""

    verb = "fill_blind_index"

    def __init__(
        self,
        spec: TableSpec,
        indexes: tuple[IndexColumn, ...],
        *,
        anew: bool,
        queue: bool,
    ) -> None:
        self.spec = spec
        self.indexes = indexes
        self.anew = anew
        self.queue = queue

    @classmethod
    def fill_blind_index(
        cls,
        operations: Operations,
        table_name: str,
        indexes: Indexes,
        *,
        columns: Columns = (),
        anew: bool = False,
        schema: str | None = None,
        queue: bool = False,
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
        :param anew: compute every row's, and write those that are others: after a change of
            transform, bits, domain or key. Default: only where there is none.
        :param schema: the table's schema.
        :param queue: as for :func:`reencrypt`; :func:`ensure_blind_index` refuses until it is
            done.
        :raises MigrationError: as :func:`reencrypt`.
        :raises KeyStoreError: a beacon key has no such version, or cannot be had.
        """
        spec = TableSpec.of(table_name, columns, schema=schema)
        operations.invoke(cls(spec, index_columns(indexes), anew=anew, queue=queue))

    @property
    def whole(self) -> TableSpec:
        """The run's description."""
        return with_indexes(self.spec, self.indexes, anew=self.anew)

    def reverse(self) -> NothingOp:
        """Nothing: what is filled goes when the revision that added its column is undone."""
        return NothingOp()

    def arguments(self) -> tuple[Any, ...]:
        return self.spec.schema, self.spec.table, self.indexes, self.spec.columns, self.anew


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


@Operations.register_operation("rotate_beacon_key")
class RotateBeaconKeyOp(Operation):
    """Make a second version of a beacon key."""

    verb = "rotate_beacon_key"

    def __init__(self, key_id: str, version: int | None) -> None:
        self.key_id = key_id
        self.version = version

    @classmethod
    def rotate_beacon_key(
        cls, operations: Operations, key_id: str = "default", version: int | None = None
    ) -> None:
        """Make a second version of the beacon key that a branch key's indexes are made under.

        The first of these steps, each of which the application can run with:

        1. this, in a revision of its own;
        2. declare ``BlindIndex(versions=(1, 2))``: autogenerate adds the second column;
        3. deploy that everywhere, and :func:`fill_blind_index` the second column;
        4. declare ``BlindIndex(versions=(2,))``: autogenerate drops the first column;
        5. :func:`retire_beacon_key`.

        :param key_id: the branch key.
        :param version: the number that is made, one more than the newest. A revision that is run
            again, or on a database made anew, then finds it there, and does nothing.
        :raises MigrationError: something preceded it in the revision's transaction, or the key's
            newest version has a number that does not lead to `version`.
        :raises ConfigurationError: the key has two beacon keys already, or its store allows one.
        :raises KeyStoreError: there is no such key, or KMS or the database is out of reach.
        """
        operations.invoke(cls(key_id, version))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a rotation is not undone: rows may be indexed under the new version already. Do "
            "nothing on a downgrade (`pass`)",
            key_id=self.key_id,
            reason="rotate-beacon",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.key_id, self.version


@Operations.register_operation("retire_beacon_key")
class RetireBeaconKeyOp(Operation):
    """Wipe the older of two versions of a beacon key."""

    verb = "retire_beacon_key"

    def __init__(self, key_id: str, version: int, except_columns: tuple[str, ...]) -> None:
        self.key_id = key_id
        self.version = version
        self.except_columns = except_columns

    @classmethod
    def retire_beacon_key(
        cls,
        operations: Operations,
        key_id: str,
        version: int,
        *,
        except_columns: tuple[str, ...] = (),
    ) -> None:
        """Wipe the older of two versions of a beacon key, when no index is made under it any more.

        Refused while the database holds a column that is named as an index under that version is,
        or the application declares one. Columns of indexes that are declared under another key do
        not count. The database of the migration is looked at, and no other that may use the key.

        :param key_id: the branch key.
        :param version: the number of the version.
        :param except_columns: ``"table.column"`` (with the schema where there is one) of columns
            that are named so and belong to another key, or to no index at all.
        :raises MigrationError: there is such a column; or something preceded the operation in the
            revision's transaction.
        :raises ConfigurationError: it is the newest version.
        :raises KeyStoreError: there is no such key, or the store is out of reach.
        """
        operations.invoke(cls(key_id, version, tuple(except_columns)))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a version that was wiped cannot be brought back: what the downgrade makes under it "
            "stays empty, and has to be made under the newer one. Do nothing on a downgrade "
            "(`pass`)",
            key_id=self.key_id,
            reason="retire-beacon",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.key_id, self.version, self.except_columns


class PostponedFillOp(Operation):
    """The filling of an index whose column this revision only makes.

    A comment in the migration, with the operation for a revision of its own.
    """

    verb = "encfields_postponed_fill"

    def __init__(self, fill: FillBlindIndexOp) -> None:
        self.fill = fill

    def reverse(self) -> NothingOp:
        return NothingOp()

    def arguments(self) -> tuple[Any, ...]:
        return self.fill.arguments()


class NothingOp(Operation):
    """The inverse of what is left as it is by a downgrade."""

    verb = "encfields_nothing"

    def reverse(self) -> NothingOp:
        return self

    def arguments(self) -> tuple[Any, ...]:
        return ()
