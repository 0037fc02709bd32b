"""``encfields keys count-values`` and ``retire``: count what is under a key, and wipe a version
under which no value is any more."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from encfields.cli import exits
from encfields.cli.interrupts import interrupts
from encfields.cli.output import Output
from encfields.cli.settings import Settings
from encfields.cli.targets import add_target_options

COUNT = (
    "count the values under a key, which nobody could read without it; needs no keyring, except "
    "to say where AWS's key store is. Reads every row of the named tables"
)


def add_count_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    parser.add_argument("key_id", metavar="ID")
    add_target_options(parser)


def count_values(arguments: argparse.Namespace, output: Output) -> int:
    """Count them, column by column."""
    settings = Settings(arguments)
    specs = settings.specs()
    with settings.open_engine() as engine:
        keys = settings.keys(engine, keys_needed=False)
        counts = keys.count_values(arguments.key_id, specs)
    if output.as_json:
        output.json([asdict(place) for place in counts])
    elif not counts:
        output.line(f"No value of the named tables is under {arguments.key_id!r}.")
    else:
        rows = [[place.table, place.column, f"{place.values:,}"] for place in counts]
        output.table("values under the key", ["table", "column", "values"], rows, right=1)
    return exits.OK


RETIRE = (
    "wipe one version of a branch key, when no value is under it; needs no keyring, except to say "
    "where AWS's key store is. Every value of the named tables is counted, before and after the "
    "key store refuses the version to all processes: name every table that may hold values under "
    "the key. Backups of the key table still hold the wrapped version"
)


def add_retire_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    parser.add_argument("key_id", metavar="ID")
    parser.add_argument("version", metavar="VERSION", help="as `encfields keys list` shows it")
    add_target_options(parser)
    parser.add_argument(
        "--at-once",
        action="store_true",
        help="do it even if it was replaced less than the default cache_ttl ago, and do not wait "
        "for other processes",
    )


def retire(arguments: argparse.Namespace, output: Output) -> int:
    """Count, refuse, count again, and wipe."""
    settings = Settings(arguments)
    specs = settings.specs()
    with settings.open_engine() as engine:
        keys = settings.keys(engine, keys_needed=False)
        with interrupts.sigterm_ends_in_order():
            keys.retire(arguments.key_id, arguments.version, specs=specs, at_once=arguments.at_once)
    if output.as_json:
        output.json({"key_id": arguments.key_id, "retired": arguments.version})
    else:
        output.line(f"version {arguments.version} of {arguments.key_id!r} was retired.")
    return exits.OK
