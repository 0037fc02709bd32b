"""``encfields keys``: make, rotate, retire, list, rewrap, destroy and export branch keys."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from encfields.cli import exits
from encfields.cli.help import add_command
from encfields.cli.keyring_option import parse_keyring
from encfields.cli.keys import beacon, count, destroy, listing, make, retire, rewrap, selection
from encfields.cli.output import Output
from encfields.cli.settings import Settings, add_common_options
from encfields.keys.dynamodb.export import ExportedKey, export_keys
from encfields.keys.dynamodb.store import DynamoDbKeyStore


def register(subparsers: Any) -> None:
    """Add the subcommand with its own verbs."""
    what = "create, rotate, retire, list, rewrap, destroy and export branch keys"
    keys = subparsers.add_parser("keys", help=what)
    verbs = keys.add_subparsers(metavar="VERB", required=True)
    table = "make the key table unless it is there; needs a --keyring"
    _add(verbs, "create-table", table, _create_table)
    create = _add(verbs, "create", make.CREATE, make.create)
    selection.add_options(create, like=False, help_="for instance default, or tenant/42")
    create.add_argument(
        "--create-table", action="store_true", help="make the key table if it is missing"
    )
    make.add_rotate_options(_add(verbs, "rotate", make.ROTATE, make.rotate))
    beacon.add_rotate_options(_add(verbs, "rotate-beacon", beacon.ROTATE, beacon.rotate))
    beacon.add_retire_options(_add(verbs, "retire-beacon", beacon.RETIRE, beacon.retire))
    beacon.add_list_options(_add(verbs, "list-beacons", beacon.LIST, beacon.list_beacons))
    rewrap.add_options(_add(verbs, "rewrap", rewrap.WHAT, rewrap.run))
    destroy.add_options(_add(verbs, "destroy", destroy.WHAT, destroy.run))
    count.add_options(_add(verbs, "count-values", count.WHAT, count.run))
    retire.add_options(_add(verbs, "retire", retire.WHAT, retire.run))
    _add(
        verbs,
        "bring-over",
        "bind the keys of a key table that a development version made to this key store; needs a "
        "--keyring. Material, ids and values stay as they are. The table is believed this once",
        _bring_over,
    )
    listing.add_options(_add(verbs, "list", listing.WHAT, listing.run))
    _add_export(verbs)


def _add_export(verbs: Any) -> None:
    export = _add(
        verbs,
        "export",
        "copy branch keys into AWS's hierarchical key store in DynamoDB; needs a --keyring. "
        "Ids, versions and material stay, so no value is touched: every value opens under the "
        "copy, also with the AWS Encryption SDK's hierarchical keyring. Each key is read back "
        "through AWS's key store. Run again, it carries over what was made or rotated since",
        _export,
    )
    export.add_argument("key_ids", metavar="ID", nargs="*", help="default: all keys")
    export.add_argument("--to", metavar="TABLE", required=True, help="DynamoDB table")
    export.add_argument(
        "--to-keyring",
        metavar="KEYRING",
        required=True,
        help="the one KMS key that wraps the copies: kms:ARN or mrk:ARN",
    )
    export.add_argument("--to-region", metavar="REGION", help="of the table; default the KMS key's")
    export.add_argument(
        "--logical-name",
        metavar="NAME",
        help="the key store's name in KMS's encryption context, for good; default TABLE",
    )
    export.add_argument(
        "--create-table", action="store_true", help="make the DynamoDB table if it is missing"
    )


def _add(verbs: Any, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    description = what[0].upper() + what[1:] + "."
    parser = add_command(verbs, name, summary=what.partition(";")[0], description=description)
    add_common_options(parser)
    parser.set_defaults(run=run)
    return parser


def _create_table(arguments: argparse.Namespace, output: Output) -> int:
    settings = Settings(arguments)
    with settings.open_engine() as engine:
        keys = settings.keys(engine)
        keys.create_table()
        name = keys.store_name
    if output.as_json:
        output.json({"key_store": name})
    elif settings.store_name() is None:
        make.tell_name(name, output)
    return exits.OK


def _export(arguments: argparse.Namespace, output: Output) -> int:
    settings = Settings(arguments)
    keyring: Any = parse_keyring(arguments.to_keyring)
    target = DynamoDbKeyStore(
        keyring,
        arguments.to,
        logical_name=arguments.logical_name,
        region=arguments.to_region,
    )
    with settings.open_engine() as engine:
        source = settings.key_store()
        source.bind(engine)
        if arguments.create_table:
            target.create_table()
        _tell_exported(export_keys(source, target, arguments.key_ids or None), output)
    return exits.OK


def _tell_exported(exported: Iterable[ExportedKey], output: Output) -> None:
    if output.as_json:
        output.json([asdict(key) for key in exported])
        return
    rows = [[key.id, key.active, f"{key.written:,}", f"{key.versions:,}"] for key in exported]
    headings = ["key", "active version", "versions written", "versions in all"]
    output.table("exported and read back", headings, rows, right=2)


def _bring_over(arguments: argparse.Namespace, output: Output) -> int:
    settings = Settings(arguments)
    with settings.open_engine() as engine:
        store = settings.key_store()
        store.bind(engine)
        count = store.bring_over()
    if output.as_json:
        output.json({"brought_over": count, "key_store": store.name})
    else:
        output.line(f"{count:,} wrapped keys were bound to the key store {store.name!r}.")
    return exits.OK
