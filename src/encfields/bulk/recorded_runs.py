"""Recorded runs by their ids: work on them, pause, abandon, report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from encfields.bulk.connections import Connections, sync_engine
from encfields.bulk.errors import (
    DatabaseUnavailableError,
    ReencryptionError,
    RunRefusedError,
)
from encfields.bulk.expected import ENCRYPTION, OPTIONS
from encfields.bulk.failures import Patience, TranslatedFailure
from encfields.bulk.options import Options
from encfields.bulk.runs.coordinator import Coordinator, setup_for
from encfields.bulk.runs.loop import RunLoop
from encfields.bulk.runs.progress import Progress
from encfields.bulk.runs.report import REFUSED, Quarantined, Report
from encfields.bulk.runs.run_row import ABANDONED, FINISHED, QUARANTINED, RUNNING, Run
from encfields.bulk.runs.sealed_job import JobSealer
from encfields.bulk.runs.signals import stopping_on_signals
from encfields.bulk.runs.store import (
    RunStore,
    require_run,
    require_run_tables,
)
from encfields.bulk.runs.worker import new_owner
from encfields.bulk.runs.worker_setup import require_sendable, sendable_setup
from encfields.errors import DeclarationError, EncFieldsError, KeyUnavailableError, shortened
from encfields.expected_arguments import CALLABLE, FLAG, STOP, TEXT, takes
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from encfields.engine import Encryption


T = TypeVar("T")


@leaves_no_trace
@takes(
    encryption=ENCRYPTION,
    run_id=TEXT.or_none,
    options=OPTIONS.or_none,
    progress=CALLABLE.or_none,
    stop=STOP.or_none,
)
def work(
    engine: Engine,
    encryption: Encryption,
    *,
    run_id: str | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
    stop: Event | None = None,
) -> list[Report]:
    """Work on recorded runs, one after the other. Call it on any number of hosts.

    :param engine: the application's engine.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param options: how the run works; default :class:`~encfields.bulk.options.Options`.
    :param progress: called about twice a second with a :class:`~encfields.bulk.ProgressState`.
    :param stop: set it to end the run after the current batch; the next call continues.
    :param run_id: the run to work on; default every run under way, except those that write
        plaintext, rebind values or accept values under former keys. Those need their id, so that
        write access to the database is not enough to have one repeated.
    :returns: one report per run found. A run that is refused or cannot continue has its error in
        its report and does not hold up the others; with `run_id`, the error is raised.
    :raises ConfigurationError: no run was ever recorded in this database, or an earlier version
        made its run tables.
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
            reports.append(work_on_run(engine, encryption, each_id, chosen, progress, stop))
        else:
            reports.append(
                _work_on_one_of_several(engine, encryption, each_id, chosen, progress, stop)
            )
    return reports


def _work_on_one_of_several(
    engine: Engine,
    encryption: Encryption,
    run_id: str,
    options: Options,
    progress: Progress | None,
    stop: Event,
) -> Report:
    """Work on one of several runs; its errors do not stop the others."""

    def needs_its_id(own: Connections) -> bool:
        run = RunStore().load(own.reading(), run_id)
        # Another worker may have just ended it.
        is_open = run.state == RUNNING
        return is_open and JobSealer(encryption, options).open_job(run).job.needs_run_id

    try:
        if not patiently(engine, options.outage_seconds, stop, needs_its_id):
            return work_on_run(engine, encryption, run_id, options, progress, stop)
    except DatabaseUnavailableError:
        raise
    except (ReencryptionError, DeclarationError) as error:
        return _report_of_stopped(engine, run_id, error)
    waits = (
        "it writes plaintext, or accepts values of other rows, columns or former keys, so it runs "
        f"only by its id: `encfields reencrypt --run {run_id}`"
    )
    return replace(report_of(engine, run_id), error=waits)


def _report_of_stopped(engine: Engine, run_id: str, error: EncFieldsError) -> Report:
    """The report of a run that cannot continue."""
    if not isinstance(error, RunRefusedError):
        report = replace(report_of(engine, run_id), error=str(error))
        return report if report.state != RUNNING else replace(report, state=REFUSED)
    return Report(error.run_id, False, REFUSED, 0, 0, 0, 0, (), 0, 0.0, str(error))


@takes(run_id=TEXT, encryption=ENCRYPTION.or_none, options=OPTIONS.or_none)
def report_of(
    engine: Engine,
    run_id: str,
    encryption: Encryption | None = None,
    options: Options | None = None,
) -> Report:
    """The state of a run.

    :param engine: the application's engine.
    :param run_id: the run's id, from :meth:`Reencryption.record` or a report.
    :param encryption: to check that a worker wrote the end in the run's row. Without it, the
        report repeats what the database says.
    :param options: for its ``run_key``.
    :returns: the run's report.
    :raises ReencryptionError: there is no such run.
    :raises ConfigurationError: no run was ever recorded in this database.
    :raises RunRefusedError: its row was altered.
    """
    sealer = None if encryption is None else JobSealer(encryption, options or Options())
    return patiently(
        sync_engine(engine), 0.0, None, lambda own: read_report(own, run_id, 0.0, None, sealer)
    )


