"""``encfields status``: under which key versions the values are, read without a key."""

from __future__ import annotations

import argparse
from typing import Any

from sqlalchemy import Engine

from encfields.bulk.survey.census import Census, census
from encfields.bulk.survey.surveyor import KeyVersions
from encfields.cli import exits
from encfields.cli.changing import changing_columns, print_changes
from encfields.cli.help import add_command
from encfields.cli.output import Output
from encfields.cli.settings import Settings, add_common_options
from encfields.cli.status_report import is_current, keyless, print_status
from encfields.cli.targets import add_sample_option, add_target_options, check_sample
from encfields.errors import ConfigurationError

_DESCRIPTION = """\
Count, for each encrypted column, the values under each key version, those in another format,
plaintext, NULLs, and those that are damaged, belong to another row or are under a key that is
neither their column's nor one of its former keys; and for each blind index
that --models declares, the rows that have a value and are not in it. Only the first bytes of
each value are read, and no key is used: no --keyring is needed. What a value says of itself is
believed; `encfields verify` opens it. Values under a version that was destroyed, or that the key
table does not have, do not open and count as faults.
"""


def register(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "status",
        summary="count values by key version; needs no key",
        description=_DESCRIPTION,
    )
    add_common_options(parser)
    add_target_options(parser)
    add_sample_option(
        parser, "look at about so many rows of each table, drawn at random, and extrapolate"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Take the census and print it."""
    check_sample(arguments.sample)
    settings = Settings(arguments)
    with settings.open_engine() as engine:
        known = _known_versions(settings, engine)
        censuses = []
        specs = settings.specs()
        for spec in specs:
            with output.progress(f"reading {spec.table}") as progress:
                censuses.append(census(engine, spec, sample=arguments.sample, progress=progress))
    code = max(_code(census_, known) for census_ in censuses)
    print_status(censuses, known, code, output)
    if not output.as_json:
        print_changes(changing_columns(settings, specs), output)
    return code


def _known_versions(settings: Settings, engine: Engine) -> KeyVersions | None:
    """The key versions that there are; ``None`` if the database has no key table."""
    try:
        return KeyVersions(settings.keys(engine, keys_needed=False).list())
    except ConfigurationError as error:
        if error.reason != "no-key-table":
            raise
        return None


def _code(one: Census, known: KeyVersions | None) -> int:
    if one.faults or (known is not None and any(keyless(c, known) for c in one.columns)):
        return exits.FAULTS
    return exits.OK if is_current(one, known) and one.is_indexed else exits.WORK_LEFT
