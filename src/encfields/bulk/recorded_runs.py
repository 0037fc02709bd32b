"""Runs that are recorded in the database, by their ids: work at them, pause, abandon, report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
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
)
from encfields.bulk.failures import Patience, TranslatedFailure
from encfields.bulk.options import Options
from encfields.bulk.runs.coordinator import Coordinator, setup_for
from encfields.bulk.runs.loop import RunLoop
from encfields.bulk.runs.progress import Progress
from encfields.bulk.runs.report import REFUSED, Quarantined, Report
from encfields.bulk.runs.run_row import ABANDONED, FINISHED, RUNNING, Run
from encfields.bulk.runs.sealed_job import JobSealer
from encfields.bulk.runs.signals import stopping_on_signals
from encfields.bulk.runs.store import (
    RunStore,
    require_run,
    require_run_tables,
)
from encfields.bulk.runs.worker import new_owner
from encfields.bulk.runs.worker_setup import require_sendable
from encfields.errors import DeclarationError, EncFieldsError, KeyUnavailableError, shortened
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from encfields.engine import Encryption


T = TypeVar("T")


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

    :param engine: the application's engine, whose database is worked on.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param options: how the run works; by default as :class:`~encfields.bulk.options.Options` says.
    :param progress: called about twice a second with how far the run is.
    :param stop: set it, and the run ends between two batches; the next call continues.
    :param run_id: work at this run alone; default every run that is under way, except those that
        write plaintext, rebind values or take in values under former keys: they are only worked at
        by their id, so that nobody who can merely write to the database can have one repeated.
    :returns: one report for each run that was found. One that is refused, or cannot continue,
        has its error there, and does not hold up the others; a single run's error is raised.
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

    ids = patiently(engine, chosen.outage_seconds, stop, find)
    reports = []
    for each_id in ids:
        if stop.is_set():
            break
        if run_id is not None:
            reports.append(run_recorded(engine, encryption, each_id, chosen, progress, stop))
        else:
            reports.append(_join(engine, encryption, each_id, chosen, progress, stop))
    return reports


def _join(
    engine: Engine,
    encryption: Encryption,
    run_id: str,
    options: Options,
    progress: Progress | None,
    stop: Event,
) -> Report:
    """Work at a run that was found; what is wrong with it stops this one alone."""

    def waits_for_its_id(own: Connections) -> bool:
        run = RunStore().load(own.reading(), run_id)
        # Another worker may just have ended it.
        is_open = run.state == RUNNING
        return is_open and JobSealer(encryption, options).open_job(run).job.is_asked_by_id

    try:
        if not patiently(engine, options.outage_seconds, stop, waits_for_its_id):
            return run_recorded(engine, encryption, run_id, options, progress, stop)
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
    return Report(error.run_id, False, REFUSED, 0, 0, 0, 0, (), 0, 0.0, str(error))


def report_of(
    engine: Engine,
    run_id: str,
    encryption: Encryption | None = None,
    options: Options | None = None,
) -> Report:
    """Where a run stands.

    :param engine: the application's engine, whose database is worked on.
    :param run_id: the run, as its start reported it.
    :param encryption: to see that a worker noted the end that the run's row tells. Without it,
        the report is what the database says.
    :param options: say which key is demanded.
    :raises ReencryptionError: there is no such run.
    :raises ConfigurationError: no run was ever recorded in this database.
    :raises RunRefusedError: its row holds what no worker writes.
    """
    sealer = None if encryption is None else JobSealer(encryption, options or Options())
    return patiently(
        sync_engine(engine), 0.0, None, lambda own: report_on(own, run_id, 0.0, None, sealer)
    )


def pause(engine: Engine, run_id: str, *, paused: bool = True) -> None:
    """Let every worker of a run pause, or go on; they look about once a second.

    :param engine: the application's engine, whose database is worked on.
    :param run_id: the run, as its start reported it.
    :param paused: ``False`` lets the workers go on.
    :raises ReencryptionError: there is no such run.
    :raises ConfigurationError: no run was ever recorded in this database.
    """
    store = RunStore()

    def set_flag(own: Connections) -> None:
        require_run(own.reading(), run_id)
        with own.writing().begin() as begun:
            store.pause(begun.connection, run_id, paused=paused)

    patiently(sync_engine(engine), 0.0, None, set_flag)


def abandon(engine: Engine, run_id: str) -> None:
    """End a run that is not to be finished; what it has written stays, and is valid.

    :param engine: the application's engine, whose database is worked on.
    :param run_id: the run, as its start reported it.
    :raises ReencryptionError: there is no such run.
    :raises ConfigurationError: no run was ever recorded in this database.
    """
    store = RunStore()

    def end(own: Connections) -> None:
        require_run(own.reading(), run_id)
        with own.writing().begin() as begun:
            store.abandon(begun.connection, run_id)

    patiently(sync_engine(engine), 0.0, None, end)


def run_recorded(
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
    return patiently(
        engine,
        options.outage_seconds,
        None,
        lambda own: report_on(own, run_id, seconds, outcome, sealer),
    )


def report_on(
    own: Connections,
    run_id: str,
    seconds: float,
    outcome: str | None,
    sealer: JobSealer | None,
) -> Report:
    store = RunStore()
    connection = own.reading()
    require_run_tables(connection)
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
        error=_cut(run.error) or outcome,
    )


def _quarantined(own: Connections, store: RunStore, run: Run) -> tuple[Quarantined, ...]:
    return tuple(
        Quarantined(
            run.table_name,
            _cut(row["column_name"]),
            _readable(row["row_key"]),
            _cut(row["reason"]),
            _cut(row["message"]),
        )
        for row in store.quarantined(own.reading(), run)
    )


def _readable(text: Any) -> dict[str, str]:
    """A row's key as it was noted; empty if somebody wrote something else there."""
    try:
        key = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return {_cut(name): _cut(value) for name, value in key.items()} if isinstance(key, dict) else {}


_SHOWN = 4000
"""Characters of a text that a row holds for people, such as one part of another row's key."""


def _cut(text: Any) -> str:
    """A text from a row, which anybody may have written at any length."""
    return "" if text is None else shortened(str(text), _SHOWN)


def patiently(
    engine: Engine, seconds: float, stop: Event | None, task: Callable[[Connections], T]
) -> T:
    """Do something that may be done twice, on connections of its own, and wait out an outage.

    A driver's error is put into this library's words, which hold no parameters. A database that is
    read-only is not waited for, as by a run whose database is just being moved: nothing has begun.
    """
    own = Connections(engine)
    stop = stop or Event()
    patience = Patience(seconds, stop, own.address)
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
