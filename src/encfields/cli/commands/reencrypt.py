"""``encfields reencrypt``: move values to the active key version, as one of many workers."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from sqlalchemy import Engine

from encfields.adopt.adoption import declared_types_of
from encfields.bulk.recorded_runs import abandon, pause, report_of, work
from encfields.bulk.reencryption import (
    DryRun,
    Options,
    Progress,
    ProgressBar,
    ProgressLog,
    Reencryption,
    Report,
)
from encfields.bulk.rows.run_keys import KEY_UNUSABLE
from encfields.bulk.runs.report import REFUSED
from encfields.bulk.runs.run_row import FAILED, QUARANTINED, RUNNING
from encfields.bulk.runs.signals import SignalledStop
from encfields.cli import exits
from encfields.cli.application import metadata_named
from encfields.cli.database import Database
from encfields.cli.key_store import any_key_store_of
from encfields.cli.output import Output, pairs_of
from encfields.cli.parsing import add_command
from encfields.cli.settings import Settings, add_common_options
from encfields.cli.targets import add_target_options
from encfields.engine import Encryption, attach
from encfields.errors import ConfigurationError

_DESCRIPTION = """\
Reseal values that are not under the active version of their key, on a live table, without losing an
update by the application. Without further options it works on the runs that a migration, or --start
elsewhere, has recorded: run it on as many hosts as you like. It may be stopped or killed at any
moment and continues where it stopped. It needs a --keyring.

The job of a run is sealed under a branch key (--run-key), so that write access to the database is
not enough to set one up. A run that rebinds values, accepts values under former keys, or writes
plaintext runs only by its id, with --run.
"""

_OPTIONS: dict[str, tuple[type, str, str]] = {
    "workers": (int, "N", "worker processes"),
    "batch-rows": (int, "ROWS", "most rows to read, encrypt and write together"),
    "range-rows": (int, "ROWS", "rows that one worker claims at a time"),
    "rows-per-second": (float, "ROWS", "limit for all workers of this command together"),
    "duty-cycle": (float, "SHARE", "share of the time in which a worker works, up to 1"),
    "max-lag": (
        float,
        "SECONDS",
        "pause while a replica is further behind (PostgreSQL reports it)",
    ),
    "max-lag-query": (str, "SQL", "returns the replicas' lag in seconds, on other databases"),
    "pause-query": (str, "SQL", "pause while its one value is true"),
    "lease-seconds": (float, "SECONDS", "how long a worker that died keeps its rows"),
    "outage-seconds": (float, "SECONDS", "how long to wait for the database, or for KMS"),
    "max-quarantined": (int, "N", "values that do not open before the run stops"),
    "run-key": (str, "ID", "branch key that seals the jobs of runs"),
    "max-age-days": (float, "DAYS", "older runs are refused"),
}
"""The options of the engine that the command line gives, by type, metavar and meaning."""


_CLOSING = {
    exits.OK: "Done: nothing is left to do.",
    exits.WORK_LEFT: "Work is left: run it again, here or elsewhere, and it continues.",
    exits.FAULTS: (
        "Some values do not open and were left as they are: `encfields inspect` shows what one "
        "says about itself, and a backup may have it whole."
    ),
    exits.FAILED: "It could not be done, for the reason above. Nothing is lost: run it again when "
    "that is fixed.",
}
"""What to do after the exit status."""


def register(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "reencrypt",
        summary="move values to the active key version",
        description=_DESCRIPTION,
    )
    add_common_options(parser)
    verbs = parser.add_argument_group("what to do, instead of working on the recorded runs")
    verb = verbs.add_mutually_exclusive_group()
    verb.add_argument("--start", action="store_true", help="record a run for each table and work")
    verb.add_argument(
        "--dry-run", action="store_true", help="show what a run for each table would do; no key "
                                               "is used, nothing is written",
    )  # fmt: skip
    verb.add_argument("--run", dest="run_id", metavar="ID", help="work on this run only")
    verb.add_argument("--show", metavar="ID", help="show the state of a run")
    verb.add_argument("--pause", metavar="ID", help="let every worker of a run pause")
    verb.add_argument("--resume", metavar="ID", help="let them continue")
    verb.add_argument("--abandon", metavar="ID", help="end a run; what it has written stays")
    add_target_options(parser)
    engine = parser.add_argument_group("how to work")
    for name, (type_, metavar, help_) in _OPTIONS.items():
        default = Options.__dataclass_fields__[name.replace("-", "_")].default
        shown = help_ if default is None else f"{help_} (default: {default})"
        engine.add_argument(f"--{name}", type=type_, metavar=metavar, help=shown)
    engine.add_argument(
        "--pause-for-vacuum", action="store_true", default=None,
        help="pause while PostgreSQL vacuums the table",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Do what the options say."""
    settings = Settings(arguments)
    if arguments.targets and not (arguments.start or arguments.dry_run):
        raise ConfigurationError(
            "tables are named with --start or --dry-run; recorded runs have theirs",
            reason="options",
        )
    with settings.open_engine() as engine:
        if arguments.show:
            # With keys, an end that no worker wrote is detected.
            known = settings.encryption(engine) if settings.keyring_text() else None
            options = _options(settings, arguments)
            return print_reports([report_of(engine, arguments.show, known, options)], output)
        if arguments.pause or arguments.resume:
            run_id = arguments.pause or arguments.resume
            pause(engine, run_id, paused=bool(arguments.pause))
            return print_reports([report_of(engine, run_id)], output, code=exits.OK)
        if arguments.abandon:
            abandon(engine, arguments.abandon)
            return print_reports([report_of(engine, arguments.abandon)], output, code=exits.OK)
        if arguments.dry_run:
            return _dry_run(settings, engine, arguments, output)
        return _work(settings, engine, arguments, output)


