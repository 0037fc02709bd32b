"""``encfields status``: counts values by key version, without a key."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from encfields.adopt.next_step import AdoptionProgress
from encfields.bulk.survey.census import Census, census
from encfields.bulk.survey.column_census import ColumnCensus, Example
from encfields.bulk.survey.index_check import IndexCensus
from encfields.cli import exits
from encfields.cli.adopting_columns import adoptions, print_adoptions
from encfields.cli.changing_columns import changing_columns, print_changes
from encfields.cli.commands.status_beacons import missing_beacons
from encfields.cli.output import Cell, Output, how_many, pairs_of
from encfields.cli.parsing import add_command
from encfields.cli.settings import Settings, add_common_options
from encfields.cli.targets import add_sample_option, add_target_options, check_sample
from encfields.errors import ConfigurationError
from encfields.keys.admin import KeyAdmin
from encfields.keys.versions import KeyVersions

_DESCRIPTION = """\
Count, for each encrypted column, the values under each key version, those in another format,
plaintext, NULLs, and those that are damaged, belong to another row or are under a key that is
neither their column's nor one of its former keys; for each blind index that --models declares,
the rows that have a value but are not in it, and whether its beacon keys are there; and for each
column that adopts a plaintext one, the rows with only plaintext, and the next step. It reads only
the first bytes of each value, its header, and uses no key, so it needs no --keyring: it reports
what headers say, which `encfields verify` checks by opening the values.
Values under a version that was destroyed, or that the key table lacks, do not open and count as
faults.
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
        parser, "read about so many rows of each table, drawn at random, and extrapolate"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Take the census and print it."""
    check_sample(arguments.sample)
    settings = Settings(arguments)
    with settings.open_engine() as engine:
        keys = settings.keys(engine, keys_needed=False)
        known = _known_versions(keys)
        censuses = []
        specs = settings.specs()
        adopting = adoptions(settings, engine, specs)
        for spec in specs:
            with output.progress(f"reading {spec.table}") as progress:
                censuses.append(census(engine, spec, sample=arguments.sample, progress=progress))
        keyless_indexes: Sequence[str] = (
            [] if known is None else missing_beacons(keys, known, specs, censuses)
        )
    code = max(_code(census_, known) for census_ in censuses)
    if code == exits.OK and any(one.pending for one in adopting):
        code = exits.WORK_LEFT
    code = exits.FAULTS if keyless_indexes else code
    print_status(censuses, known, code, output, keyless_indexes, adopting)
    if not output.as_json:
        print_adoptions(adopting, output)
        print_changes(changing_columns(settings, specs), output)
    return code


def _known_versions(keys: KeyAdmin) -> KeyVersions | None:
    """The existing key versions; ``None`` if the database has no key table."""
    try:
        return KeyVersions(keys.list())
    except ConfigurationError as error:
        if error.reason != "no-key-table":
            raise
        return None


def _code(counted: Census, known: KeyVersions | None) -> int:
    if counted.faults or (known is not None and any(keyless(c, known) for c in counted.columns)):
        return exits.FAULTS
    return exits.OK if is_current(counted, known) and counted.is_indexed else exits.WORK_LEFT


# -- how it is shown --------------------------------------------------------------------------

MAX_ALIKE = 10
"""Most key versions of a column and state with a line each; the rest share one."""

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
    exits.WORK_LEFT: (
        "work-left",
        "yellow",
        "Not every value is under the active version: `encfields reencrypt --start` moves them.",
    ),
    exits.FAULTS: (
        "faults",
        "red",
        "There are values that do not open where they are: `encfields verify` lists them.",
    ),
}
NOT_INDEXED = (
    "Rows have a value and are not in its blind index; queries by the index miss them: run "
    "`encfields reencrypt`, or op.fill_blind_index(...) in a migration."
)

NO_BEACON = (
    "The key table lacks the beacon key of {}: no row is found by a blind index, and none is "
    "written. Restore its row from a backup of the key table."
)


class ValueKind(NamedTuple):
    """One line of the table: values of one column that are alike."""

    state: str
    key_id: str
    version: str
    values: int


def print_status(
    censuses: list[Census],
    known: KeyVersions | None,
    code: int,
    output: Output,
    keyless_indexes: Sequence[str] = (),
    adopting: Sequence[AdoptionProgress] = (),
) -> None:
    """Write the censuses, as one document or as tables.

    :param known: the key versions that there are, if there is a key table.
    :param code: the exit status.
    :param keyless_indexes: the keys whose beacon key is missing.
    :param adopting: the adoptions of the tables' columns, which a document has too.
    """
    if output.as_json:
        document = _document(censuses, known, code)
        document |= {"without_beacon_key": [*keyless_indexes]}
        output.json(document | {"adoptions": [asdict(one) for one in adopting]})
        return
    for census_ in censuses:
        _print_table(census_, known, output)
        _print_indexes(census_, output)
    output.gap()
    output.line(_summary(censuses, known))
    if known is None:
        output.line("The database has no key table, so which versions are active is not known.")
    if keyless_indexes:
        output.line(NO_BEACON.format(", ".join(map(repr, keyless_indexes[:5]))), style="red")
        if not any(_code(census_, known) == exits.FAULTS for census_ in censuses):
            return
    _, style, sentence = _VERDICTS[code]
    if code != exits.WORK_LEFT or not all(is_current(census_, known) for census_ in censuses):
        output.line(sentence, style=style)
    if not all(census_.is_indexed for census_ in censuses):
        output.line(NOT_INDEXED, style="yellow")


def keyless(column: ColumnCensus, known: KeyVersions) -> int:
    """Values in their place under a version that is missing or destroyed."""
    return known.without_key(column.versions) + known.without_key(column.former_key)


def is_current(counted: Census, known: KeyVersions | None) -> bool:
    """Whether every value of a table is under the active version of its key."""
    has_values = any(column.values for column in counted.columns)
    return counted.is_current(known.active if known else {}) or not has_values


def _document(censuses: list[Census], known: KeyVersions | None, code: int) -> dict[str, object]:
    active = None if known is None else known.active
    tables = []
    for census_ in censuses:
        document = census_.to_json()
        for column, counted in zip(document["columns"], census_.columns, strict=True):
            column["current"] = None if active is None else counted.current(active)
            column["without_key"] = None if known is None else keyless(counted, known)
        tables.append(document)
    return {"verdict": _VERDICTS[code][0], "active": active, "tables": tables}


def _print_table(counted: Census, known: KeyVersions | None, output: Output) -> None:
    headings = ["column", "state", "key", "version", "values", "share"]
    if counted.sample is not None:
        headings.append("in all, about")
    rows: list[list[Cell]] = []
    for column in counted.columns:
        for kind in shown_kinds(kinds(column, known)):
            style = _STYLES[kind.state.partition(":")[0]]
            row: list[Cell] = [column.column, (kind.state, style), kind.key_id, kind.version]
            row += [f"{kind.values:,}", share_of(kind.values, column.rows)]
            if counted.sample is not None:
                row.append(f"{counted.sample.extrapolate(kind.values):,}")
            rows.append(row)
    output.table(f"{counted.table}: {counted.rows:,} rows", headings, rows, right=len(headings) - 4)
    if any(column.examples for column in counted.columns):
        output.gap()
    for column in counted.columns:
        for state, examples in sorted(column.examples.items()):
            for example in examples:
                output.line(f"  {column.column}, {_example(state, example)}")
    if counted.sample is not None:
        output.line(counted.sample.caveat, style="bold")


def kinds(column: ColumnCensus, known: KeyVersions | None) -> list[ValueKind]:
    """The lines of a column, without empty ones."""
    lines = []
    for (key_id, version), count in sorted(column.versions.items()):
        state = "version unknown" if known is None else known.state(key_id, version)
        lines.append(ValueKind(state, key_id, version, count))
    for state, counts in (
        ("former key", column.former_key),
        ("other key", column.other_key),
        ("misplaced", column.misplaced),
    ):
        lines += [ValueKind(state, *name, count) for name, count in sorted(counts.items())]
    for state, reasons in (("other format", column.other_format), ("damaged", column.damaged)):
        lines += [ValueKind(f"{state}: {why}", "", "", n) for why, n in sorted(reasons.items())]
    lines += [ValueKind("plaintext", "", "", column.plaintext)] if column.plaintext else []
    lines += [ValueKind("NULL", "", "", column.nulls)] if column.nulls else []
    return lines


def shown_kinds(lines: Iterable[ValueKind]) -> Iterator[ValueKind]:
    """The lines of a column grouped by state: the largest ones, and one for the rest, so that ten
    thousand tenants do not hide a fault of one."""
    order = list(_STYLES)
    by_state = sorted(lines, key=lambda kind: (order.index(kind.state.partition(":")[0]), kind))
    for state, alike in groupby(by_state, key=lambda kind: kind.state):
        all_ = list(alike)
        if len(all_) <= MAX_ALIKE:
            yield from all_
            continue
        all_.sort(key=lambda kind: -kind.values)
        yield from all_[: MAX_ALIKE - 1]
        rest = all_[MAX_ALIKE - 1 :]
        yield ValueKind(state, f"and {len(rest):,} more", "", sum(kind.values for kind in rest))


def share_of(part: int, whole: int) -> str:
    """A share, rounded so that it says 0% or 100% only if exact."""
    share = f"{part / whole:.1%}"
    if share == "0.0%" and part:
        return "<0.1%"
    return ">99.9%" if share == "100.0%" and part < whole else share


def _summary(censuses: Sequence[Census], known: KeyVersions | None) -> str:
    """All tables in one sentence."""
    states: Counter[str] = Counter()
    for census_ in censuses:
        for column in census_.columns:
            for kind in kinds(column, known):
                if kind.state != "NULL":
                    states[kind.state.partition(":")[0]] += kind.values
    counts = [f"{states[state]:,} {state}" for state in _STYLES if states[state]]
    columns = sum(len(census_.columns) for census_ in censuses)
    return (
        f"{states.total():,} values in {how_many(columns, 'column')} of "
        f"{how_many(len(censuses), 'table')}{': ' if counts else ''}{', '.join(counts)}."
    )


def _example(state: str, example: Example) -> str:
    place = pairs_of(example.row)
    if example.belongs_to is not None:
        pairs = pairs_of(example.belongs_to)
        return f"row {place}: misplaced, it was sealed for {pairs}"
    return f"row {place}: {state.replace('_', ' ')} ({example.reason})"


def _print_indexes(counted: Census, output: Output) -> None:
    """The blind indexes of a table, if the census looked at any."""
    if not counted.indexes:
        return
    headings = ["blind index", "of", "beacon key", "indexed", "not indexed", "without a value"]
    rows = [_row(index) for index in counted.indexes]
    output.table(f"{counted.table}: blind indexes", headings, rows, right=3)
    for index in counted.indexes:
        if not index.is_there:
            output.line(f"  {index.column}: the database has no such column yet")
    if counted.sample is not None:
        return  # rows not drawn may be missing
    for older, newer in _rotations(counted.indexes):
        if newer.is_complete:
            output.line(
                f"  {newer.column} is complete: declare versions=({newer.version},), drop "
                f"{older.column} in a migration, and then retire beacon key {older.version}"
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
