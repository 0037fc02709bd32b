"""A batch in which the database refuses a row: that row is found and left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from encfields.reencrypt.values import Change, Outcome, Refused

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.reencrypt.writers.base import Writer


def write_one_by_one(
    writer: Writer,
    connection: Connection,
    changes: Sequence[Change],
    derived_names: str,
    outcome: Outcome,
) -> int:
    """Store what a unique index lets in, and quarantine the rest.

    :param derived_names: the derived columns, for people.
    :param outcome: takes the rows that are refused.
    :returns: how many rows were stored.
    """
    try:
        with connection.begin_nested():
            return writer.write(connection, changes)
    except IntegrityError as error:
        # The driver's own text could hold the index's value.
        kind = type(error.orig).__name__
    if len(changes) > 1:
        half = len(changes) // 2
        parts = (changes[:half], changes[half:])
        return sum(
            write_one_by_one(writer, connection, part, derived_names, outcome) for part in parts
        )
    message = (
        f"{kind}: a constraint on the index refuses the row; if the index is unique, another row "
        "has the same value"
    )
    outcome.refused.append(Refused(changes[0].key, derived_names[:128], "not-unique", message))
    return 0
