"""Bulk re-encryption of a live table: resumable, shared by workers, without losing an update.

A run reads batches in primary key order and checks each value's header. It opens and reseals the
values that are not current, outside any lock, and writes each batch in one short transaction that
skips locked rows and changed values. Then it sweeps the table by headers until a sweep finds
nothing. All its state is in the database, so it may be killed at any moment, and any number of
processes may work on one run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from encfields.bulk.connections import Connections, sync_engine
from encfields.bulk.errors import (
    ReencryptionError,
    UnfinishedError,
)
from encfields.bulk.expected import ENCRYPTION, OPTIONS, SPEC
from encfields.bulk.options import Options
from encfields.bulk.recorded_runs import T, abandon, patiently, pause, report_of, work, work_on_run
from encfields.bulk.rows.job import Adopted, Conversions, Job
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import require_walkable
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.runs.progress import Progress, ProgressState
from encfields.bulk.runs.progress_display import ProgressBar, ProgressLog
from encfields.bulk.runs.report import DryRun, Quarantined, Report, Summary
from encfields.bulk.runs.run_row import RUNNING
from encfields.bulk.runs.sealed_job import JobSealer
from encfields.bulk.runs.store import (
    RunStore,
    create_run_tables,
    new_run,
)
from encfields.bulk.survey.dry_run import (
    OpeningSurveyor,
    Survey,
    Surveyor,
    dry_run_of,
    estimated_rows,
)
from encfields.expected_arguments import BY_COLUMN, CALLABLE, COLUMN_NAMES, STOP, takes
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from encfields.engine import Encryption

__all__ = [
    "DryRun",
    "Options",
    "Progress",
    "ProgressBar",
    "ProgressLog",
    "ProgressState",
    "Quarantined",
    "Reencryption",
    "Report",
    "Summary",
    "abandon",
    "pause",
    "report_of",
    "work",
]


_RECORD_TRIES = 3
"""Attempts to record a run while other processes record or end theirs."""


class Reencryption:
    """One run over one table.

    :param engine: a plain ``Engine``. The run works on connections of its own, made with this
        engine's connection arguments.
    :param encryption: gives the keys; ``attach()`` made it.
    :param spec: the table and how its values will be bound.
    :param source: how they are bound now, if different: after a rename, a changed identity or a
        changed key id. Values already bound as `spec` says are left alone.
    :param to_plaintext: encrypted column to the column that receives its plaintext; nothing is
        sealed then.
    :param conversions: encrypted column to the inner type that wrote its values and the one that
        will read them, as data.
    :param adopted: encrypted column to the plaintext column that is sealed into it or, with
        ``refill``, restored from it.
    :param options: how to work.
    :raises DeclarationError: the arguments do not describe a valid run.
    :raises ConfigurationError: `engine` is an ``AsyncEngine``.
    """

    @takes(
        encryption=ENCRYPTION,
        spec=SPEC,
        source=SPEC.or_none,
        to_plaintext=COLUMN_NAMES.or_none,
        conversions=BY_COLUMN.or_none,
        adopted=BY_COLUMN.or_none,
        options=OPTIONS.or_none,
    )
    def __init__(
        self,
        engine: Engine,
        encryption: Encryption,
        spec: TableSpec,
        *,
        source: TableSpec | None = None,
        to_plaintext: Mapping[str, str] | None = None,
        conversions: Conversions | None = None,
        adopted: Mapping[str, Adopted] | None = None,
        options: Options | None = None,
    ) -> None:
        self._engine = sync_engine(engine)
        self._encryption = encryption
        self._options = options or Options()
        self._job = Job(spec, source, to_plaintext, conversions, adopted)
        self._store = RunStore()

    @leaves_no_trace
    def dry_run(self) -> DryRun:
        """What a run would do, from headers alone: no key is used, nothing is written.

        It reads the whole table once. For a conversion it opens every value, since headers do not
        tell the inner type.

        :returns: the counts and an estimate of time.

        :raises DeclarationError: the table or a column is missing, or cannot be read in batches.
        :raises KeyStoreError: a conversion needs a key that cannot be fetched.
        """
        return dry_run_of(self._survey(), self._options, self._engine.dialect.name)

    @leaves_no_trace
    def record(self) -> str:
        """Record the run for workers to find. Repeated calls record it once.

        :returns: the run's id; that of the run under way if it has the same description.
        :raises ConflictingRunError: a run with another description is working on the table.
        :raises DeclarationError: the table or a column is missing, or cannot be read in batches.
        """
        return self._patiently(self._record)

    def _record(self, own: Connections) -> str:
        prepared = PreparedJob(self._job, own.reading())
        require_walkable(prepared, own.reading())
        rows = estimated_rows(prepared, own.reading())
        create_run_tables(own.engine)
        sealer = JobSealer(self._encryption, self._options)
        for _ in range(_RECORD_TRIES):
            active = self._store.active(own.reading(), self._job)
            if active is None:
                row = new_run(self._job, rows, sealer)
                with own.writing().begin() as begun:
                    if self._store.insert(begun.connection, row):
                        return str(row["id"])
            elif (run := self._store.load(own.reading(), active)).state == RUNNING:
                sealer.require_same_job(run, self._job)
                return active
        raise ReencryptionError(
            "other runs on the table keep starting and ending, or one that ended is still marked "
            "as active: look in encfields_runs for active = 1, and end that run with abandon()",
            table=self._job.table_name,
            reason="conflicting-run",
        )

    @leaves_no_trace
    @takes(progress=CALLABLE.or_none, stop=STOP.or_none)
    def run(self, *, progress: Progress | None = None, stop: Event | None = None) -> Report:
        """Record the run if needed and work on it until nothing is left, or `stop` is set.

        SIGINT and SIGTERM stop it after the current batch. However it ends, the next call, from
        any process, continues where it stopped.

        :param progress: called about twice a second with a :class:`ProgressState`.
        :param stop: set it to end the run after the current batch.
        :returns: the run's report, over all its workers.
        :raises ConflictingRunError: see :meth:`record`.
        :raises TooManyQuarantinedError: more than ``max_quarantined`` values do not open.
        :raises KeyStoreError: keys are unreachable for longer than ``outage_seconds``, or access is
            denied.
        :raises DatabaseUnavailableError: the database is unreachable for longer than that.
        """
        engine, options, own = self._engine, self._options, Connections(self._engine)
        try:
            run_id = patiently(engine, options.outage_seconds, stop, self._record, own)
            return work_on_run(engine, self._encryption, run_id, options, progress, stop, own)
        finally:
            own.close()

    @leaves_no_trace
    def ensure(self) -> Summary:
        """Check by headers that every value is as a run would leave it.

        Values are opened for a conversion, since no header tells the inner type, and for a run to
        plaintext, to compare them with the plaintext column.

        :returns: the counts.
        :raises UnfinishedError: a value is not current or is misplaced, or a row lacks
            a blind index.
        :raises KeyStoreError: a value had to be opened and its key cannot be fetched.
        """
        survey = self._survey(opens=self._job.to_plaintext is not None)
        if survey.unindexed:
            raise UnfinishedError(
                f"{survey.unindexed} of {survey.rows} rows have a value but no blind index, so "
                "queries by the index miss them: run `encfields reencrypt`",
                table=self._job.table_name,
                reason="unindexed",
            )
        if survey.not_current or survey.unreadable:
            raise UnfinishedError(
                self._left_over(survey), table=self._job.table_name, reason="unfinished"
            )
        return survey.summary()

    def _left_over(self, survey: Survey) -> str:
        rows = f"of {survey.rows} rows"
        if self._job.conversions is not None:
            return (
                f"{survey.not_current} values are yet to be converted and {survey.unreadable} do "
                f"not open or have no equivalent in the new type, {rows}: convert again, and "
                "correct the quarantined values by hand"
            )
        if self._job.to_plaintext is not None:
            return (
                f"{survey.not_current} values are not in the plaintext column, or differ from it, "
                f"and {survey.unreadable} do not open, {rows}: run it again, and correct the "
                "quarantined values by hand"
            )
        return (
            f"{survey.not_current} values are not current and {survey.unreadable} are not messages "
            f"for their place, {rows}: run `encfields reencrypt`, and correct the quarantined "
            "values by hand"
        )

    def _survey(self, *, opens: bool = False) -> Survey:
        def look(own: Connections) -> Survey:
            prepared = PreparedJob(self._job, own.reading())
            if opens or self._job.conversions is not None:
                return OpeningSurveyor(prepared, self._encryption).run(own, self._options)
            return Surveyor(prepared, self._encryption).run(own, self._options)

        return self._patiently(look)

    def _patiently(self, task: Callable[[Connections], T]) -> T:
        return patiently(self._engine, self._options.outage_seconds, None, task)
