"""``encfields status``: under which key versions the values are, read without a key."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import Engine

from encfields.bulk.survey.census import Census, census
from encfields.bulk.survey.column_census import ColumnCensus, Example
from encfields.bulk.survey.headers import KeyVersions
from encfields.bulk.survey.index_check import IndexCensus
from encfields.cli import exits
from encfields.cli.output import Cell, Output, pairs_of
from encfields.cli.settings import Settings, add_common_options
from encfields.cli.targets import add_target_options
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

_STYLES = {
    "current": "green",
    "older version": "yellow",
    "version unknown": "yellow",
    "key version missing": "red",
    "key destroyed": "red",
    "former key": "yellow",
    "other key": "red",
    "other format": "yellow",
    "misplaced": "red",
    "plaintext": "red",
    "damaged": "red",
    "NULL": "dim",
}
_VERDICTS = {
    exits.OK: ("current", "green", "Every value is under the active version of its key."),
    exits.WORK_LEFT: ("work-left", "yellow", "Not every value is under the active version."),
    exits.FAULTS: ("faults", "red", "There are values that do not open where they are."),
}


class Kind(NamedTuple):
    """One line of the table: values of one column that are alike."""

    state: str
    key_id: str
    version: str
    values: int


def register(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "status",
        help="count values by key version; needs no key",
        description=_DESCRIPTION,
        epilog=exits.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common_options(parser)
    add_target_options(parser)
    parser.add_argument(
        "--sample",
        type=int,
        metavar="ROWS",
        help="look at about so many rows of each table, drawn at random, and extrapolate",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Take the census and tell it."""
    check_sample(arguments.sample)
    settings = Settings(arguments)
    engine = settings.engine()
    try:
        known = _known_versions(settings, engine)
        censuses = []
        for spec in settings.specs():
            with output.progress(f"reading {spec.table}") as progress:
                censuses.append(census(engine, spec, sample=arguments.sample, progress=progress))
    finally:
        engine.dispose()
    code = max(_code(one, known) for one in censuses)
    _tell(censuses, known, code, output)
    return code


def check_sample(sample: int | None) -> None:
    """Refuse a sample without rows."""
    if sample is not None and sample < 1:
        raise ConfigurationError("--sample is a number of rows, 1 or more", reason="options")


def _known_versions(settings: Settings, engine: Engine) -> KeyVersions | None:
    """The key versions that there are; ``None`` if the database has no key table."""
    try:
        return KeyVersions(settings.keys(engine, keys_needed=False).list())
    except ConfigurationError as error:
        if error.reason != "no-key-table":
            raise
        return None


def _code(one: Census, known: KeyVersions | None) -> int:
    if one.faults or (known is not None and any(_keyless(c, known) for c in one.columns)):
        return exits.FAULTS
    return exits.OK if _is_current(one, known) and one.is_indexed else exits.WORK_LEFT


def _keyless(column: ColumnCensus, known: KeyVersions) -> int:
    """Values in their place under a version that nobody has, or that was destroyed."""
    return known.without_key(column.versions) + known.without_key(column.former_key)


def _is_current(one: Census, known: KeyVersions | None) -> bool:
    has_values = any(column.values for column in one.columns)
    return one.is_current(known.active if known else {}) or not has_values


def _tell(censuses: list[Census], known: KeyVersions | None, code: int, output: Output) -> None:
    active = None if known is None else known.active
    verdict, style, sentence = _VERDICTS[code]
    if output.as_json:
        tables = []
        for one in censuses:
            document = one.to_json()
            for column, counted in zip(document["columns"], one.columns, strict=True):
                column["current"] = None if active is None else counted.current(active)
                column["without_key"] = None if known is None else _keyless(counted, known)
            tables.append(document)
        output.json({"verdict": verdict, "active": active, "tables": tables})
        return
    for one in censuses:
        _tell_table(one, known, output)
        tell_indexes(one, output)
    if active is None:
        output.line("The database has no key table, so which versions are active is not known.")
    if code != exits.WORK_LEFT or not all(_is_current(one, known) for one in censuses):
        output.line(sentence, style=style)
    if not all(one.is_indexed for one in censuses):
        output.line(NOT_INDEXED, style="yellow")


