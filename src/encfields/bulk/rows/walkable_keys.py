"""Whether a table can be walked by its primary key: what is refused, with its table and column.

A batch begins after the last key of the one before, which a run notes as text. A key that the
driver cannot read, that has no exact text, or that the driver reads as another one (psycopg2 makes
9999-12-31 of 'infinity') would end a walk with a driver's error, or have it go round for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import DBAPIError

from encfields.bulk.row_refusals import refuses_row
from encfields.bulk.rows.stored_keys import Key, has_text
from encfields.errors import DeclarationError

if TYPE_CHECKING:
    from sqlalchemy import Column, Table

T = TypeVar("T")

UNREADABLE_KEY = (
    "a row has a primary key, or another column that values are bound to, that cannot be read: "
    "Python has no dates before the year 1 or after 9999 ('infinity', BC), and a driver may not "
    "support every value of a type. Find such rows with SQL, and change that column"
)


def read_with_keys(table: Table, read: Callable[[], T]) -> T:
    """What a SELECT of keys gives.

    :param table: which it reads.
    :raises DeclarationError: the driver cannot read the key of a row.
    """
    try:
        return read()
    except DBAPIError as error:
        if not refuses_row(error):
            raise
    except NotImplementedError:  # psycopg's, of a timestamptz
        raise DeclarationError(
            "psycopg cannot read timestamptz unless DateStyle is ISO: have this database user "
            "connect with connect_args={'options': '-c datestyle=ISO'}",
            table=table.fullname,
            column=_names(table),
            reason="date-style",
        ) from None
    raise DeclarationError(
        UNREADABLE_KEY, table=table.fullname, column=_names(table), reason="primary-key"
    )


def require_later(table: Table, last: Key, after: Key | None) -> None:
    """See that a batch ended later than the one before it, and that another can follow.

    :raises DeclarationError: it did not, or none can.
    """
    if None in last:
        raise DeclarationError(
            "a row has NULL in its primary key, which SQLite allows. No key compares as greater "
            "than NULL, so the rows after it would be left out: give it a key, and declare the "
            "column NOT NULL",
            table=table.fullname,
            column=_names(table),
            reason="primary-key",
        )
    if last == after:
        raise DeclarationError(
            "the driver returns the same key for two rows, so the table cannot be read in batches: "
            "psycopg2, for instance, reads 'infinity' as Python's last date. Find such rows with "
            "SQL, and change their keys",
            table=table.fullname,
            column=_names(table),
            reason="primary-key",
        )


def require_text(key: Sequence[Column[Any]], last: Key) -> None:
    """See that a run can note how far it has come.

    :raises DeclarationError: a value of the key has no exact text.
    """
    for column, value in zip(key, last, strict=True):
        if value is not None and not has_text(value):
            raise DeclarationError(
                "the table cannot be read in batches by a primary key of type "
                f"{type(column.type).__name__}: make it an integer, a UUID, a text or bytes, a "
                "date or a number",
                table=column.table.fullname,
                column=column.name,
                reason="primary-key",
            )


def _names(table: Table) -> str:
    return ", ".join(column.name for column in table.primary_key.columns)
