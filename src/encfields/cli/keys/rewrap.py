"""``encfields keys rewrap``: move all keys to other wrapping keys."""

from __future__ import annotations

import argparse

from encfields.cli.keyring_option import KEYRING_FORMS, parse_keyring
from encfields.cli.keys import selection
from encfields.cli.output import Output
from encfields.cli.settings import Settings
from encfields.keys.many.report import KeysReport
from encfields.keys.versions import RewrapReport

WHAT = (
    "move keys, all if none is named, to other wrapping keys, without touching a value; needs a "
    "--keyring that opens them now. Each new wrap is opened by each of the new wrapping keys "
    "before it replaces the old one. " + selection.GOES_ON
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    selection.add_options(parser)
    parser.add_argument(
        "--to", metavar="KEYRING", required=True, help=f"the new one: {KEYRING_FORMS}"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Rewrap and print the outcome."""
    settings = Settings(arguments)
    new = parse_keyring(arguments.to)
    with settings.open_engine() as engine:
        keys = selection.selected(arguments, settings.keys(engine), all_by_default=True)
        with selection.progress(output, "rewrapping") as progress:
            report = keys.rewrap(new, progress=progress)
    _print_rewrap(report, output)
    return selection.exit_status(report)


def _print_rewrap(report: KeysReport, output: Output) -> None:
    wrapped = report.rewrapped or RewrapReport()
    if output.as_json:
        outcome = report.to_json()
        output.json({**wrapped.to_json(), "failed": outcome["failed"], "left": outcome["left"]})
    else:
        output.line(
            f"{wrapped.moved:,} wrapped keys were moved; {wrapped.already:,} had been moved "
            f"before, {wrapped.destroyed:,} are destroyed.",
            style="green" if report.is_complete else "",
        )
    selection.print_failures(report.failed)