@takes(run_id=TEXT, paused=FLAG)
def pause(engine: Engine, run_id: str, *, paused: bool = True) -> None:
    """Pause all workers of a run, or let them continue. They check about once a second.

    :param engine: the application's engine.
    :param run_id: the run's id.
    :param paused: ``False`` lets the workers continue.
    :raises ReencryptionError: there is no such run.
    :raises ConfigurationError: no run was ever recorded in this database.
    """
    store = RunStore()

    def set_flag(own: Connections) -> None:
        require_run(own.reading(), run_id)
        with own.writing().begin() as begun:
            store.pause(begun.connection, run_id, paused=paused)

    patiently(sync_engine(engine), 0.0, None, set_flag)


@takes(run_id=TEXT)
def abandon(engine: Engine, run_id: str) -> None:
    """End a run without finishing it. What it has written stays, and is valid.

    :param engine: the application's engine.
    :param run_id: the run's id.
    :raises ReencryptionError: there is no such run.
    :raises ConfigurationError: no run was ever recorded in this database.
    """
    store = RunStore()

    def end(own: Connections) -> None:
        require_run(own.reading(), run_id)
        with own.writing().begin() as begun:
            store.abandon(begun.connection, run_id)

    patiently(sync_engine(engine), 0.0, None, end)


def work_on_run(
    engine: Engine,
    encryption: Encryption,
    run_id: str,
    options: Options,
    progress: Progress | None,
    stop: Event | None,
    own: Connections | None = None,
) -> Report:
    """Work on a run until nothing is left, or `stop` is set.

    :param own: connections to work with, which it closes, since opening one takes as long as
        hundreds of rows; otherwise the run opens its own.
    """
    began = time.monotonic()
    stop = stop or Event()
    own = own or Connections(engine)
    try:
        outcome = _work(engine, encryption, run_id, options, progress, stop, own)
        seconds = time.monotonic() - began
        sealer = JobSealer(encryption, options)

        def read(own: Connections) -> Report:
            return read_report(own, run_id, seconds, outcome, sealer)

        return patiently(engine, options.outage_seconds, None, read, own)
    finally:
        own.close()


def _work(
    engine: Engine,
    encryption: Encryption,
    run_id: str,
    options: Options,
    progress: Progress | None,
    stop: Event,
    own: Connections,
) -> str | None:
    """Why the run has not ended, if it is known."""
    with stopping_on_signals(stop):
        if options.workers > 1:
            own.close()  # They would be idle for as long as the workers work.
            given = options.setup
            setup = sendable_setup(given) if given else setup_for(engine, encryption)
            require_sendable(options)
            return Coordinator(engine, run_id, options, setup).work(stop, progress)
        return RunLoop(own, encryption, run_id, new_owner(), options, stop, progress).work()


def read_report(
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
    quarantined = _quarantined(own, store, run)
    return Report(
        run_id=run_id,
        finished=run.state == FINISHED,
        state=run.state,
        rows_seen=totals.seen,
        rows_written=totals.written,
        rows_current=totals.current,
        rows_skipped_locked=totals.missed,
        quarantined=quarantined,
        passes=run.pass_number + 1,
        seconds=seconds,
        error=_shown_text(run.error) or outcome or _left_as_they_are(run, len(quarantined)),
    )


def _left_as_they_are(run: Run, quarantined: int) -> str | None:
    """Why a run that ended with quarantined values is not finished."""
    if run.state != QUARANTINED:
        return None
    values = "1 value was" if quarantined == 1 else f"{quarantined:,} values were"
    return (
        f"{values} quarantined, and left unchanged; report.quarantined, and `encfields reencrypt "
        f"--show {run.id}`, list which and why: put them right, and start another run"
    )


def _quarantined(own: Connections, store: RunStore, run: Run) -> tuple[Quarantined, ...]:
    return tuple(
        Quarantined(
            run.table_name,
            _shown_text(row["column_name"]),
            _key_of_quarantine_row(row["row_key"]),
            _shown_text(row["reason"]),
            _shown_text(row["message"]),
        )
        for row in store.quarantined(own.reading(), run)
    )


def _key_of_quarantine_row(text: Any) -> dict[str, str]:
    """The primary key in a quarantine row; empty if somebody altered it."""
    try:
        key = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return (
        {_shown_text(name): _shown_text(value) for name, value in key.items()}
        if isinstance(key, dict)
        else {}
    )


_SHOWN = 4000
"""Most characters shown of a text from a run's row, such as a part of a row's key."""


def _shown_text(text: Any) -> str:
    """A text from a run's row, cut: anybody may have written it, at any length."""
    return "" if text is None else shortened(str(text), _SHOWN)


def patiently(
    engine: Engine,
    seconds: float,
    stop: Event | None,
    task: Callable[[Connections], T],
    kept: Connections | None = None,
) -> T:
    """Run an idempotent task on connections of its own, waiting out outages.

    Driver errors are translated, since theirs can hold parameters. A read-only database is not
    waited for here, unlike during a failover within a run: nothing has begun.

    :param seconds: longest outage to wait for.
    :param stop: ends the waiting when it is set.
    :param kept: connections to do it on instead; the caller closes them.
    """
    own = kept or Connections(engine)
    stop = stop or Event()
    patience = Patience(seconds, stop, own.address)
    try:
        while True:
            try:
                return task(own)
            except (SQLAlchemyError, OSError, KeyUnavailableError) as error:
                failure = TranslatedFailure.of(error)
            if failure.error.reason == "read-only":
                raise failure.error
            if not isinstance(failure.error, KeyUnavailableError):
                own.reset()
            patience.wait(failure)
            if stop.is_set():
                raise failure.error
    finally:
        if kept is None:
            own.close()
