"""``encfields verify``: open every value, and list those that do not open."""

from __future__ import annotations

import argparse
from typing import Any

from sqlalchemy import Engine

from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.index_check import INDEX_REASONS
from encfields.bulk.survey.verify import MAX_FAILURES, Failure, Verification, verify
from encfields.cli import exits
from encfields.cli.changing_columns import changing_columns, print_changes, unconverted
from encfields.cli.output import Output, pairs_of
from encfields.cli.parsing import add_command
from encfields.cli.settings import Settings, add_common_options
from encfields.cli.targets import add_sample_option, add_target_options, check_sample
from encfields.engine import Encryption

_DESCRIPTION = """\
Open every value of the encrypted columns, each for its own row, and list those that do not open:
where they are, why, and where a swapped one belongs. With --models it also recomputes blind indexes
and lists those that are missing or do not match their value, and counts values left to convert if
formerly= declares another inner type. It needs a --keyring. Values are never shown.
"""


def register(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "verify",
        summary="open every value and list those that do not open",
        description=_DESCRIPTION,
    )
    add_common_options(parser)
    add_target_options(parser)
    add_sample_option(parser, "open about so many rows, drawn at random")
    parser.add_argument(
        "--max-failures",
        type=int,
        default=MAX_FAILURES,
        metavar="N",
        help="list at most so many of each table; all are counted (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Verify the tables and print the outcome."""
    check_sample(arguments.sample)
    settings = Settings(arguments)
    with settings.open_engine() as engine:
        specs = settings.specs()
        encryption = settings.encryption(engine)
        verified = [_verified(spec, engine, encryption, arguments, output) for spec in specs]
        changing = changing_columns(settings, specs)
        # Not for a sample: this opens all values.
        left = {} if arguments.sample else unconverted(changing, engine, encryption)
    ok = all(verification.ok for verification in verified)
    if output.as_json:
        tables = [verification.to_json() for verification in verified]
        output.json({"ok": ok and not left, "tables": tables, "unconverted": left})
    else:
        _print_tables(verified, output)
        for name, message in left.items():
            output.line(f"{name}: {message}", style="red")
        print_changes(changing, output)
    if not ok:
        return exits.FAULTS
    return exits.WORK_LEFT if left else exits.OK


def _verified(
    spec: TableSpec,
    engine: Engine,
    encryption: Encryption,
    arguments: argparse.Namespace,
    output: Output,
) -> Verification:
    with output.progress(f"opening {spec.table}") as progress:
        return verify(
            engine,
            encryption,
            spec,
            sample=arguments.sample,
            max_failures=arguments.max_failures,
            progress=progress,
        )


def _print_tables(verified: list[Verification], output: Output) -> None:
    for verification in verified:
        if verification.failures:
            rows = [_row(failure) for failure in verification.failures]
            headings = ["column", "row", "error", "reason", "belongs to"]
            output.table(f"{verification.table}: faults", headings, rows)
        failed = verification.failed.total()
        listed = (
            f" ({len(verification.failures):,} listed)"
            if failed > len(verification.failures)
            else ""
        )
        indexes = sum(
            n for (_, reason), n in verification.failed.items() if reason in INDEX_REASONS
        )
        of_indexes = f", {indexes:,} blind indexes do not match their value" if indexes else ""
        output.line(
            f"{verification.table}: {verification.rows:,} rows; {verification.opened:,} values "
            f"opened, {verification.nulls:,} NULL, {failed - indexes:,} did not open{of_indexes}"
            f"{listed}",
            style="green" if verification.ok else "red",
        )
        if verification.sample is not None:
            output.line(verification.sample.caveat, style="bold")


def _row(failure: Failure) -> list[str]:
    return [
        failure.column,
        pairs_of(failure.row),
        failure.error,
        failure.reason,
        pairs_of(failure.belongs_to or {}),
    ]
