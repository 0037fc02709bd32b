"""``encfields status`` about blind indexes: which rows are missing, and which version may go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from encfields.bulk.survey.census import Census
from encfields.bulk.survey.index_check import IndexCensus
from encfields.cli.output import Cell, Output

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
