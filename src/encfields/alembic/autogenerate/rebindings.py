"""Autogenerate for values bound otherwise than declared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, Table

from encfields.alembic.autogenerate.stored_binding import BindingVerdict, Examination
from encfields.alembic.descriptions import (
    columns_without_defaults,
    index_column_of,
    without_defaults,
)
from encfields.alembic.environment import FetchKeys
from encfields.alembic.operations.refused_or_postponed import RefusedChangeOp
from encfields.alembic.operations.values import RebindOp
from encfields.bulk.column_runs import with_uuids
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.errors import KeyStoreError
from encfields.orm.declare.columns import ColumnBinding, bindings_of
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.declare.table_indexes import indexes_of

if TYPE_CHECKING:
    from encfields.engine import Encryption

log = logging.getLogger("encfields.alembic")

MAX_LISTED_STRAYS = 5
"""Most rows of a column to name in the log."""

Stored = tuple[Table, dict[str, Any]]
"""A declared table, and the types of the columns that the database has."""


def rebindings(
    autogen_context: Any, tables: Iterable[Stored], keys: FetchKeys
) -> tuple[list[RebindOp], list[RefusedChangeOp]]:
    """What is to be rebound, and what cannot be opened as declared and is not proposed.

    :param autogen_context: Alembic's ``AutogenContext``.
    :param keys: gives the keys, if a value has to be opened.
    """
    declared = _declared_names(autogen_context.sorted_tables)
    rebinds: list[RebindOp] = []
    refused: list[RefusedChangeOp] = []
    for table, types in tables:
        unique = list(_unique(autogen_context.inspector, table))
        found: list[tuple[ColumnBinding, BindingVerdict]] = []
        for binding in bindings_of(table).values():
            if binding.column_name not in types or binding.other is not None:
                continue
            stored = stored_table(table, types)
            examination = partial(
                Examination, autogen_context.connection, stored, table, unique, declared
            )
            verdict = _verdict(examination, binding, keys)
            if verdict is None:
                continue
            _log_strays(binding, verdict)
            if verdict.refusal is not None:
                refused.append(_refused_change(binding, verdict))
            elif verdict.was is not None:
                found.append((binding, verdict))
        if found:
            moves = [(b, v.was, v.seen) for b, v in found if v.was is not None]
            rebinds.append(rebinding_of(table, moves, types))
    return rebinds, refused


def _verdict(
    examination: Callable[[Encryption | None], Examination], binding: ColumnBinding, keys: FetchKeys
) -> BindingVerdict | None:
    """What there is to say of one column, if anything; with the keys if it comes to that."""
    if examination(None).of(binding) is None:
        return None
    try:
        return examination(keys()).of(binding)
    except KeyStoreError as error:
        verdict = examination(None).of(binding)
        if verdict is None or verdict.was is None:
            return verdict
        reason = f"{verdict.seen}, which could not be confirmed by opening one: {error.message}"
        return replace(verdict, was=None, refusal=reason)


def _declared_names(tables: Iterable[Table]) -> dict[str, str]:
    return {
        binding.logical_name: f"{binding.table}.{binding.column_name}"
        for table in tables
        for binding in bindings_of(table).values()
    }


def _unique(inspector: Any, table: Table) -> Iterator[list[str]]:
    """Sets of columns of which the database holds no two rows alike."""
    key = inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
    if key:
        yield key
    for constraint in inspector.get_unique_constraints(table.name, schema=table.schema):
        yield constraint["column_names"]
    for index in inspector.get_indexes(table.name, schema=table.schema):
        partial = any(name.endswith("_where") for name in index.get("dialect_options", {}))
        if index["unique"] and None not in index["column_names"] and not partial:
            yield index["column_names"]


def stored_table(table: Table, types: dict[str, Any]) -> Table:
    """A declared table as the database has it."""
    key = [c.name for c in table.primary_key.columns if c.name in types]
    stored = Table(table.name, MetaData(), schema=table.schema)
    for name, type_ in types.items():
        stored.append_column(Column(name, type_, primary_key=name in key))
    return stored


def _log_strays(binding: ColumnBinding, verdict: BindingVerdict) -> None:
    """Name rows whose value belongs elsewhere, by their keys and nothing else of them."""
    key = [column.name for column in binding.column.table.primary_key.columns]
    rows = sorted({_row_text(cell.row, key) for cell in verdict.strays})
    if not rows:
        return
    more = f", and {len(rows) - MAX_LISTED_STRAYS} more" if len(rows) > MAX_LISTED_STRAYS else ""
    log.warning(
        "%s.%s: %s. Nothing is proposed for values that are stored in rows they do not belong to: "
        "%s%s; `encfields verify` names them all",
        binding.table,
        binding.column_name,
        verdict.seen,
        "; ".join(rows[:MAX_LISTED_STRAYS]),
        more,
    )


def _row_text(row: Any, key: Sequence[str]) -> str:
    return ", ".join(f"{name}={row[name]!r}" for name in key if name in row)


def _refused_change(binding: ColumnBinding, verdict: BindingVerdict) -> RefusedChangeOp:
    table = binding.column.table
    reason = verdict.refusal or verdict.seen
    return RefusedChangeOp(
        table.name, binding.column_name, reason, verdict.steps, schema=table.schema
    )


def rebinding_of(
    table: Table, moves: Sequence[tuple[ColumnBinding, SealedColumn, str]], types: dict[str, Any]
) -> RebindOp:
    """The operation that moves values of some columns of a table.

    :param moves: each column, how its values are bound now, and the evidence.
    :param types: of the columns that the database has.
    """
    was = {binding.column_name: without_defaults(table, before) for binding, before, _ in moves}
    indexes = indexes_over(table, was, types)
    # A compound index needs its other columns too, unchanged.
    needed = was.keys() | {s.column_name for index in indexes for s in index.sources}
    bindings = {binding.column_name: binding for binding in bindings_of(table).values()}
    now = tuple(
        with_uuids(column, bindings[column.name])
        for column in columns_without_defaults(table)
        if column.name in needed
    )
    return RebindOp(
        TableSpec(table.name, now, table.schema),
        TableSpec(table.name, tuple(was.get(c.name, c) for c in now), table.schema),
        queue=False,
        indexes=tuple(index_column_of(index) for index in indexes),
        seen=tuple(f"{binding.column_name}: {seen}." for binding, _, seen in moves),
    )


def indexes_over(
    table: Table, columns: Collection[str], types: Collection[str]
) -> list[IndexBinding]:
    """The blind indexes over any of the columns, if the database has the index's column."""
    return [
        index
        for index in indexes_of(table)
        if index.index_column.name in types and any(s.column_name in columns for s in index.sources)
    ]
