"""``encfields keys destroy`` of several keys: confirmed by how many they are."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from functools import partial
from typing import TextIO

from encfields.bulk.rows.spec import TableSpec
from encfields.cli.keys import selection
from encfields.cli.keys.administration import key_admin, new_receipt_file
from encfields.cli.output import Output, plain
from encfields.cli.settings import Settings
from encfields.errors import ConfigurationError
from encfields.keys.many.many_keys import ManyKeys
from encfields.keys.removal import DestructionReceipt


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Count, ask, destroy, and write the receipts as the keys go."""
    settings = Settings(arguments)
    specs = None if arguments.no_count else settings.specs()
    confirm = _count(arguments.confirm)
    with new_receipt_file(arguments.receipt) as file, settings.open_engine() as engine:
        many = selection.selected(arguments, key_admin(settings, engine))
        if confirm is None and sys.stdin.isatty() and not output.as_json:
            confirm = _ask(many, specs)
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
    return selection.print_report(report, "destroyed", output)


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


def _ask(many: ManyKeys, specs: list[TableSpec] | None) -> int | None:
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
