"""``encfields keys destroy``: crypto-shredding, counted, confirmed and with a receipt."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from encfields.bulk.rows.spec import TableSpec
from encfields.cli import exits
from encfields.cli.file_names import names_a_file
from encfields.cli.keys import destroy_many, selection
from encfields.cli.keys.administration import key_admin, new_receipt_file
from encfields.cli.output import Output
from encfields.cli.settings import Settings
from encfields.cli.targets import add_target_options
from encfields.keys.admin import KeyAdmin
from encfields.keys.removal import DestructionReceipt, places_of

WHAT = (
    "destroy a key for good, so that everything under it is unreadable; needs no keyring, except "
    "to say where AWS's key store is. First every value of the tables named is counted; then the "
    "key's id, or of several how many there are, must be given once more, on the terminal or with "
    "--confirm. Backups of the key table still hold the wrapped key"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    selection.add_options(parser)
    add_target_options(parser)
    parser.add_argument(
        "--no-count", action="store_true", help="do not count what becomes unreadable"
    )
    parser.add_argument(
        "--confirm",
        metavar="ID|COUNT",
        help="the key's id once more, or of several how many are to be destroyed; without it, it "
        "is asked for",
    )
    parser.add_argument(
        "--at-once",
        action="store_true",
        help="do not wait until other processes have stopped sealing under it",
    )
    names_a_file(
        parser.add_argument(
            "--receipt",
            metavar="FILE",
            help="write the receipt to a new file, as JSON; of several keys, one on each line",
        )
    )
    parser.add_argument("--signed-off-by", metavar="NAME", help="who answers for it")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Count, ask, destroy, and write the receipt."""
    if not selection.names_one(arguments):
        return destroy_many.run(arguments, output)
    settings = Settings(arguments)
    specs = None if arguments.no_count else settings.specs()
    (key_id,) = arguments.key_ids
    with new_receipt_file(arguments.receipt) as file, settings.open_engine() as engine:
        keys = key_admin(settings, engine)
        confirm = arguments.confirm
        if confirm is None and sys.stdin.isatty() and not output.as_json:
            confirm = _ask(key_id, keys, specs)
        receipt = keys.destroy(
            key_id,
            confirm=confirm,
            specs=specs,
            signed_off_by=arguments.signed_off_by,
            at_once=arguments.at_once,
        )
        if file is not None:
            file.write_text(json.dumps(receipt.to_json(), indent=2) + "\n", "utf-8")
    _print_receipt(receipt, output)
    return exits.OK


def _ask(key_id: str, keys: KeyAdmin, specs: Sequence[TableSpec] | None) -> str:
    if specs is None:
        loss = "the values under it were not counted"
    else:
        loss = places_of(keys.count_values(key_id, specs)) or "no value is under it"
    sys.stderr.write(f"key {key_id!r}: {loss}.\nType the key's id to destroy it for good: ")
    sys.stderr.flush()
    return sys.stdin.readline().rstrip("\n")


def _print_receipt(receipt: DestructionReceipt, output: Output) -> None:
    if output.as_json:
        output.json(receipt.to_json())
        return
    rows = [[place.table, place.column, f"{place.values:,}"] for place in receipt.unreadable]
    output.table("values that are unreadable now", ["table", "column", "values"], rows, right=1)
    counted = "" if receipt.tables is not None else " The values under it were not counted."
    output.line(
        f"key {receipt.key_id!r} was destroyed on {receipt.destroyed_at:%Y-%m-%d %H:%M:%S} UTC: "
        f"{len(receipt.versions)} version(s), {receipt.values:,} values.{counted} Processes that "
        "have it in memory seal nothing under it after their cache_check, and drop it within their "
        "cache_ttl and cache_grace.",
        style="bold",
    )
