"""Which columns a change compares and writes: changes alike in that share a statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from encfields.bulk.rows.changes import ABSENT, Change


class Shape(NamedTuple):
    """The columns of a change, by number.

    :param compared: those whose old value must still stand.
    :param absent: those that must still be NULL.
    :param written: those with a new value.
    :param derives: whether it writes the derived columns.
    """

    compared: tuple[int, ...]
    absent: tuple[int, ...]
    written: tuple[int, ...]
    derives: bool


_WHOLE = Shape((0,), (), (0,), derives=False)
"""Of most changes: the value of one column."""


def shape_of(change: Change) -> Shape:
    """The shape of one change."""
    old, new = change.old, change.new
    if len(old) == 1 and old[0] and new[0] is not None and change.derived is None:
        return _WHOLE
    return Shape(
        tuple(i for i, value in enumerate(old) if value is not None and value != ABSENT),
        tuple(i for i, value in enumerate(old) if value == ABSENT),
        tuple(i for i, value in enumerate(new) if value is not None),
        change.derived is not None,
    )


def by_shape(changes: Sequence[Change]) -> Iterator[tuple[Shape, list[Change]]]:
    """Runs of changes of one shape."""
    for shape, group in groupby(changes, key=shape_of):
        yield shape, list(group)
