"""One worker, which works through ranges of a run batch by batch."""

from __future__ import annotations

import os
import socket
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from encfields.bulk.connections import Connections
from encfields.bulk.errors import LeaseLostError, TooManyQuarantinedError
from encfields.bulk.failures import Patience, TranslatedFailure, translated
from encfields.bulk.options import Options
from encfields.bulk.rows.job import ADOPT, REFILL
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.plaintext import Adopt, Refill, ToPlaintext
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import FIRST_ROWS, BatchReader
from encfields.bulk.rows.reseal import Reseal
from encfields.bulk.rows.reseal_and_index import Convert, ResealAndIndex
from encfields.bulk.rows.row_work import BatchOutcome, RowWork
from encfields.bulk.rows.stored_keys import Key
from encfields.bulk.runs.batch_commit import BatchCommit
from encfields.bulk.runs.pacing import Throttle
from encfields.bulk.runs.progress import ProgressReporter
from encfields.bulk.runs.ranges import RangeStore
from encfields.bulk.runs.run_row import FAILED, RUNNING, Claim, Counts, read_run
from encfields.bulk.runs.sealed_job import JobSealer
from encfields.bulk.runs.store import RunStore
from encfields.bulk.survey.sweep import Sweep, sweep_of
from encfields.errors import KeyUnavailableError

if TYPE_CHECKING:
    from encfields.engine import Encryption

_SWEEP_CHECKPOINT_SECONDS = 1.0
"""Seconds of a clean sweep that a crash may cost."""

_HEADERS_WEIGHT = 0.1
"""The weight of a row of which only headers are read, for the pace."""


class _UnfinishedPart(NamedTuple):
    """Part of a range in which a sweep found work, to be read with whole values."""

    left: Bounds
    ends_range: bool


class _BatchBeingWritten(NamedTuple):
    """A batch being written while the next one is encrypted."""

    future: Future[int]
    outcome: BatchOutcome
    rows: int
    bounds: Bounds


