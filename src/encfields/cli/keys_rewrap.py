"""``encfields keys rewrap``: move all keys to other wrapping keys."""

from __future__ import annotations

import argparse

from encfields.cli import exits
from encfields.cli.keyring_option import HELP, parse_keyring
from encfields.cli.output import Output
from encfields.cli.settings import Settings
from encfields.keys.store import RewrapReport

WHAT = (
    "move all keys to other wrapping keys, without touching a value; needs a --keyring that opens "
    "them now. Each new wrap is opened by each of the new wrapping keys before it replaces the "
    "old one. Stopped at any moment, it goes on when run again"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    parser.add_argument("--to", metavar="KEYRING", required=True, help=f"the new one: {HELP}")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Rewrap and tell the outcome."""
    settings = Settings(arguments)
    new = parse_keyring(arguments.to)
    engine = settings.engine()
    try:
        keys = settings.keys(engine)
        with output.progress("rewrapping") as progress:

            def shown(report: RewrapReport) -> None:
                progress(report.moved + report.already + report.destroyed)

            report = keys.rewrap(new, progress=shown)
    finally:
        engine.dispose()
    if output.as_json:
        output.json(report.to_json())
    else:
        output.line(
            f"{report.moved:,} wrapped keys were moved; {report.already:,} were there already, "
            f"{report.destroyed:,} are destroyed.",
            style="green",
        )
    return exits.OK
