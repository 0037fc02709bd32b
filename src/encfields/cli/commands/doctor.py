"""``encfields doctor``: look for what would fail, before it does."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine

from encfields.bulk.rows.spec import TableSpec
from encfields.cli import exits
from encfields.cli.application import engine_named
from encfields.cli.key_store import DYNAMODB, any_key_store_of, key_store_of, parse_keyring
from encfields.cli.output import Cell, Output, how_many
from encfields.cli.parsing import add_command
from encfields.cli.settings import Settings, add_common_options
from encfields.cli.targets import add_target_options
from encfields.doctor import Finding
from encfields.doctor.database import check_clock, check_columns
from encfields.doctor.engine import check_engine, store_name_given
from encfields.doctor.key_table import check_key_table, check_key_versions
from encfields.doctor.kms_actions import check_keyring
from encfields.doctor.libraries import check_libraries
from encfields.doctor.row_keys import check_row_keys
from encfields.errors import ConfigurationError, EncFieldsError

_DESCRIPTION = """\
Look for what would fail, before it does: library versions, the KMS actions that this role may
take on each key (by taking them, on a data key that is thrown away), the key table and whether
its keys open, the clock, the encrypted columns, whether the database itself changes what their
values are bound to and, with --engine, the application's own engine.
Nothing is written anywhere. Run it as the application's role and user: an application needs
kms:Decrypt only.
"""

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "dim"}


def register(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "doctor",
        summary="look for what would fail: versions, KMS permissions, keys, clock, columns, engine",
        description=_DESCRIPTION,
    )
    add_common_options(parser)
    add_target_options(parser)
    parser.add_argument(
        "--key-id",
        metavar="ID",
        default="default",
        help="branch key id to try KMS with, where policies are conditioned on it (default: "
        "%(default)s)",
    )
    parser.add_argument("--strict", action="store_true", help="count warnings as problems")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Make all checks and print what they found."""
    settings = Settings(arguments)
    of_engine = _application(settings)
    findings = [*check_libraries(), *_keyring(settings, arguments.key_id)]
    findings += [*_database(settings), *of_engine]
    bad = {"problem", "warning"} if arguments.strict else {"problem"}
    healthy = not any(finding.verdict in bad for finding in findings)
    if output.as_json:
        output.json({"healthy": healthy, "findings": [finding.to_json() for finding in findings]})
    else:
        _print_findings(findings, output)
    return exits.OK if healthy else exits.FAULTS


def _application(settings: Settings) -> list[Finding]:
    """The application's engine as importing it leaves it, before anything else is done."""
    place = settings.engine_place()
    return [] if place is None else check_engine(engine_named(place))


def _keyring(settings: Settings, key_id: str) -> list[Finding]:
    given = settings.keyring_text()
    if given is None:
        return [Finding("keyring", "skipped", "no --keyring is given")]
    if _is_fleet(settings):
        detail = (
            "AWS's key store takes other actions than a key table; whether its keys open shows it"
        )
        return [Finding("keyring", "skipped", detail)]
    try:
        return check_keyring(parse_keyring(given), key_id, settings.store_name() or "doctor")
    except ConfigurationError as error:  # an alias in place of an ARN, for instance
        return [Finding("keyring", "problem", error.message)]


def _database(settings: Settings) -> list[Finding]:
    try:
        with settings.open_engine() as engine:
            return _tables(settings, engine)
    except ConfigurationError as error:
        if error.reason != "no-database-file":
            raise
        return [Finding("database", "problem", error.message)]


def _tables(settings: Settings, engine: Engine) -> list[Finding]:
    findings = [check_clock(engine), *_keys(settings, engine)]
    try:
        specs = settings.specs()
    except ConfigurationError as error:
        if error.reason != "no-table-named":
            raise
        return [*findings, Finding("columns", "skipped", "no table is named: --models or --table")]
    except EncFieldsError as error:  # the models declare what cannot be protected
        return [*findings, Finding("columns", "problem", str(error))]
    findings += [*check_columns(engine, specs), *check_row_keys(engine, specs)]
    return [*findings, *_key_versions(settings, engine, specs)]


def _key_versions(settings: Settings, engine: Engine, specs: Sequence[TableSpec]) -> list[Finding]:
    try:
        listed = settings.keys(engine, keys_needed=False).list()
    except EncFieldsError:  # reported already
        return []
    return check_key_versions(engine, specs, listed)


def _is_fleet(settings: Settings) -> bool:
    return settings.key_table_name().startswith(DYNAMODB)


def _keys(settings: Settings, engine: Engine) -> list[Finding]:
    given, name = settings.keyring_text(), settings.key_table_name()
    if _is_fleet(settings):
        try:
            return check_key_table(any_key_store_of(given, name), opens=True)
        except ConfigurationError as error:
            return [Finding("key table", "problem", error.message)]
    try:
        store = key_store_of(given, name, _store_name(settings))
    except ConfigurationError:  # reported already
        given, store = None, key_store_of(None, name, _store_name(settings))
    store.bind(engine)
    return check_key_table(store, opens=given is not None)


def _store_name(settings: Settings) -> str | None:
    """The key store's name, which the application's engine knows where no option says it."""
    place = settings.engine_place()
    given = settings.store_name()
    return given if given or place is None else store_name_given(engine_named(place))


def _print_findings(findings: Sequence[Finding], output: Output) -> None:
    rows: list[list[Cell]] = [
        [(finding.verdict, _STYLES[finding.verdict]), finding.check, finding.detail]
        for finding in findings
    ]
    output.table("doctor", ["verdict", "check", "found"], rows)
    output.gap()
    count = Counter(finding.verdict for finding in findings)
    worst = "problem" if count["problem"] else "warning" if count["warning"] else "ok"
    output.line(
        f"{how_many(count['problem'], 'problem')}, {how_many(count['warning'], 'warning')}, "
        f"{count['ok']} in order, "
        f"{count['skipped']} skipped.",
        style=_STYLES[worst],
    )
