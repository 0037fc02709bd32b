"""``encfields keys destroy``: crypto-shredding, counted, confirmed and with a receipt; one key is
confirmed by its id, several by how many they are."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TextIO

from encfields.bulk.rows.spec import TableSpec
from encfields.cli import exits
from encfields.cli.commands.keys import selection
from encfields.cli.interrupts import interrupts
from encfields.cli.output import Output, plain
from encfields.cli.parsing import names_a_file
from encfields.cli.settings import Settings
from encfields.cli.targets import add_target_options
from encfields.errors import ConfigurationError
from encfields.keys.admin import KeyAdmin
from encfields.keys.many.many_keys import ManyKeys
from encfields.keys.many.report import KeysReport
from encfields.keys.removal import RECEIPT, DestructionReceipt, places_of

WHAT = (
    "destroy a key for good, so that everything under it is unreadable; needs no keyring, except "
    "to say where AWS's key store is. First every value of the tables named is counted; then the "
    "key's id, or the number of keys if there are several, must be entered, on the terminal or "
    "with --confirm. Backups of the key table still hold the wrapped key"
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
        help=(
            "the key's id once more, or the number of keys if there are several; asked for if it "
            "is not given"
        ),
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
            help="write the receipt to a new file, as JSON; of several keys, one on each line, "
            "added to those that the same command wrote before it was broken off",
        )
    )
    parser.add_argument("--signed-off-by", metavar="NAME", help="who is responsible")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Count, ask, destroy, and write the receipt."""
    destroy = _destroy_one if selection.names_one(arguments) else _destroy_many
    with interrupts.sigterm_ends_in_order():
        return destroy(arguments, output)


def _destroy_one(arguments: argparse.Namespace, output: Output) -> int:
    settings = Settings(arguments)
    specs = None if arguments.no_count else settings.specs()
    (key_id,) = arguments.key_ids
    with _receipt_file(arguments.receipt) as file, settings.open_engine() as engine:
        keys = settings.keys(engine, keys_needed=False)
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


def _destroy_many(arguments: argparse.Namespace, output: Output) -> int:
    """Count, ask, destroy, and write the receipts as the keys go."""
    settings = Settings(arguments)
    specs = None if arguments.no_count else settings.specs()
    confirm = _count(arguments.confirm)
    with _receipt_file(arguments.receipt, goes_on=True) as file, settings.open_engine() as engine:
        many = selection.selected(arguments, settings.keys(engine, keys_needed=False))
        if not confirm and not many.list():
            return selection.print_report(KeysReport(), "destroyed", arguments, output)
        if confirm is None and sys.stdin.isatty() and not output.as_json:
            confirm = _ask_for_count(many, specs)
        with ExitStack() as stack:
            receipts = stack.enter_context(file.open("a", encoding="utf-8")) if file else None
            progress = stack.enter_context(selection.progress(output, "destroying"))
            report = many.destroy(
                confirm=confirm,
                specs=specs,
                signed_off_by=arguments.signed_off_by,
                at_once=arguments.at_once,
                keep=None if receipts is None else partial(_write, receipts),
                progress=progress,
            )
    return selection.print_report(report, "destroyed", arguments, output)


def _count(text: str | None) -> int | None:
    """How many keys a confirmation names.

    :raises ConfigurationError: it is no number.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise ConfigurationError(
            "several keys are confirmed by their number, such as --confirm 40",
            reason="not-confirmed",
        )
    return int(text)


def _ask_for_count(many: ManyKeys, specs: list[TableSpec] | None) -> int | None:
    """Say what would be lost, and ask how many keys that are."""
    try:
        many.destroy(confirm=None, specs=specs)
    except ConfigurationError as error:
        if error.reason != "not-confirmed":
            raise
        question = error.message.partition(" Confirm with")[0]
    sys.stderr.write(f"{plain(question)}\nType how many keys to destroy for good: ")
    sys.stderr.flush()
    return _count(sys.stdin.readline().strip() or None)


def _write(file: TextIO, receipt: DestructionReceipt) -> None:
    file.write(json.dumps(receipt.to_json()) + "\n")
    file.flush()


@contextmanager
def _receipt_file(name: str | None, *, goes_on: bool = False) -> Iterator[Path | None]:
    """The receipt's file, made before a key is destroyed, when failing still costs nothing.

    It is removed again if nothing was written to it. A process that was killed leaves an empty one.

    :param name: ``None`` if no receipt is wanted.
    :param goes_on: whether it may have receipts, of the same command that was broken off.
    :raises ConfigurationError: it holds something else, or cannot be made.
    """
    if name is None:
        yield None
        return
    file = Path(name)
    try:
        with suppress(FileExistsError):
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        with file.open("rb+") as opened:
            why = None if _may_be_written(opened.read(), goes_on=goes_on) else _HOLDS_ANOTHER
    except OSError as error:
        why = error.strerror
    if why is not None:
        raise ConfigurationError(
            f"the receipt {name} cannot be written: {why}; nothing was destroyed", reason="receipt"
        )
    try:
        yield file
    finally:
        if not file.stat().st_size:
            file.unlink()


_HOLDS_ANOTHER = "there is a file of that name, which holds something else"


def _may_be_written(content: bytes, *, goes_on: bool) -> bool:
    """Whether a receipt can be added to what a file holds: nothing, or receipts."""
    if not content:
        return True
    if not (goes_on and content.endswith(b"\n")):
        return False
    try:
        documents = [json.loads(line) for line in content.splitlines()]
    except ValueError:
        return False
    return all(isinstance(one, dict) and one.get("receipt") == RECEIPT for one in documents)