def _tell_table(one: Census, known: KeyVersions | None, output: Output) -> None:
    headings = ["column", "state", "key", "version", "values", "share"]
    if one.sample is not None:
        headings.append("in all, about")
    rows: list[list[Cell]] = []
    for column in one.columns:
        for kind in kinds(column, known):
            style = _STYLES[kind.state.partition(":")[0]]
            share = f"{kind.values / column.rows:.1%}"
            row: list[Cell] = [column.column, (kind.state, style), kind.key_id, kind.version]
            row += [f"{kind.values:,}", share]
            if one.sample is not None:
                row.append(f"{one.sample.extrapolate(kind.values):,}")
            rows.append(row)
    output.table(f"{one.table}: {one.rows:,} rows", headings, rows, right=len(headings) - 4)
    for column in one.columns:
        for state, examples in sorted(column.examples.items()):
            for example in examples:
                output.line(f"  {column.column}, {_example(state, example)}")
    if one.sample is not None:
        output.line(one.sample.caveat, style="bold")


def kinds(column: ColumnCensus, known: KeyVersions | None) -> list[Kind]:
    """The lines that a column's values fall into; none of them is empty."""
    lines = []
    for (key_id, version), count in sorted(column.versions.items()):
        state = "version unknown" if known is None else known.state(key_id, version)
        lines.append(Kind(state, key_id, version, count))
    for state, counts in (
        ("former key", column.former_key),
        ("other key", column.other_key),
        ("misplaced", column.misplaced),
    ):
        lines += [Kind(state, *name, count) for name, count in sorted(counts.items())]
    for state, reasons in (("other format", column.other_format), ("damaged", column.damaged)):
        lines += [Kind(f"{state}: {why}", "", "", n) for why, n in sorted(reasons.items())]
    lines += [Kind("plaintext", "", "", column.plaintext)] if column.plaintext else []
    lines += [Kind("NULL", "", "", column.nulls)] if column.nulls else []
    return lines


def _example(state: str, example: Example) -> str:
    place = pairs_of(example.row)
    if example.belongs_to is not None:
        pairs = pairs_of(example.belongs_to)
        return f"row {place}: misplaced, it was sealed for {pairs}"
    return f"row {place}: {state.replace('_', ' ')} ({example.reason})"


NOT_INDEXED = (
    "Rows have a value and are not in its blind index; queries by the index miss them: run "
    "`encfields reencrypt`, or op.fill_blind_index(...) in a migration."
)


def tell_indexes(one: Census, output: Output) -> None:
    """The blind indexes of a table, if the census looked at any."""
    if not one.indexes:
        return
    headings = ["blind index", "of", "beacon key", "indexed", "not indexed", "without a value"]
    rows = [_row(index) for index in one.indexes]
    output.table(f"{one.table}: blind indexes", headings, rows, right=3)
    for index in one.indexes:
        if not index.is_there:
            output.line(f"  {index.column}: the database has no such column yet")
    if one.sample is not None:
        return  # what was not drawn may be missing
    for older, newer in _rotations(one.indexes):
        if newer.is_complete:
            output.line(
                f"  {newer.column} is complete: declare versions=({newer.version},), have a "
                f"migration drop {older.column}, and then retire beacon key {older.version}"
            )


def _row(index: IndexCensus) -> list[Cell]:
    missing = f"{index.missing:,}"
    return [
        index.column,
        ", ".join(index.of),
        f"version {index.version}",
        f"{index.indexed:,}",
        (missing, "yellow") if index.missing else missing,
        f"{index.orphaned:,}",
    ]


def _rotations(indexes: Sequence[IndexCensus]) -> Iterator[tuple[IndexCensus, IndexCensus]]:
    """An index under two versions, older and newer."""
    by_index: dict[tuple[object, ...], list[IndexCensus]] = {}
    for one in indexes:
        by_index.setdefault((one.index, one.of), []).append(one)
    for versions in by_index.values():
        yield from pairwise(sorted(versions, key=lambda one: one.version))
