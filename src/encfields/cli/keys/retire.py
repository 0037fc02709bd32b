"""``encfields keys retire``: wipe a version under which no value is any more."""

from __future__ import annotations

import argparse

from encfields.cli import exits
from encfields.cli.keys.administration import key_admin
from encfields.cli.output import Output
from encfields.cli.settings import Settings
from encfields.cli.targets import add_target_options

WHAT = (
    "wipe one version of a branch key, when no value is under it; needs no keyring, except to say "
    "where AWS's key store is. Every value of the tables named is looked at, before and after the "
    "version is refused to all processes: name every table that may hold values under the key. "
    "Backups of the key table still hold the wrapped version"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    parser.add_argument("key_id", metavar="ID")
    parser.add_argument("version", metavar="VERSION", help="as `encfields keys list` shows it")
    add_target_options(parser)
    parser.add_argument(
        "--at-once",
        action="store_true",
        help="also if it was replaced less than the default cache_ttl ago; and do not wait for "
        "other processes",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Count, refuse, count again, and wipe."""
    settings = Settings(arguments)
    specs = settings.specs()
    with settings.open_engine() as engine:
        keys = key_admin(settings, engine)
        keys.retire(arguments.key_id, arguments.version, specs=specs, at_once=arguments.at_once)
    if output.as_json:
        output.json({"key_id": arguments.key_id, "retired": arguments.version})
    else:
        output.line(f"version {arguments.version} of {arguments.key_id!r} was retired.")
    return exits.OK
