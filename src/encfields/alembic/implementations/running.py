"""Runs in a migration: outside its transaction, either finished or only recorded."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from alembic.operations import Operations

from encfields.alembic.environment import outside_transaction, settings_of
from encfields.alembic.errors import MigrationError
from encfields.bulk.reencryption import Reencryption, Report
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.types_as_data import DeclaredTypes
from encfields.bulk.runs.progress import ProgressState
from encfields.bulk.runs.run_row import QUARANTINED
from encfields.engine import Encryption

log = logging.getLogger("encfields.alembic")

MAX_LISTED_VALUES = 5
"""Most quarantined values to name in an error."""


@contextmanager
def keys_of(operations: Operations, verb: str) -> Iterator[Encryption]:
    """The encryption, outside the migration's transaction.

    :param verb: the operation, for messages.
    :raises MigrationError: something preceded it in the transaction.
    :raises ConfigurationError: ``env.py`` gives no keys.
    """
    context = operations.migration_context
    settings = settings_of(context)
    with (
        outside_transaction(context, settings, verb) as engine,
        settings.attached(engine) as encryption,
    ):
        yield encryption


def run_job(
    operations: Operations,
    verb: str,
    job: Job,
    *,
    queue: bool,
    declared_types: Mapping[str, DeclaredTypes] | None = None,
) -> None:
    """Work on a run until it is done, or only record it.

    :param verb: the operation, for messages. :param queue: only record it.
    :param declared_types: the application's own types that it reads plaintext through.
    :raises MigrationError: something preceded it in the transaction, or values were left over.
    """
    context = operations.migration_context
    settings = settings_of(context)
    with (
        outside_transaction(context, settings, verb) as engine,
        settings.attached(engine) as encryption,
    ):
        run = Reencryption(
            engine,
            encryption,
            job.spec,
            source=job.source,
            to_plaintext=job.to_plaintext,
            conversions=job.conversions,
            adopted=job.adopted,
            options=replace(settings.options, declared_types=declared_types or {}),
        )
        if queue:
            run_id = run.record()
            by_id = f" --run {run_id}" if job.needs_run_id else ""
            failures = job.table_name, run_id, by_id
            log.info("%s: run %s recorded for `encfields reencrypt%s`", *failures)
            return
        report = run.run(progress=settings.progress or LoggedProgress(log))
        require_finished(job, report)
        log.info(
            "%s: %d rows written, %d were current, in %.1f s",
            job.table_name,
            report.rows_written,
            report.rows_current,
            report.seconds,
        )


def require_finished(job: Job, report: Report) -> None:
    """Check that nothing was left over.

    :raises MigrationError: something was.
    """
    if report.finished:
        return
    first = [
        f"{q.column} of {', '.join(f'{k}={v}' for k, v in q.key.items())}: {q.message}"
        for q in report.quarantined[:MAX_LISTED_VALUES]
    ]
    quarantined = len(report.quarantined)
    listed = f"; {quarantined} values do not open, the first are: {'; '.join(first)}"
    why = report.state if first and report.state == QUARANTINED else report.error or report.state
    raise MigrationError(
        f"the run is not finished ({why}){listed if first else ''}. Run "
        "the revision again to continue where it stopped",
        table=job.table_name,
        reason="unfinished",
    )


LOG_SECONDS = 10.0


class LoggedProgress:
    """Logs a line about every :data:`LOG_SECONDS`.

    :param log: the logger.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._logged_at = time.monotonic()

    def __call__(self, state: ProgressState) -> None:
        now = time.monotonic()
        if now - self._logged_at < LOG_SECONDS:
            return
        self._logged_at = now
        self._log.info(
            "%s: %d of about %d rows, %.0f rows/s%s%s",
            state.table,
            state.rows_done,
            state.rows_total,
            state.rows_per_second,
            f", about {state.seconds_left:.0f} s left" if state.seconds_left is not None else "",
            f", pausing: {state.paused}" if state.paused else "",
        )
