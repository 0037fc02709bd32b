"""The rehearsal of an INSERT: it is executed with random bytes to learn its keys, and rolled back.

This works for every kind of key: from a sequence that the role may not use, a trigger, or any
server default. Triggers and SQL defaults run twice; their first effects are undone with the row.

The random bytes have the size of the values and indexes that will be stored, are all different, and
are never read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert as sql_insert

from encfields.message.header import MAGIC
from encfields.orm import internals
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.declare.stored_size import stored_size
from encfields.orm.write.generated_keys import savepoint
from encfields.orm.write.generated_keys.keyed_insert import without
from encfields.orm.write.generated_keys.savepoint import refuse_what_stayed

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.write.generated_keys.keyless import KeylessInsert

Keys = list[tuple[Any, ...]]


def rehearse(connection: Connection, insert: KeylessInsert, context: Any) -> Keys:
    """Learn the keys of an INSERT's rows; leaves a savepoint set, for a later check.

    :param context: of the INSERT itself, whose Python-side defaults are already evaluated.
    :raises UnknownIdentityError: the database did not report a key, or could not undo the rows.
    """
    refuse_skipping(insert)
    rows = rows_with_defaults(insert, context)
    with savepoint.set_for_rehearsal(connection):
        keys = _insert_dummies(connection, insert, rows)
        undone = savepoint.undo(connection)
    refuse_what_stayed(connection, insert, keys, undone)
    _require(insert, keys)
    return keys


def refuse_skipping(insert: KeylessInsert) -> None:
    """Refuse ON DUPLICATE KEY UPDATE, IGNORE and the like.

    :raises UnknownIdentityError: a row may be stored under another key.
    """
    if insert.may_skip:
        raise insert.unknown(
            "an INSERT that may skip or replace a row does not tell the key that the database "
            "generated: give the key a value or a Python-side default"
        )


def rows_with_defaults(insert: KeylessInsert, context: Any) -> list[dict[str, Any]]:
    """The rows with the Python-side defaults that the INSERT itself evaluated.

    A key that is ``None`` in every row is omitted, because SQLAlchemy would sort the returned rows
    by it.
    """
    given = internals.default_values(context)
    columns = insert.table.c
    left_out = () if insert.is_partial else insert.missing
    return [
        {
            **without(row, left_out),
            **{
                key: value
                for key, value in defaults.items()
                if not isinstance(columns[key].type, IndexColumnType)
            },
        }
        for row, defaults in zip(insert.rows, given, strict=True)
    ]


def _insert_dummies(
    connection: Connection, insert: KeylessInsert, rows: list[dict[str, Any]]
) -> Keys:
    options = {REHEARSAL_OPTION: Rehearsal()}
    statement: Any = sql_insert(insert.table).values(insert.values)
    if not connection.dialect.insert_returning:
        return [_last_key(connection, insert, statement, row, options) for row in rows]
    if len(rows) > 1 and reports_many(connection.dialect) and _are_alike(insert, rows):
        reporting = statement.returning(*insert.missing, sort_by_parameter_order=True)
        try:
            reported = connection.execute(reporting, rows, execution_options=options)
        except TypeError:  # SQLAlchemy cannot sort the rows by keys that are NULL
            return []
        return [tuple(row) for row in reported]
    keys: Keys = []
    for row in rows:
        values, parameters = insert.row_alone(row)
        of_row = statement.values(values) if insert.is_multi else statement
        reporting = of_row.returning(*insert.missing)
        first = connection.execute(reporting, parameters, execution_options=options).first()
        keys.append(tuple(first or ()))
    return keys


def reports_many(dialect: Dialect) -> bool:
    """Whether RETURNING gives the keys of many rows in order, which it does not with
    ``use_insertmanyvalues=False``."""
    return bool(dialect.insert_executemany_returning_sort_by_parameter_order)


def _are_alike(insert: KeylessInsert, rows: Sequence[dict[str, Any]]) -> bool:
    """Whether the rows have plain values for the same columns, and can be parameter sets."""
    return not insert.is_partial and (not insert.is_multi or internals.are_plain_rows(rows))


def _last_key(
    connection: Connection, insert: KeylessInsert, statement: Any, row: Any, options: Any
) -> tuple[Any, ...]:
    """The key of one row, if the database reports only the last one."""
    values, parameters = insert.row_alone(row)
    of_row = statement.values(values) if insert.is_multi else statement
    result = connection.execute(of_row, parameters, execution_options=options)
    primary = insert.table.primary_key.columns
    key = dict(zip(primary, result.inserted_primary_key or (), strict=False))
    return tuple(key.get(column) for column in insert.missing)


def _require(insert: KeylessInsert, keys: Keys) -> None:
    if len(keys) != len(insert.rows):
        raise insert.unknown(
            "the database stored some of the rows only, or did not report their keys, as a trigger "
            "or a rule can do: give the key a value or a Python-side default"
        )
    primary = set(insert.table.primary_key.columns)
    for number, key in enumerate(keys):
        for column, value in zip(insert.missing, key or [None] * len(insert.missing), strict=True):
            if value is not None:
                continue
            if column in primary:
                raise insert.unknown(
                    "the database did not report the key that it generated: give the key a value "
                    "or a Python-side default"
                )
            raise insert.without_value(column, number)
    if (
        len(set(keys)) < len(keys)
        and any(c in primary for c in insert.missing)
        and (len(primary) == 1)
    ):
        raise insert.unknown("the database reported one key for two rows: give the key a value")


REHEARSAL_OPTION = "encfields_rehearsal"
"""Execution option of a rehearsed INSERT."""


class Rehearsal:
    """The option's value: an object of ours, which no application can pass.

    :param reword: changes the text of the INSERT before it is sent.
    :param finds_rows: it has the blind indexes of its values, by which it may find a row.
    """

    def __init__(
        self, reword: Callable[[str], str] | None = None, *, finds_rows: bool = False
    ) -> None:
        self._reword = reword
        self.finds_rows = finds_rows

    def reword(self, statement: str) -> str:
        """The text that is sent."""
        return statement if self._reword is None else self._reword(statement)


_LIKELY_TEXT = "0"
"""Stands for a part of the row's key that is not known yet."""


def rehearsal_of(execution_options: Mapping[str, Any]) -> Rehearsal | None:
    """The rehearsal that an execution is; ``None`` for a real one."""
    rehearsal = execution_options.get(REHEARSAL_OPTION)
    return rehearsal if isinstance(rehearsal, Rehearsal) else None


def dummy_value(binding: ColumnBinding, texts: Sequence[str | None], plaintext: bytes) -> bytes:
    """The bytes that a rehearsed INSERT has instead of a sealed value.

    They begin as every value does, because a CHECK may demand it.

    :param texts: canonical texts of the row's identity, as far as they are known.
    :param plaintext: of the value; only its length matters.
    """
    likely = [_LIKELY_TEXT if text is None else text for text in texts]
    return MAGIC + os.urandom(stored_size(binding, len(plaintext), likely) - len(MAGIC))


def dummy_index(length: int) -> bytes:
    """The bytes that a rehearsed INSERT has instead of a blind index of this length."""
    return os.urandom(length)
