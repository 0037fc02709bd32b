"""Bulk re-encryption of a live table: resumable, shared by workers, without losing an update.

A run reads batches in the order of the primary key, tells by each value's header whether it is
current, opens and seals the others again outside any lock, and writes each batch in one short
transaction that leaves out rows that are locked and values that have changed. Then it sweeps
the table by headers until a sweep finds nothing. All it knows is in the database, so that it
may be killed at any moment, and any number of processes may work at one run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from encfields.bulk.connections import Connections, sync_engine
from encfields.bulk.errors import (
    DatabaseUnavailableError,
    ReencryptionError,
    RunRefusedError,
    UnfinishedError,
)
from encfields.bulk.options import Options
from encfields.bulk.rows.job import Adopted, Conversions, Job
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.runs.coordinator import Coordinator, setup_for
from encfields.bulk.runs.loop import RunLoop
from encfields.bulk.runs.pacing import Patience, TranslatedFailure
from encfields.bulk.runs.progress import Progress, ProgressState
from encfields.bulk.runs.progress_bar import ProgressBar
from encfields.bulk.runs.progress_log import ProgressLog
from encfields.bulk.runs.report import REFUSED, DryRun, Quarantined, Report, Summary
from encfields.bulk.runs.run_row import ABANDONED, FINISHED, RUNNING, Run
from encfields.bulk.runs.sealed_job import JobSealer
from encfields.bulk.runs.signals import stopping_on_signals
from encfields.bulk.runs.store import (
    RunStore,
    create_run_tables,
    new_run,
    require_run_tables,
)
from encfields.bulk.runs.worker import new_owner
from encfields.bulk.runs.worker_setup import require_sendable
from encfields.bulk.survey.surveyor import (
    ConversionSurveyor,
    Survey,
    Surveyor,
    dry_run_of,
    estimated_rows,
)
from encfields.errors import DeclarationError, EncFieldsError, KeyUnavailableError
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


T = TypeVar("T")

_RECORD_TRIES = 3
"""Times that a run is recorded anew because another process recorded or ended one meanwhile."""


class Reencryption:
    """One run over one table.

    :param engine: a plain ``Engine``. The run works on connections of its own, made with this
        engine's connection arguments.
    :param encryption: gives the keys; ``attach()`` made it.
    :param spec: the table and how its values are to be bound.
    :param source: how they are bound now, where that differs: after a rename, a changed identity
        or a changed key id. Values that are bound as `spec` says already are left alone.
    :param to_plaintext: encrypted column to the column that takes its plaintext; nothing is
        sealed then.
    :param conversions: encrypted column to the inner type that wrote its values and the one that
        is to read them, as a job has them.
    :param adopted: encrypted column to the plaintext column that is sealed into it, or, of a run
        that brings plaintext back, that takes what is sealed.
    :param options: how to work.
    :raises DeclarationError: the description is not one of a run.
    :raises ConfigurationError: an ``AsyncEngine``.
    """

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

        It reads the whole table once. What a conversion would do only the values tell: there
        each is opened.

        :raises DeclarationError: the table or a column is missing, or cannot be read in batches.
        :raises KeyStoreError: of a conversion: a key cannot be fetched.
        """
        return dry_run_of(self._survey(), self._options, self._engine.dialect.name)

    @leaves_no_trace
    def record(self) -> str:
        """Write the run down for workers to find; once, however often it is called.

        :returns: the run's id; of a run under way with the same description, that one's.
        :raises ConflictingRunError: a run of another description is working on the table.
        :raises DeclarationError: the table or a column is missing, or cannot be read in batches.
        """
        return self._patiently(self._record)

    def _record(self, own: Connections) -> str:
        prepared = PreparedJob(self._job, own.reading())
        rows = estimated_rows(prepared, own.reading())
        create_run_tables(own.engine)
        sealer = JobSealer(self._encryption, self._options)
        for _ in range(_RECORD_TRIES):
            found = self._store.active(own.reading(), self._job)
            if found is None:
                row = new_run(self._job, rows, sealer)
                with own.writing().begin() as begun:
                    if self._store.insert(begun.connection, row):
                        return str(row["id"])
            elif (run := self._store.load(own.reading(), found)).state == RUNNING:
                sealer.require_same_job(run, self._job)
                return found
        raise ReencryptionError(
            "runs on the table come and go, or one that has ended holds its place: look for it in "
            "encfields_runs, where active is 1, and end it with abandon()",
            table=self._job.table_name,
            reason="conflicting-run",
        )

    @leaves_no_trace
    def run(self, *, progress: Progress | None = None, stop: Event | None = None) -> Report:
        """Record the run if need be and work at it until nothing is left, or `stop` is set.

        SIGINT and SIGTERM stop it after the batch under way. However it ends, the next call,
        from whatever process, goes on where it was.

        :param progress: called about twice a second.
        :param stop: ends the run after the batch under way when set.
        :raises ConflictingRunError: see :meth:`record`.
        :raises TooManyQuarantinedError: so many values do not open that the description is
            likelier wrong.
        :raises KeyStoreError: the keys are out of reach for longer than ``outage_seconds``, or
            access to them is denied.
        :raises DatabaseUnavailableError: the database was, for as long.
        """
        run_id = self._patiently(self._record, stop)
        return _run(self._engine, self._encryption, run_id, self._options, progress, stop)

    @leaves_no_trace
    def ensure(self) -> Summary:
        """See that every value is as a run would have left it, by headers alone.

        Those of a conversion are opened: no header tells which inner type wrote a value.

        :returns: the counts.
        :raises UnfinishedError: some are not, or do not belong where they are, or a row has no
            index of its values.
        :raises KeyStoreError: of a conversion: a key cannot be fetched.
        """
        survey = self._survey()
        if survey.unindexed:
            raise UnfinishedError(
                f"{survey.unindexed} of {survey.rows} rows have values and no blind index of them, "
                "so that queries by it miss them: run `encfields reencrypt`",
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
                f"not open or have no equal of the new type, {rows}: convert once more, and see "
                "to the quarantined values by hand"
            )
        return (
            f"{survey.not_current} values are not current and {survey.unreadable} are no messages "
            f"for their place, {rows}: run `encfields reencrypt`, and see to the quarantined "
            "values by hand"
        )

    def _survey(self) -> Survey:
        def look(own: Connections) -> Survey:
            prepared = PreparedJob(self._job, own.reading())
            if self._job.conversions is not None:
                return ConversionSurveyor(prepared, self._encryption).run(own, self._options)
            return Surveyor(prepared, self._encryption).run(own, self._options)

        return self._patiently(look)

    def _patiently(self, task: Callable[[Connections], T], stop: Event | None = None) -> T:
        return _patiently(self._engine, self._options.outage_seconds, stop, task)


