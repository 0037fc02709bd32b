"""Runs that change what a declared column's values are, or what they are bound to.

The declaration says how it is to be; what it was before, only the caller knows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CHAR

from encfields.bulk.options import Options
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.rows.spec_base import sealed_column_of
from encfields.bulk.rows.types_as_data import InnerType, type_to_data
from encfields.errors import DeclarationError
from encfields.identity import IdentityKind
from encfields.orm.declare.column_rules import refusal
from encfields.orm.declare.columns import ColumnBinding, SealedColumnType, binding_of, bindings_of
from encfields.orm.declare.row_keys import kind_of, stored_type
from encfields.orm.declare.table_indexes import indexes_of

if TYPE_CHECKING:
    from sqlalchemy import Column, Engine

    from encfields.engine import Encryption
    from encfields.orm.declare.formerly import Formerly


def rebinding(
    engine: Engine,
    encryption: Encryption,
    column: Column[Any],
    *,
    was: SealedColumn | None = None,
    options: Options | None = None,
) -> Reencryption:
    """The run that binds a column's values to what the declaration says from now on: after another
    ``bind_to=``, ``name=``, ``key=`` or primary key.

    Until it is done, an application of the new declaration cannot read the values of before, and
    one of the old declaration not those that were moved: ``formerly=`` reads either.

    :param engine: the application's engine, whose database is worked on.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param options: how the run works; by default as :class:`~encfields.bulk.options.Options` says.
    :param column: the declared column, ``Patient.__table__.c.ssn``.
    :param was: the same column as its values are bound so far; by default as ``formerly=`` says.
    :raises DeclarationError: the two are not of one column, or neither says how they are bound.
    """
    spec = spec_of_column(column)
    if was is None:
        formerly = _formerly(column)
        if formerly.inner is not None:
            raise refusal(column, "formerly= names another inner type: convert the values", "was")
        was = _bound_formerly(column)
    return Reencryption(engine, encryption, spec, source=_source(spec, was), options=options)


def conversion(
    engine: Engine,
    encryption: Encryption,
    column: Column[Any],
    *,
    was: InnerType | None = None,
    was_bound: SealedColumn | None = None,
    options: Options | None = None,
) -> Reencryption:
    """The run that converts values of another inner type, so that the declared one reads them.

    :param engine: the application's engine, whose database is worked on.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param options: how the run works; by default as :class:`~encfields.bulk.options.Options` says.
    :param column: the declared column. :param was: the inner type that wrote the values; by
        default what ``formerly=`` says, in place of `was_bound` too.
    :param was_bound: the same column as it was bound before, where the declaration gives it
        another name; needed between text and JSON, which look alike.
    :raises DeclarationError: a type is none of SQLAlchemy's own, or what the two store looks alike.
    """
    spec = spec_of_column(column)
    if was is None:
        was = _formerly(column).inner
        if was is None:
            raise refusal(column, "formerly= names no other inner type: rebind the values", "was")
        binding = binding_of(column)
        if binding.other is not None and binding.context.differs_from(binding.other.context):
            was_bound = _bound_formerly(column)
    to = cast("SealedColumnType", column.type).inner
    return Reencryption(
        engine,
        encryption,
        spec,
        source=None if was_bound is None else _source(spec, was_bound),
        conversions={column.name: (type_to_data(was), type_to_data(to))},
        options=options,
    )


def _formerly(column: Column[Any]) -> Formerly:
    """What the declaration says of before.

    :raises DeclarationError: nothing, or the application still writes so.
    """
    formerly = cast("SealedColumnType", column.type).formerly
    if formerly is None:
        raise refusal(
            column, "say what the values were before with was=, or declare formerly=", "was"
        )
    if formerly.writes_former:
        raise refusal(
            column,
            'the phase of formerly= is "write-former", so the application still writes the former '
            'way: deploy "write-new" first',
            "phase",
        )
    return formerly


def _bound_formerly(column: Column[Any]) -> SealedColumn:
    binding = binding_of(column)
    former = binding.other or binding
    return with_uuids(sealed_column_of(former), former)


def spec_of_column(column: Column[Any]) -> TableSpec:
    """One declared column, first, and its blind indexes with the other columns that they need."""
    indexes = [
        index
        for index in indexes_of(column.table)
        if any(source.column is column for source in index.sources)
    ]
    names = {column.name, *(s.column_name for index in indexes for s in index.sources)}
    whole = TableSpec.from_table(column.table)
    index_columns = {index.index_column.name for index in indexes}
    bindings = {binding.column_name: binding for binding in bindings_of(column.table).values()}
    columns = sorted(
        (
            with_uuids(column, bindings[column.name])
            for column in whole.columns
            if column.name in names
        ),
        key=lambda sealed: sealed.name != column.name,
    )
    definitions = tuple(index for index in whole.indexes if index.name in index_columns)
    return TableSpec(whole.table, tuple(columns), whole.schema, definitions)


def with_uuids(sealed: SealedColumn, binding: ColumnBinding) -> SealedColumn:
    """The column with what only its declaration tells: which of its row's key are UUIDs."""
    uuids = tuple(
        column.name for column in binding.identity if kind_of(column.type) is IdentityKind.UUID
    )
    digits = any(isinstance(stored_type(column.type, None), CHAR) for column in binding.identity)
    return replace(sealed, uuids=uuids) if uuids or digits else sealed


def _source(spec: TableSpec, was: SealedColumn) -> TableSpec:
    first, *others = spec.columns
    if was.name != first.name:
        raise DeclarationError(
            f"was= names the column {was.name!r}: give it the column's present name, and what it "
            "was called as its logical name",
            table=spec.table,
            column=first.name,
            reason="was",
        )
    return replace(spec, columns=(was, *others), indexes=())
