"""Stores a batch's values, quarantine and checkpoint in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, StatementError

from encfields.bulk.errors import RowAlteredError
from encfields.bulk.failures import is_lock_wait
from encfields.bulk.row_refusals import refuses_row
from encfields.bulk.rows.row_work import BatchOutcome, RowChange
from encfields.bulk.runs.ranges import RangeStore
from encfields.bulk.runs.run_row import Claim, Counts
from encfields.bulk.writers import writer_for
from encfields.bulk.writers.base import WrittenNames, write_one_by_one

if TYPE_CHECKING:
    from encfields.bulk.connections import Connections
    from encfields.bulk.rows.prepared_job import PreparedJob
    from encfields.bulk.rows.stored_keys import Key

Write = Callable[[Connection, Sequence[RowChange]], int]


class StoredBatch(NamedTuple):
    """A stored batch.

    :param missed: rows left out because they were locked or had changed, or because another
        transaction holds their entry in a unique index. They are counted in the same transaction,
        so that a pass that left a row out never counts as clean.
    :param claim: the range as now stored.
    """

    missed: int
    claim: Claim


class BatchCommit:
    """Stores one worker's batches.

    :param prepared: the run's job. :param connections: the worker's own.
    :param store: the run's ranges. :param lease_seconds: how long each checkpoint renews the lease.
    """

    def __init__(
        self,
        prepared: PreparedJob,
        connections: Connections,
        store: RangeStore,
        lease_seconds: float,
    ) -> None:
        self._connections = connections
        self._store = store
        self._lease_seconds = lease_seconds
        self._writer = writer_for(prepared)
        self._key_names = [column.name for column in prepared.key]
        self._names = WrittenNames(prepared)
        self._writes_indexes = bool(prepared.index_columns)

    def make_ready(self, outcome: BatchOutcome) -> None:
        """Make the statements of an outcome, while another thread may store the one before."""
        if outcome.changes:
            outcome.ready = self._writer.made_ready(outcome.changes)

    def keep(
        self, claim: Claim, outcome: BatchOutcome, waiting: Counts, position: Key | None
    ) -> StoredBatch:
        """Store an outcome in one transaction.

        :param outcome: rows that the database refuses, such as duplicates in a unique index, are
            added to its quarantine.
        :param waiting: counts from earlier batches, not stored yet.
        :param position: the last key done; ``None`` if it has not changed.
        :raises LeaseLostError: another worker has the range.
        """
        try:
            return self._keep_or_refuse(claim, outcome, waiting, position)
        except DBAPIError as error:
            # The transaction that holds an entry of a unique index may be waiting for this
            # batch's rows: release them at once. The next batches shrink, down to that row.
            is_held = self._writes_indexes and is_lock_wait(error)
            if not is_held or len(outcome.changes) != 1:
                raise
        return self._keep(lambda *_: 0, claim, outcome, waiting, position)

    def _keep_or_refuse(
        self, claim: Claim, outcome: BatchOutcome, waiting: Counts, position: Key | None
    ) -> StoredBatch:
        """Store an outcome; find the rows that the database refuses and leave them out."""

        def write_all(connection: Connection, changes: Sequence[RowChange]) -> int:
            return self._writer.write(connection, changes, outcome.ready)

        try:
            return self._keep(write_all, claim, outcome, waiting, position)
        except RowAlteredError:
            pass
        except StatementError as error:
            if not refuses_row(error):
                raise

        def write(connection: Connection, changes: Sequence[RowChange]) -> int:
            # On SQLite only a statement begins a transaction that outlives the savepoint.
            self._store.checkpoint(connection, claim, Counts(), self._lease_seconds)
            return write_one_by_one(self._writer, connection, changes, self._names, outcome)

        return self._keep(write, claim, outcome, waiting, position)

    def _keep(
        self,
        write: Write,
        claim: Claim,
        outcome: BatchOutcome,
        waiting: Counts,
        position: Key | None,
    ) -> StoredBatch:
        refused = len(outcome.refused)
        with self._connections.writing().begin() as begun:
            connection = begun.connection
            written = write(connection, outcome.changes) if outcome.changes else 0
            if outcome.refused:
                self._store.quarantine(connection, claim, self._key_names, outcome.refused)
            missed = len(outcome.changes) - written - (len(outcome.refused) - refused)
            done = Counts(outcome.seen, written, outcome.current, missed, len(outcome.refused))
            claim = self._store.checkpoint(
                connection, claim, waiting + done, self._lease_seconds, position
            )
        return StoredBatch(missed, claim)