def new_owner() -> str:
    """A unique, readable name for a worker."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Worker:
    """Works through claimed ranges of one run.

    While one batch is encrypted and its statements are made, a thread writes the previous one.
    Writes happen one at a time, in order; everything else that writes waits for the thread.

    :param prepared: the run's job. :param encryption: gives the keys.
    :param connections: this worker's own. :param store: the run's ranges.
    :param sealer: seals the run's end.
    :param stop: when set, the worker releases its range after the current batch.
    :param reporter: reports progress.
    """

    def __init__(
        self,
        prepared: PreparedJob,
        encryption: Encryption,
        connections: Connections,
        store: RangeStore,
        sealer: JobSealer,
        options: Options,
        stop: Event,
        reporter: ProgressReporter,
    ) -> None:
        self._options = options
        self._connections = connections
        self._store = store
        self._sealer = sealer
        self._stop = stop
        self._reporter = reporter
        self._row_work = row_work_of(prepared, encryption)
        self._batch_commit = BatchCommit(prepared, connections, store, options.lease_seconds)
        self._reader = BatchReader(prepared)
        self._sweep: Sweep | None = None
        if self._row_work.sweeps_by_header:
            self._sweep = sweep_of(prepared, encryption, self._row_work, options.range_rows)
        self._unfinished: _UnfinishedPart | None = None
        self._throttle = Throttle(options, stop, prepared)
        self._batch_rows = min(FIRST_ROWS, options.batch_rows)
        self._claim: Claim
        self._bounds: Bounds
        self._counts = Counts()
        self._saved = 0.0
        self._pending: _BatchBeingWritten | None = None
        self._batches_written = 0
        self._writing_thread: ThreadPoolExecutor | None = None
        if connections.may_overlap:
            self._writing_thread = ThreadPoolExecutor(1, "encfields-write")

    def close(self) -> None:
        """End the writing thread."""
        self._forget_pending()
        if self._writing_thread is not None:
            self._writing_thread.shutdown()

    def work_through(self, claim: Claim) -> None:
        """Work through a range, or release it when stopped.

        :raises EncFieldsError: it cannot continue; the range was released.
        """
        self._claim, self._bounds, self._unfinished = claim, claim.bounds, None
        self._counts, self._saved = Counts(), time.monotonic()
        patience = Patience(self._options.outage_seconds, self._stop, self._connections.address)
        position_is_unknown = False
        while True:
            failure = None
            try:
                if self._stop.is_set():
                    self._await_write()
                    self._release_range(None)
                    return
                if position_is_unknown:
                    self._claim = self._store.position(self._connections.reading(), self._claim)
                    self._bounds = self._claim.bounds
                    self._unfinished, position_is_unknown = None, False
                written_before = self._batches_written
                if self._step():
                    return
                # A batch handed to the writing thread does not show that the outage is over.
                if self._pending is None or self._batches_written > written_before:
                    patience.over()
            except LeaseLostError:
                self._forget_pending()
                return
            except (SQLAlchemyError, KeyUnavailableError, OSError) as error:
                failure = TranslatedFailure.of(error)
            except BaseException as error:
                self._release_range(error)
                raise
            if failure is not None:
                position_is_unknown = True
                self._recover(failure, patience)

    def _recover(self, failure: TranslatedFailure, patience: Patience) -> None:
        """Wait out a failure; uncommitted work is done again.

        The range's row tells whether a failed COMMIT took effect.
        """
        self._counts = Counts()
        self._batch_rows = max(1, self._batch_rows // 2)
        self._forget_pending()
        try:
            if isinstance(failure.error, KeyUnavailableError):
                with suppress(LeaseLostError):  # checked again before the next batch
                    self._renew_lease()
            else:
                self._connections.reset()
            patience.wait(failure)
        except BaseException:
            self._release_range(failure.error)
            raise

    def _release_range(self, error: BaseException | None) -> None:
        self._forget_pending()
        text = str(translated(error)) if isinstance(error, Exception) else None
        with suppress(SQLAlchemyError, OSError), self._connections.writing().begin() as begun:
            if error is None and self._counts:
                with suppress(LeaseLostError):
                    self._claim = self._checkpoint(begun.connection, self._bounds.after)
            self._store.release(begun.connection, self._claim, text)

    def _renew_lease(self) -> None:
        with suppress(SQLAlchemyError, OSError), self._connections.writing().begin() as begun:
            self._store.checkpoint(
                begun.connection, self._claim, Counts(), self._options.lease_seconds
            )

    def _step(self) -> bool:
        """Do one batch; return whether the range is done."""
        began = time.monotonic()
        if self._sweep is None or self._claim.pass_number == 0:
            weight = float(self._batch(self._bounds))
            ended = not weight
        elif self._unfinished is not None:
            weight, ended = self._work_unfinished(self._unfinished)
        else:
            weight, ended = self._sweep_batch(self._sweep)
        if ended:
            self._await_write()
            with self._connections.writing().begin() as begun:
                lease = self._options.lease_seconds
                self._store.checkpoint(
                    begun.connection, self._claim, self._counts, lease, done=True
                )
            return True
        self._throttle.pace(weight, time.monotonic() - began)
        self._pause()
        return False

    def _batch(self, part: Bounds) -> int:
        """Work on the first rows of a part; return how many there were."""
        rows = self._reader.read(self._connections.reading(), part, self._batch_rows)
        if rows:
            self._resize_batch(self._reader.size_of(rows), len(rows))
            self._rewrite(rows, Bounds(part.after, self._reader.key_of(rows[-1])))
        return len(rows)

    def _sweep_batch(self, sweep: Sweep) -> tuple[float, bool]:
        """Sweep some rows; return their weight, and whether the range is done."""
        connection, limit = self._connections.reading(), self._options.batch_rows
        looked = sweep.look(connection, self._bounds, limit)
        if looked.is_clean:
            self._skip(looked.rows, looked.upto)
            return looked.rows * _HEADERS_WEIGHT, looked.upto is None
        upto = self._bounds.upto if looked.upto is None else looked.upto
        self._unfinished = _UnfinishedPart(Bounds(self._bounds.after, upto), looked.upto is None)
        return 0.0, False

    def _work_unfinished(self, part: _UnfinishedPart) -> tuple[float, bool]:
        """Do a batch of what a sweep found; returns the same as :meth:`_sweep_batch`."""
        rows = self._batch(part.left)
        if rows:
            left = Bounds(self._bounds.after, part.left.upto)
            self._unfinished = part._replace(left=left)
            return float(rows), False
        self._unfinished = None
        self._await_write()
        if self._bounds.after != part.left.upto:  # its last rows were deleted
            self._skip(0, part.left.upto)
        return 0.0, part.ends_range

    def _resize_batch(self, size: int, rows: int) -> None:
        """Size the next batch to about ``batch_bytes``."""
        wanted = self._options.batch_bytes * rows // max(size, 1)
        self._batch_rows = max(1, min(self._options.batch_rows, wanted, 10 * max(rows, 10)))

    def _skip(self, rows: int, last: Key | None) -> None:
        """Skip rows that need no work; record a checkpoint now and then.

        :param last: the last of these rows; ``None`` at the end of the range.
        """
        self._counts.seen += rows
        self._counts.current += rows
        if last is None:
            return
        self._bounds = Bounds(last, self._bounds.upto)
        if time.monotonic() - self._saved >= _SWEEP_CHECKPOINT_SECONDS:
            with self._connections.writing().begin() as begun:
                claim = self._checkpoint(begun.connection, last)
            self._claim, self._counts, self._saved = claim, Counts(), time.monotonic()

    def _rewrite(self, rows: Any, bounds: Bounds) -> None:
        """Work on rows, and store the outcome with the new position."""
        outcome = self._row_work.outcome_of(rows, self._reader)
        if self._pending is not None:
            self._batch_commit.make_ready(outcome)
        self._await_write()
        if self._writing_thread is None:
            self._finish_batch(self._store_batch(outcome, bounds.upto), outcome, len(rows), bounds)
        else:
            future = self._writing_thread.submit(self._store_batch, outcome, bounds.upto)
            self._pending = _BatchBeingWritten(future, outcome, len(rows), bounds)
        self._bounds = Bounds(bounds.upto, self._bounds.upto)

    def _await_write(self) -> None:
        """Wait until the pending batch is written."""
        pending, self._pending = self._pending, None
        if pending is not None:
            missed = pending.future.result()
            self._batches_written += 1
            self._finish_batch(missed, pending.outcome, pending.rows, pending.bounds)

    def _forget_pending(self) -> None:
        """Wait for the pending batch, ignoring errors: the range's row tells the result."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.future.exception()

    def _finish_batch(self, missed: int, outcome: BatchOutcome, rows: int, bounds: Bounds) -> None:
        """Retry rows that were left out, a few times; sweeps find the rest."""
        if outcome.refused:
            self._refuse_too_many()
        for attempt in range(self._options.retries):
            if not missed or self._stop.wait(0.02 * 2**attempt):
                return
            again = self._reader.read(self._connections.reading(), bounds, 2 * rows)
            # They were counted and quarantined the first time.
            changes = self._row_work.outcome_of(again, self._reader).changes
            missed = self._store_batch(BatchOutcome(changes=changes), None) if changes else 0

    def _store_batch(self, outcome: BatchOutcome, position: Key | None) -> int:
        """Store an outcome in one transaction; return how many rows were left out."""
        kept = self._batch_commit.keep(self._claim, outcome, self._counts, position)
        self._claim, self._counts, self._saved = kept.claim, Counts(), time.monotonic()
        return kept.missed

    def _checkpoint(self, connection: Connection, position: Key | None) -> Claim:
        return self._store.checkpoint(
            connection, self._claim, self._counts, self._options.lease_seconds, position
        )

    def _refuse_too_many(self) -> None:
        connection = self._connections.reading()
        run = read_run(connection, self._claim.run_id)
        refused = self._store.read_pass(connection, run).counts.refused
        if refused > self._options.max_quarantined:
            refused -= RunStore().under_failing_keys(connection, run)
        if refused <= self._options.max_quarantined:
            return
        error = TooManyQuarantinedError(
            f"{refused} values do not open as described, more than "
            f"max_quarantined={self._options.max_quarantined}. Check the description (logical "
            "names, keys, bind_to) and the key store first. None of these values was changed",
            table=run.table_name,
            reason="too-many-quarantined",
        )
        sealed_end = self._sealer.seal_end(run, FAILED, error.message)
        with self._connections.writing().begin() as begun:
            self._store.end(begun.connection, run, FAILED, sealed_end, error.message)
        raise error

    def _pause(self) -> None:
        """Report progress, and wait while the run is paused."""
        while True:
            reason = self._throttle.hold(self._why_paused, self._connections.reading)
            self._reporter.paused = reason
            if self._reporter.is_due:
                connection = self._connections.reading()
                run = read_run(connection, self._claim.run_id)
                self._reporter.report(run, RunStore().totals(connection, run))
            if reason is None or self._stop.wait(self._options.check_seconds):
                return
            self._await_write()
            self._renew_lease()

    def _why_paused(self, connection: Connection) -> str | None:
        run = read_run(connection, self._claim.run_id)
        if run.state != RUNNING:
            raise LeaseLostError  # somebody ended the run during this range
        return "the run is set to pause" if run.paused else None


def row_work_of(prepared: PreparedJob, encryption: Encryption) -> RowWork:
    """The job's :class:`~encfields.bulk.rows.row_work.RowWork`."""
    if prepared.job.to_plaintext is not None:
        return ToPlaintext(prepared, encryption)
    if prepared.job.kind == REFILL:
        return Refill(prepared, encryption)
    if prepared.job.kind == ADOPT:
        return Adopt(prepared, encryption)
    if prepared.job.conversions is not None:
        return Convert(prepared, encryption)
    if prepared.index_columns:
        return ResealAndIndex(prepared, encryption)
    return Reseal(prepared, encryption)
