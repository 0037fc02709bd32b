"""``encfields keys rewrap``, ``export`` and ``bring-over``: keys that move, and values that stay.

To other wrapping keys; into AWS's key store in DynamoDB; from a development version's key table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from encfields.cli import exits
from encfields.cli.commands.keys import selection
from encfields.cli.key_store import KEYRING_FORMS, parse_keyring
from encfields.cli.output import Output
from encfields.cli.settings import Settings
from encfields.keys.dynamodb.export import ExportedKey, export_keys
from encfields.keys.dynamodb.store import DynamoDbKeyStore
from encfields.keys.many.report import KeysReport
from encfields.keys.versions import RewrapReport

REWRAP = (
    "wrap keys, all if none is named, with other wrapping keys, without touching a value; needs a "
    "--keyring that opens them now. Each new wrap is opened by each of the new wrapping keys "
    "before it replaces the old one. " + selection.GOES_ON
)

EXPORT = (
    "copy branch keys into AWS's hierarchical key store in DynamoDB; needs a --keyring. "
    "Ids, versions and material stay, so no value is touched: every value opens under the "
    "copy, also with the AWS Encryption SDK's hierarchical keyring. Each key is read back "
    "through AWS's key store. Run again, it carries over what was made or rotated since"
)

BRING_OVER = (
    "bind the keys of a key table that a development version made to this key store; needs a "
    "--keyring. Material, ids and values stay as they are. What the table says is trusted, this "
    "once"
)


def add_rewrap_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    selection.add_options(parser)
    parser.add_argument(
        "--to",
        metavar="KEYRING",
        required=True,
        help=f"the keyring to wrap with from now on: {KEYRING_FORMS}",
    )


def rewrap(arguments: argparse.Namespace, output: Output) -> int:
    """Rewrap and print the outcome."""
    settings = Settings(arguments)
    new = parse_keyring(arguments.to)
    with settings.open_engine() as engine:
        keys = selection.selected(arguments, settings.keys(engine), all_by_default=True)
        with selection.progress(output, "rewrapping") as progress:
            report = keys.rewrap(new, progress=progress)
    _print_rewrap(report, arguments, output)
    return selection.exit_status(report)


def _print_rewrap(report: KeysReport, arguments: argparse.Namespace, output: Output) -> None:
    wrapped = report.rewrapped or RewrapReport()
    if output.as_json:
        outcome = report.to_json()
        output.json({**wrapped.to_json(), "failed": outcome["failed"], "left": outcome["left"]})
    elif not report.progress.total:
        output.line(selection.says_none_selected(arguments))
    else:
        output.line(
            f"{wrapped.moved:,} wrapped keys were moved; {wrapped.already:,} had been moved "
            f"before, {wrapped.destroyed:,} are destroyed.",
            style="green" if report.is_complete else "",
        )
    selection.print_failures(report.failed)


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    parser.add_argument("key_ids", metavar="ID", nargs="*", help="default: all keys")
    parser.add_argument("--to", metavar="TABLE", required=True, help="DynamoDB table")
    parser.add_argument(
        "--to-keyring",
        metavar="KEYRING",
        required=True,
        help="the one KMS key that wraps the copies: kms:ARN or mrk:ARN",
    )
    parser.add_argument(
        "--to-region",
        metavar="REGION",
        help="region of the DynamoDB table; default: the KMS key's",
    )
    parser.add_argument(
        "--to-name",
        "--logical-name",
        metavar="NAME",
        help=(
            "the key store's name in KMS's encryption context, which cannot be changed later; "
            "default TABLE"
        ),
    )
    parser.add_argument(
        "--create-table", action="store_true", help="make the DynamoDB table if it is missing"
    )


def export(arguments: argparse.Namespace, output: Output) -> int:
    """Copy them, and print what was written."""
    settings = Settings(arguments)
    keyring: Any = parse_keyring(arguments.to_keyring)
    target = DynamoDbKeyStore(
        keyring,
        arguments.to,
        name=arguments.to_name,
        region=arguments.to_region,
    )
    with settings.open_engine() as engine:
        source = settings.key_store()
        source.bind(engine)
        if arguments.create_table:
            target.create_table()
        _print_exported(export_keys(source, target, arguments.key_ids or None), output)
    return exits.OK


def _print_exported(exported: Iterable[ExportedKey], output: Output) -> None:
    if output.as_json:
        output.json([asdict(key) for key in exported])
        return
    rows = [[key.id, key.active, f"{key.written:,}", f"{key.versions:,}"] for key in exported]
    headings = ["key", "active version", "versions written", "versions in all"]
    output.table("exported and read back", headings, rows, right=2)


def bring_over(arguments: argparse.Namespace, output: Output) -> int:
    """Bind them."""
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
