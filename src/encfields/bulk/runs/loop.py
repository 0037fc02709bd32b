"""One process's work on a run: ranges until none is left, then sweeps until one is clean."""

from __future__ import annotations

import datetime as dt
from threading import Event
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from encfields.bulk.connections import Connections
from encfields.bulk.errors import ReencryptionError
from encfields.bulk.failures import Patience, TranslatedFailure
from encfields.bulk.options import Options
from encfields.bulk.rows.catalog import refuse_hidden_rows
from encfields.bulk.rows.job import ADOPT, REFILL, Job
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import key_at
from encfields.bulk.rows.stored_keys import Key
from encfields.bulk.runs.garbage_collection import fewer_collections
from encfields.bulk.runs.progress import Progress, ProgressReporter
from encfields.bulk.runs.ranges import Pass, RangeStore
from encfields.bulk.runs.run_row import ABANDONED, FINISHED, QUARANTINED, RUNNING, Claim, Run
from encfields.bulk.runs.sealed_job import JobSealer, OpenedRun
from encfields.bulk.runs.store import RunStore, utc_now
from encfields.bulk.runs.worker import Worker
from encfields.engine import engine_encryption
from encfields.errors import KeyUnavailableError
from encfields.keys.fetching.switch_interval import short_switch_interval

if TYPE_CHECKING:
    from encfields.engine import Encryption

_WAIT_FOR_OTHERS = 0.2
"""Seconds between two checks for ranges that other workers gave up."""

_SWITCH_SECONDS = 0.001
"""Interpreter switch interval, so that the writing thread continues soon after the database
answers. At the default of 5 ms it waits for the encrypting thread several times per batch, which
cost a sixth of a run's time."""

STALLED = (
    "every sweep still found values to rewrite: the application writes them faster than sweeps "
    "finish, holds rows locked, or still seals under the previous key version in some process "
    "(until its cache_ttl is over). Start the run again later. If that does not help, look for "
    "what changes the rows back, such as a deferred trigger or a job"
)

OUTPACED = {
    ADOPT: (
        "every sweep still found rows that have only plaintext: processes that do not know the "
        "encrypted column, or statements that cannot be sealed (`encryption.stats.adoption` names "
        "them), write them faster than sweeps finish. What was sealed stays, and the run has "
        'ended. Deploy the phase "write-both" or "read-sealed" everywhere, and adopt once more '
        "when no older process is left"
    ),
    REFILL: (
        "every sweep still found rows without plaintext: a process is still in the phase "
        '"write-sealed". What was written stays, and the run has ended. Deploy "read-sealed" '
        "everywhere, and run refill_plaintext again"
    ),
}
"""By kind of job, why the application can undo its work for as long as it likes. Such a run ends,
for other runs may be due before the deployment that it waits for, and it would start over."""

ALTERED = (
    "in every sweep, ranges recorded by its workers were altered or removed, so parts of the "
    "table may not have been checked. Find out who writes to encfields_ranges, and start the run "
    "again"
)