@leaves_no_trace
def work(
    engine: Engine,
    encryption: Encryption,
    *,
    run_id: str | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
    stop: Event | None = None,
) -> list[Report]:
    """Work at runs that were recorded, one after the other: a worker, on any number of hosts.

    :param run_id: work at this run alone; default every run that is under way, but for those that
        write plaintext, bind values anew or take in values under former keys: they are worked at
        by their id, so that nobody who only writes to the database can have one done once more.
    :returns: one report for each run that was found. One that is refused, or cannot go on, has
        its error there, and does not keep the others; a single run's error is raised.
    :raises ConfigurationError: no run was ever recorded in this database, or its run tables were
        made by an earlier version.
    :raises EncFieldsError: as :meth:`Reencryption.run`.
    """
    engine = sync_engine(engine)
    chosen = options or Options()
    store = RunStore()
    stop = stop or Event()

    def find(own: Connections) -> list[str]:
        require_run_tables(own.reading())
        return [run_id] if run_id else store.unfinished(own.reading())

    ids = _patiently(engine, chosen.outage_seconds, stop, find)
    reports = []
    for one in ids:
        if stop.is_set():
            break
        if run_id is not None:
            reports.append(_run(engine, encryption, one, chosen, progress, stop))
        else:
            reports.append(_join(engine, encryption, one, chosen, progress, stop))
    return reports


def _join(
    engine: Engine,
    encryption: Encryption,
    run_id: str,
    options: Options,
    progress: Progress | None,
    stop: Event,
) -> Report:
    """Work at a run that was found; what is the matter with it stops this one alone."""

    def waits_for_its_id(own: Connections) -> bool:
        run = RunStore().load(own.reading(), run_id)
        # Another worker may just have ended it.
        is_open = run.state == RUNNING
        return is_open and JobSealer(encryption, options).open_job(run).job.is_asked_by_id

    try:
        if not _patiently(engine, options.outage_seconds, stop, waits_for_its_id):
            return _run(engine, encryption, run_id, options, progress, stop)
    except DatabaseUnavailableError:
        raise
    except (ReencryptionError, DeclarationError) as error:
        return _stopped(engine, run_id, error)
    waits = (
        "it writes plaintext, or takes in values of other rows, columns or former keys, so it is "
        f"worked at by its id alone: `encfields reencrypt --run {run_id}`"
    )
    return replace(report_of(engine, run_id), error=waits)


