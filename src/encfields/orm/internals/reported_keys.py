"""What the result of an INSERT reports of the keys of its rows.

Read::

    sqlalchemy.engine.cursor                       _NO_CURSOR_DQL
    sqlalchemy.engine.default.DefaultExecutionContext _is_supplemental_returning
    sqlalchemy.sql.compiler.SQLCompiler            _inserted_primary_key_from_lastrowid_getter
    sqlalchemy.sql.compiler.SQLCompiler            _within_exec_param_key_getter

Written::

    sqlalchemy.engine.cursor.CursorResult          _metadata
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column
from sqlalchemy.engine.cursor import _NO_CURSOR_DQL
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData

from encfields.orm.internals.inserts import returns_added_keys_alone


class _Reported(SimpleResultMetaData):
    """The columns of a result whose rows were read already."""

    __slots__ = ()
    returns_rows = True


def report_keys(context: Any, result: Any, keys: Mapping[Column[Any], Sequence[Any]]) -> None:
    """Make the result of an INSERT look as if the database had returned the keys.

    :param keys: by column, its value in each row.
    """
    named = _Reported([c.name for c in keys], [(c, c.key) for c in keys])
    rows = zip(*keys.values(), strict=True)
    context.returned_default_rows = IteratorResult(named, rows).all()
    result._metadata = named
    result.cursor_strategy = _NO_CURSOR_DQL


def report_no_keys(
    context: Any, keys: Mapping[Column[Any], Sequence[bool]], told: int | None = None
) -> None:
    """Leave keys out of ``inserted_primary_key_rows``.

    :param keys: by column, whether to leave it out, for each row.
    :param told: the number that the database reported for the row, in place of its key.
    """
    compiled = context.compiled
    tell = compiled._inserted_primary_key_from_lastrowid_getter
    names = {column: compiled._within_exec_param_key_getter(column) for column in keys}
    context.inserted_primary_key_rows = [
        tell(told, {**values, **{names[c]: None for c, hidden in keys.items() if hidden[number]}})
        for number, values in enumerate(context.compiled_parameters)
    ]


def end_defaults(context: Any, result: Any) -> None:
    """Close a result that has rows only because keys were added to what it returns."""
    if context._is_supplemental_returning and returns_added_keys_alone(context.invoked_statement):
        result.cursor_strategy = _NO_CURSOR_DQL
