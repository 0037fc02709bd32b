"""``encfields keys count-values``: what is under a key."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from encfields.cli import exits
from encfields.cli.keys.administration import key_admin
from encfields.cli.output import Output
from encfields.cli.settings import Settings
from encfields.cli.targets import add_target_options

WHAT = (
    "count the values under a key, which nobody could read without it; needs no keyring, except "
    "to say where AWS's key store is. Every row of the tables named is looked at"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    parser.add_argument("key_id", metavar="ID")
    add_target_options(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Count them, column by column."""
    settings = Settings(arguments)
    specs = settings.specs()
    with settings.open_engine() as engine:
        keys = key_admin(settings, engine)
        found = keys.count_values(arguments.key_id, specs)
    if output.as_json:
        output.json([asdict(one) for one in found])
    else:
        rows = [[one.table, one.column, f"{one.values:,}"] for one in found]
        output.table("values under the key", ["table", "column", "values"], rows, right=1)
    return exits.OK