def _stopped(engine: Engine, run_id: str, error: EncFieldsError) -> Report:
    """The report of a run that cannot go on."""
    if not isinstance(error, RunRefusedError):
        report = replace(report_of(engine, run_id), error=str(error))
        return report if report.state != RUNNING else replace(report, state=REFUSED)
    return Report(run_id, False, REFUSED, 0, 0, 0, 0, (), 0, 0.0, str(error))


def report_of(
    engine: Engine,
    run_id: str,
    encryption: Encryption | None = None,
    options: Options | None = None,
) -> Report:
    """Where a run stands.

    :param encryption: to see that a worker noted the end that the run's row tells. Without it,
        the report is what the database says.
    :param options: say which key is demanded.
    :raises ReencryptionError: there is no such run.
    :raises RunRefusedError: its row holds what no worker writes.
    """
    sealer = None if encryption is None else JobSealer(encryption, options or Options())
    return _patiently(
        sync_engine(engine), 0.0, None, lambda own: _report(own, run_id, 0.0, None, sealer)
    )


def pause(engine: Engine, run_id: str, *, paused: bool = True) -> None:
    """Let every worker of a run pause, or go on; they look about once a second."""
    store = RunStore()

    def set_flag(own: Connections) -> None:
        with own.writing().begin() as begun:
            store.pause(begun.connection, run_id, paused=paused)

    _patiently(sync_engine(engine), 0.0, None, set_flag)


def abandon(engine: Engine, run_id: str) -> None:
    """End a run that is not to be finished; what it has written stays, and is valid."""
    store = RunStore()

    def end(own: Connections) -> None:
        with own.writing().begin() as begun:
            store.abandon(begun.connection, run_id)

    _patiently(sync_engine(engine), 0.0, None, end)


def _run(
    engine: Engine,
    encryption: Encryption,
    run_id: str,
    options: Options,
    progress: Progress | None,
    stop: Event | None,
) -> Report:
    began = time.monotonic()
    stop = stop or Event()
    with stopping_on_signals(stop):
        if options.workers > 1:
            setup = options.setup or setup_for(engine, encryption)
            require_sendable(options)
            outcome = Coordinator(engine, run_id, options, setup).work(stop, progress)
        else:
            loop = RunLoop(engine, encryption, run_id, new_owner(), options, stop, progress)
            outcome = loop.work()
    seconds = time.monotonic() - began
    sealer = JobSealer(encryption, options)
    return _patiently(
        engine,
        options.outage_seconds,
        None,
        lambda own: _report(own, run_id, seconds, outcome, sealer),
    )


def _report(
    own: Connections,
    run_id: str,
    seconds: float,
    outcome: str | None,
    sealer: JobSealer | None,
) -> Report:
    store = RunStore()
    connection = own.reading()
    run = store.load(connection, run_id)
    if sealer is not None and run.state not in (RUNNING, ABANDONED):
        sealer.require_end(run)
    totals = store.totals(connection, run)
    return Report(
        run_id=run_id,
        finished=run.state == FINISHED,
        state=run.state,
        rows_seen=totals.seen,
        rows_written=totals.written,
        rows_current=totals.current,
        rows_skipped_locked=totals.missed,
        quarantined=_quarantined(own, store, run),
        passes=run.pass_number + 1,
        seconds=seconds,
        error=run.error or outcome,
    )


def _quarantined(own: Connections, store: RunStore, run: Run) -> tuple[Quarantined, ...]:
    return tuple(
        Quarantined(
            run.table_name,
            str(row["column_name"]),
            _readable(row["row_key"]),
            str(row["reason"]),
            str(row["message"]),
        )
        for row in store.quarantined(own.reading(), run)
    )


def _readable(text: Any) -> dict[str, str]:
    """A row's key as it was noted; empty if somebody wrote something else there."""
    try:
        key = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return {str(name): str(value) for name, value in key.items()} if isinstance(key, dict) else {}


def _patiently(
    engine: Engine, seconds: float, stop: Event | None, task: Callable[[Connections], T]
) -> T:
    """Do something that may be done twice, on connections of its own, and wait out an outage.

    A driver's error is put into this library's words, which hold no parameters. A database that is
    read-only is not waited for, as by a run whose database is just being moved: nothing has begun.
    """
    own = Connections(engine)
    stop = stop or Event()
    patience = Patience(seconds, stop)
    try:
        while True:
            try:
                return task(own)
            except (DBAPIError, OSError, KeyUnavailableError) as error:
                failure = TranslatedFailure.of(error)
            if failure.error.reason == "read-only":
                raise failure.error
            if not isinstance(failure.error, KeyUnavailableError):
                own.reset()
            patience.wait(failure)
            if stop.is_set():
                raise failure.error
    finally:
        own.close()
