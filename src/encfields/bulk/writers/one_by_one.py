"""A batch in which the database refuses a row: that row is found and left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from encfields.bulk.rows.changes import Change, Outcome, Refused
from encfields.bulk.runs.patience import refuses_row

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.bulk.writers.base import Writer


def write_one_by_one(
    writer: Writer,
    connection: Connection,
    changes: Sequence[Change],
    names: str,
    outcome: Outcome,
) -> int:
    """Store what the database lets in, and quarantine the rest.

    :param names: the columns that can be the matter, for people.
    :param outcome: takes the rows that are refused.
    :returns: how many rows were stored.
    """
    try:
        with connection.begin_nested():
            return writer.write(connection, changes)
    except DBAPIError as error:
        if not refuses_row(error):
            raise
        # The driver's own text could hold the value.
        kind = type(error.orig).__name__
    if len(changes) > 1:
        half = len(changes) // 2
        parts = (changes[:half], changes[half:])
        return sum(write_one_by_one(writer, connection, part, names, outcome) for part in parts)
    unique = (
        "a constraint on the index refuses the row; if the index is unique, another row has the "
        "same value"
    )
    plain = "the column does not take the value: its type, its length, a constraint or a trigger"
    reason, why = ("not-unique", unique) if changes[0].derived else ("refused-by-column", plain)
    outcome.refused.append(Refused(changes[0].key, names[:128], reason, f"{kind}: {why}"))
    return 0
