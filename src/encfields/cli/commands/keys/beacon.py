"""``encfields keys rotate-beacon``, ``retire-beacon``, ``list-beacons``: keys of blind indexes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from encfields.cli import exits
from encfields.cli.output import Output
from encfields.cli.settings import Settings
from encfields.keys.admin import KeyAdmin
from encfields.keys.versions import BeaconVersion

ROTATE = (
    "make a second beacon key beside the one in force; needs a --keyring. Values are then indexed "
    "and looked up under both. When every process knows it (after its cache_ttl), index all values "
    "again, then retire the older one"
)
RETIRE = (
    "wipe the older of two beacon keys; needs no keyring. Values that are indexed only under it "
    "are no longer found"
)

LIST = "show the beacon keys of a key that are in force; needs no keyring"


def add_rotate_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    parser.add_argument("key_id", metavar="ID")


def add_retire_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    parser.add_argument("key_id", metavar="ID")
    parser.add_argument("version", metavar="VERSION", type=int, help="its number")
    parser.add_argument(
        "--at-once",
        action="store_true",
        help="also if the newer one was made less than the default cache_ttl and cache_grace ago",
    )


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    parser.add_argument("key_id", metavar="ID")


def rotate(arguments: argparse.Namespace, output: Output) -> int:
    """Make the second one."""
    with _administration(arguments, keys_needed=True) as keys:
        keys.rotate_beacon(arguments.key_id)
        _print_beacons(keys.list_beacons(arguments.key_id), output)
    return exits.OK


def retire(arguments: argparse.Namespace, output: Output) -> int:
    """Wipe the older one."""
    with _administration(arguments) as keys:
        keys.retire_beacon(arguments.key_id, arguments.version, at_once=arguments.at_once)
        _print_beacons(keys.list_beacons(arguments.key_id), output)
    return exits.OK


def list_beacons(arguments: argparse.Namespace, output: Output) -> int:
    """Show those in force."""
    with _administration(arguments) as keys:
        _print_beacons(keys.list_beacons(arguments.key_id), output)
    return exits.OK


@contextmanager
def _administration(
    arguments: argparse.Namespace, *, keys_needed: bool = False
) -> Iterator[KeyAdmin]:
    settings = Settings(arguments)
    with settings.open_engine() as engine:
        yield settings.keys(engine, keys_needed=keys_needed)


def _print_beacons(versions: list[BeaconVersion], output: Output) -> None:
    if output.as_json:
        output.json(
            [
                {
                    "key_id": version.id,
                    "version": version.version,
                    "created_at": version.created_at.isoformat(),
                }
                for version in versions
            ]
        )
        return
    rows = [
        [version.id, str(version.version), f"{version.created_at:%Y-%m-%d %H:%M:%S}"]
        for version in versions
    ]
    output.table("beacon keys in force", ["key", "version", "created (UTC)"], rows)