def _dry_run(
    settings: Settings, engine: Engine, arguments: argparse.Namespace, output: Output
) -> int:
    options = _options(settings, arguments)
    encryption = settings.encryption(engine, keys_needed=False)
    dry_runs = [
        (spec.table, Reencryption(engine, encryption, spec, options=options).dry_run())
        for spec in settings.specs()
    ]
    if output.as_json:
        output.json([{"table": table, **_document(outcome)} for table, outcome in dry_runs])
    else:
        headings = ["table", "rows", "rows to rewrite", "bytes", "seconds, about", "KMS calls",
                    "unreadable"]  # fmt: skip
        rows = [
            [table, f"{outcome.rows:,}", f"{outcome.rows_to_rewrite:,}",
             f"{outcome.bytes_to_rewrite:,}", f"{outcome.seconds:,.0f}",
             f"{outcome.kms_calls:,}", f"{outcome.unreadable:,}"]
            for table, outcome in dry_runs
        ]  # fmt: skip
        output.table("what a run would do", headings, rows, right=6)
    if any(outcome.unreadable for _, outcome in dry_runs):
        return exits.FAULTS
    return exits.WORK_LEFT if any(outcome.rows_to_rewrite for _, outcome in dry_runs) else exits.OK


def _work(settings: Settings, engine: Engine, arguments: argparse.Namespace, output: Output) -> int:
    options = _options(settings, arguments)
    models = settings.models()
    if models is not None:
        types = declared_types_of(metadata_named(models))
        options = replace(options, declared_types=types)
    specs = settings.specs() if arguments.start else []
    encryption = settings.encryption(engine)
    stop, reports = SignalledStop(), []
    runs = [Reencryption(engine, encryption, spec, options=options) for spec in specs]
    # Record all before working on the first, so that other hosts find them at once.
    ids = [run.record() for run in runs] if arguments.start else [arguments.run_id]
    with working_progress(output) as progress:
        for run_id in ids:
            reports += work(
                engine, encryption, run_id=run_id, options=options, progress=progress, stop=stop
            )
    done = {report.run_id for report in reports}
    reports += [
        report_of(engine, run_id) for run_id in ids if run_id is not None and run_id not in done
    ]
    return stopped_by(stop, reports, print_reports(reports, output))


def stopped_by(stop: SignalledStop, reports: Sequence[Report], code: int) -> int:
    """The exit status of a command that worked on runs: that of Ctrl-C or SIGTERM, if it left work,
    whatever was found until then, which the run finds again when it is continued."""
    if not stop.is_set() or all(report.state != RUNNING for report in reports):
        return code
    return exits.INTERRUPTED if stop.by_interrupt else exits.WORK_LEFT