class RunLoop:
    """One process's work on a run.

    :param connections: apart from the application's; the caller closes them.
    :param run_id: the run. :param owner: this worker's name.
    """

    def __init__(
        self,
        connections: Connections,
        encryption: Encryption,
        run_id: str,
        owner: str,
        options: Options,
        stop: Event,
        progress: Progress | None = None,
    ) -> None:
        self._encryption = encryption
        self._run_id = run_id
        self._owner = owner
        self._options = options
        self._stop = stop
        self._reporter = ProgressReporter(progress)
        self._connections = connections
        self._store = RunStore()
        self._sealer = JobSealer(encryption, options)
        self._began = utc_now()
        self._opened: OpenedRun | None = None
        self._ranges: RangeStore
        self._prepared: PreparedJob
        self._worker: Worker | None = None
        self._pass: int | None = None
        self._sweeps = 0
        self._may_hold_a_range = False

    def work(self) -> str | None:
        """Work until the run has ended, nothing is left to do, or `stop` is set.

        :returns: why the run has not ended, unless it was stopped.
        :raises EncFieldsError: it cannot continue.
        """
        with short_switch_interval(_SWITCH_SECONDS), fewer_collections():
            try:
                return self._work()
            finally:
                if self._worker is not None:
                    self._worker.close()

    def _work(self) -> str | None:
        patience = Patience(self._options.outage_seconds, self._stop, self._connections.address)
        while not self._stop.is_set():
            failure = None
            try:
                claim, outcome = self._next_step()
            except (SQLAlchemyError, OSError, KeyUnavailableError) as error:
                failure = TranslatedFailure.of(error)
            if failure is not None:
                self._connections.reset()
                self._may_hold_a_range = True
                patience.wait(failure)
                continue
            patience.over()
            if outcome is not None:
                return outcome or None
            if claim is not None and self._worker is not None:
                self._worker.work_through(claim)
        return None

    def _next_step(self) -> tuple[Claim | None, str | None]:
        """A range to work on; or the run's outcome (an empty text for success); or neither yet."""
        run = self._store.load(self._connections.reading(), self._run_id)
        if run.state != RUNNING:
            if run.state != ABANDONED:
                self._sealer.require_end(run)
            return None, ""
        opened = self._open(run)
        if self._may_hold_a_range:
            self._release()
        self._prepare(run, opened.job)
        self._require_same_key(run.frontier)
        claim = self._claim_range(run)
        if claim is not None:
            self._require_same_key(*claim.bounds)
        if claim is None and run.frontier_done:
            return None, self._end_pass(run)
        return claim, None

    def _open(self, run: Run) -> OpenedRun:
        """Open the run's job once, and check each time that a worker wrote the run's progress.

        :raises RunRefusedError: somebody else wrote it.
        """
        if self._opened is None:
            self._opened = self._sealer.open_job(run)
            self._ranges = RangeStore(self._connections.dialect.name, self._opened)
        run.require_seal(self._opened.seals)
        return self._opened

    def _release(self) -> None:
        """Release a range whose COMMIT got no answer; others would wait for our lease to end."""
        with self._connections.writing().begin() as begun:
            self._store.release_all(begun.connection, self._owner)
        self._may_hold_a_range = False

    def _prepare(self, run: Run, job: Job) -> None:
        """Reflect the table, and look up the active key versions at each pass."""
        if self._worker is None:
            self._prepared = PreparedJob(
                job, self._connections.reading(), self._options.declared_types
            )
            if self._prepared.is_ordinary:
                self._connections.read_binary()
            self._worker = Worker(
                self._prepared,
                self._encryption,
                self._connections,
                self._ranges,
                self._sealer,
                self._options,
                self._stop,
                self._reporter,
            )
        if run.pass_number != self._pass:
            forget_active_versions(self._encryption)
            self._pass = run.pass_number

    def _require_same_key(self, *noted: Key | None) -> None:
        """See that the run's position is one in the table's key as it is now.

        :raises ReencryptionError: the primary key has other columns since.
        """
        if any(key is not None and len(key) != len(self._prepared.key) for key in noted):
            raise ReencryptionError(
                "the table's primary key has other columns than when the run began, so it cannot "
                "continue where it stopped: end it with abandon(), and start another run",
                table=self._prepared.job.table_name,
                reason="primary-key",
            )

    def _claim_range(self, run: Run) -> Claim | None:
        """A range to work on: one that a worker gave up, or the next new one."""
        seconds = self._options.lease_seconds
        with self._connections.writing().begin() as begun:
            claim = self._ranges.claim(begun.connection, run, self._owner, seconds)
        if claim is not None or run.frontier_done:
            return claim
        upper = self._end_of_next_range(run)
        with self._connections.writing().begin() as begun:
            # None if another worker cut the same range first.
            return self._ranges.claim_new(begun.connection, run, upper, self._owner, seconds)

    def _end_of_next_range(self, run: Run) -> Key | None:
        """Where the next range ends; ``None`` at the table's end."""
        reading = self._connections.reading()
        # Finding a key so many rows further means reading them, so a sweep reuses these ranges.
        upper = self._ranges.end_in_previous_pass(reading, run) if run.pass_number else None
        if upper is not None:
            return upper
        rest = Bounds(run.frontier, None)
        end: Key | None = key_at(self._prepared, reading, rest, self._options.range_rows)
        return end

    def _end_pass(self, run: Run) -> str | None:
        """Begin another pass or end the run, if no range is left; ``None`` to continue."""
        noted = self._ranges.read_pass(self._connections.reading(), run)
        # Always report the end of a pass.
        if self._reporter.is_due or (self._reporter.is_wanted and not noted.is_open):
            self._reporter.report(run, self._store.totals(self._connections.reading(), run))
        if noted.is_open:
            self._stop.wait(_WAIT_FOR_OTHERS)
            return None
        if (
            run.pass_number > 0
            and noted.is_whole
            and not noted.found_work
            and self._began_after_joining(run)
        ):
            self._end(run, noted)
            return ""
        if self._sweeps >= self._options.max_sweeps:
            return self._give_up() if noted.is_whole else ALTERED
        if run.pass_number > 0 and self._stop.wait(min(0.1 * 2**self._sweeps, 10.0)):
            return None
        with self._connections.writing().begin() as begun:
            self._ranges.next_pass(begun.connection, run)
        self._sweeps += 1
        return None

    def _give_up(self) -> str:
        """Why the sweeps find work without an end. No other worker will fare better."""
        outpaced = OUTPACED.get(self._prepared.job.kind)
        if outpaced is None:
            return STALLED
        with self._connections.writing().begin() as begun:
            self._store.abandon(begun.connection, self._run_id)
        return outpaced

    def _began_after_joining(self, run: Run) -> bool:
        """Whether the pass began after this process joined the run.

        The records of an earlier pass were true then, but somebody may have restored them since.
        """
        return dt.datetime.fromisoformat(run.progress.begun) >= self._began

    def _end(self, run: Run, noted: Pass) -> None:
        # A policy created since the run began may have hidden rows.
        refuse_hidden_rows(self._prepared.table, self._connections.reading())
        state = QUARANTINED if noted.counts.refused else FINISHED
        sealed_end = self._sealer.seal_end(run, state, None)
        with self._connections.writing().begin() as begun:
            self._ranges.end(begun.connection, run, state, sealed_end)


def forget_active_versions(encryption: Encryption) -> None:
    """Drop cached active versions: another process may have rotated a key.

    :raises KeyStoreError: the key store is unreachable.
    """
    cache = engine_encryption(encryption).cache
    for key_id in {version.id for version in encryption.keys.list()}:
        cache.forget(key_id, active_only=True)
