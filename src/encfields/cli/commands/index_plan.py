"""``encfields index plan``: what a blind index on real data would cost and give away."""

from __future__ import annotations

import argparse
from functools import cache
from typing import Any

from sqlalchemy import Engine

from encfields.branch_key import BranchKey, FindKey
from encfields.cli import exits
from encfields.cli.application import metadata_named
from encfields.cli.commands.index_plan_report import print_plans
from encfields.cli.output import Output
from encfields.cli.parsing import add_command
from encfields.cli.settings import Settings, add_common_options
from encfields.cli.targets import add_sample_option, add_target_options, check_sample
from encfields.engine import Encryption, engine_encryption
from encfields.errors import ConfigurationError, DeclarationError
from encfields.index.hashing import MAX_BITS, MIN_BITS, check_bits
from encfields.index.transforms import transform_named
from encfields.planner.counting import TableCount, count_values
from encfields.planner.plan import EXTRA_ROWS, Plan, advise
from encfields.planner.subjects import Subject, completed, few_values_of, subjects_of

_DESCRIPTION = """\
Count how often each value of the named columns occurs. For blind indexes of several lengths, show
how many extra rows a look-up would read, and for how many rows somebody who counts hashes and knows
how common each value is would name the right value. Recommend a length, or refuse.

Columns may be encrypted, which needs a --keyring, or still plaintext. With --models, the indexes
declared there are judged; otherwise those of --transform and --bits. Values are counted as hashes
under a key that is discarded, and never shown.

Booleans, enumerations of few members, and columns with few or uneven values are refused, with
exit status 2, unless --accept-leakage says in writing why that is acceptable.
"""


def register(subparsers: Any) -> None:
    """Add ``encfields index`` with its own verb."""
    index = subparsers.add_parser("index", help="plan blind indexes: what they cost and give away")
    _add_plan(index.add_subparsers(metavar="VERB", required=True))


def _add_plan(verbs: Any) -> None:
    """Add ``plan``."""
    parser = add_command(
        verbs,
        "plan",
        summary="recommend a length, and show what an index gives away",
        description=_DESCRIPTION,
    )
    add_common_options(parser)
    add_target_options(parser)
    _add_index_options(parser)
    parser.set_defaults(run=run)


def _add_index_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--transform",
        action="append",
        dest="transforms",
        metavar="NAME",
        help="what of a value is indexed: exact, casefold, digits, first4, last4, first_letter, "
        "year, digits.last4; may be repeated (default: what the models declare, else exact)",
    )
    parser.add_argument(
        "--bits",
        type=int,
        metavar="N",
        help=f"judge an index of so many bits, {MIN_BITS} to {MAX_BITS}, rather than recommend one",
    )
    parser.add_argument(
        "--extra-rows",
        type=float,
        default=EXTRA_ROWS,
        metavar="N",
        help="extra rows that a look-up may read (default: %(default)s)",
    )
    add_sample_option(
        parser, "read about so many rows of each table, drawn at random, and extrapolate"
    )
    parser.add_argument(
        "--accept-leakage",
        metavar="WHY",
        help="plan an index that would be refused; give the reason, which is shown",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Count, judge and print."""
    check_sample(arguments.sample)
    request = _Request(arguments)
    settings = Settings(arguments)
    with settings.open_engine() as engine:
        plans = _plans(settings, engine, request, output)
    if not plans:
        raise ConfigurationError(
            "the models declare no blind index: name columns with --table and --column, or a "
            "--transform for every column that can have it",
            reason="no-index",
        )
    print_plans(plans, output)
    return exits.FAULTS if any(plan.is_refused for plan in plans) else exits.OK


def _plans(settings: Settings, engine: Engine, request: _Request, output: Output) -> list[Plan]:
    """The plans of all tables, reading each once."""
    models = settings.models()
    metadata = None if models is None else metadata_named(models)
    find_key = _find_key(settings, engine)
    plans: list[Plan] = []
    for spec in settings.specs():
        named = request.names_columns or metadata is None
        subjects = subjects_of(spec, metadata, request.transforms, request.bits, named=named)
        if not subjects:
            continue
        with output.progress(f"reading {spec.table}") as progress:
            counted = count_values(
                engine,
                find_key,
                completed(spec, metadata, subjects),
                list(dict.fromkeys(subject.parts for subject in subjects)),
                sample=request.sample,
                progress=progress,
            )
        plans += [_plan(counted, subject, request) for subject in subjects]
    return plans


class _Request:
    """The request in the options.

    :raises EncFieldsError: an option is not usable.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.transforms = [transform_named(name) for name in arguments.transforms or []]
        self.bits: int | None = None if arguments.bits is None else check_bits(arguments.bits)
        self.extra_rows: float = arguments.extra_rows
        self.sample: int | None = arguments.sample
        self.names_columns = any(option == "column" for option, _ in arguments.targets or ())
        self.accepted: str | None = arguments.accept_leakage
        if self.accepted is not None and not self.accepted.strip():
            raise ConfigurationError(
                "--accept-leakage says in words why what the index gives away is acceptable",
                reason="options",
            )


def _find_key(settings: Settings, engine: Engine) -> FindKey:
    """Opens keys; requires a keyring only for the first encrypted value."""

    @cache
    def encryption() -> Encryption:
        return settings.encryption(engine)

    def find_key(key_id: str, version: str) -> BranchKey:
        return engine_encryption(encryption()).find_key(key_id, version)

    return find_key


def _plan(counted: TableCount, subject: Subject, request: _Request) -> Plan:
    index = next(index for index in counted.indexes if index.parts == subject.parts)
    several_keys = len(index.by_key) > 1 and not subject.one_key
    key_id = index.largest_key() if several_keys else None
    frequencies = counted.frequencies(index, key_id)
    if index.inapplicable and not frequencies.counts:
        raise DeclarationError(
            f"the transform {index.transform!r} cannot be applied to any of the column's values",
            table=counted.table,
            column=index.column,
            reason="transform",
        )
    few_values = None
    if len(index.columns) == 1:
        few_values = few_values_of(subject.type, index.columns[0].type)
    return Plan(
        counted.table,
        subject.bits,
        request.accepted or subject.accepted,
        subject.name,
        index,
        frequencies,
        key_id,
        advise(
            frequencies,
            few_values_of=few_values,
            extra_rows=request.extra_rows,
            also=() if subject.bits is None else (subject.bits,),
        ),
        counted.sample,
    )