def _options(settings: Settings, arguments: argparse.Namespace) -> Options:
    names = [name.replace("-", "_") for name in (*_OPTIONS, "pause-for-vacuum")]
    return work_options(settings, {name: getattr(arguments, name) for name in names})


def work_options(settings: Settings, given: Mapping[str, Any]) -> Options:
    """The options of a run.

    :param given: options on the command line; ``None`` for the default.
    """
    # A worker process makes its own engine and keys from this process's settings.
    setup = partial(
        set_up,
        settings.database(),
        settings.keyring_text(),
        settings.key_table_name(),
        settings.store_name(),
    )
    return Options(setup=setup, **{k: v for k, v in given.items() if v is not None})


def set_up(
    database: Database, keyring: str | None, key_table: str, key_store: str | None = None
) -> tuple[Engine, Encryption]:
    """The engine and the encryption of a worker process."""
    engine = database.new_engine()
    return engine, attach(engine, any_key_store_of(keyring, key_table, key_store))


@contextmanager
def working_progress(output: Output) -> Iterator[Progress | None]:
    """Shows a run's progress: a bar in a terminal, lines in a log."""
    if output.as_json:
        yield None
    elif output.has_terminal:
        with ProgressBar() as bar:
            yield bar
    else:
        yield ProgressLog()


_MOST_SHOWN = 1_000
"""Values that do not open: a destroyed key may have left millions."""

_MOST_KEYS_SHOWN = 25


def print_reports(reports: list[Report], output: Output, code: int | None = None) -> int:
    """Print the state of runs; return the exit status."""
    if output.as_json:
        output.json([asdict(report) for report in reports])
    elif not reports:
        output.line("No run is under way.", style="green")
    for report in [] if output.as_json else reports:
        style = "green" if report.finished else "red" if _code([report]) > 1 else "yellow"
        output.line(
            f"run {report.run_id}: {report.state}; {report.rows_seen:,} rows seen, "
            f"{report.rows_written:,} written, {report.rows_current:,} were current, "
            f"{len(report.quarantined):,} values quarantined; {report.seconds:,.1f} s",
            style=style,
        )
        if report.error:
            output.line(report.error, style=style)
        if report.quarantined:
            headings = ["table", "column", "row", "reason"]
            shown = report.quarantined[:_MOST_SHOWN]
            rows = [[q.table, q.column, pairs_of(q.key), q.reason] for q in shown]
            output.table("values that do not open; they were left as they are", headings, rows)
            if len(report.quarantined) > len(shown):
                more = len(report.quarantined) - len(shown)
                output.line(f"and {more:,} more, which --json lists")
            _print_failing_keys(report, output)
    if code is not None:
        return code
    code = _code(reports)
    if reports and not output.as_json:
        output.gap()
        output.line(_CLOSING[code])
    return code


def _print_failing_keys(report: Report, output: Output) -> None:
    """Name the keys that failed, each with its values, which were left out because of it."""
    by_key = Counter(q.message for q in report.quarantined if q.reason == KEY_UNUSABLE)
    for message, count in by_key.most_common(_MOST_KEYS_SHOWN):
        output.line(f"{message} ({count:,} {'value' if count == 1 else 'values'})", style="red")
    if len(by_key) > _MOST_KEYS_SHOWN:
        output.line(f"and {len(by_key) - _MOST_KEYS_SHOWN:,} more keys, which --json lists")


def _code(reports: list[Report]) -> int:
    if any(report.quarantined or report.state == QUARANTINED for report in reports):
        return exits.FAULTS
    if any(report.state in (FAILED, REFUSED) for report in reports):
        return exits.FAILED
    return exits.OK if all(report.finished for report in reports) else exits.WORK_LEFT


def _document(dry_run: DryRun) -> dict[str, Any]:
    versions = [
        {"key_id": key_id, "version": version, "values": count}
        for (key_id, version), count in sorted(dry_run.versions.items())
    ]
    return {**asdict(dry_run), "versions": versions}
