"""Runs that change the inner type of a declared column's values, or what they are bound to.

The declaration gives the new state; the caller, or ``formerly=``, gives the old one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CHAR

from encfields.bulk.expected import COLUMN, ENCRYPTION, OPTIONS, SEALED_COLUMN
from encfields.bulk.options import Options
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.rows.spec_base import sealed_column_of
from encfields.bulk.rows.types_as_data import InnerType, type_to_data
from encfields.errors import DeclarationError
from encfields.expected_arguments import INNER_TYPE, takes
from encfields.identity import IdentityKind
from encfields.orm.declare.column_rules import refusal
from encfields.orm.declare.columns import ColumnBinding, SealedColumnType, binding_of, bindings_of
from encfields.orm.declare.row_keys import kind_of, stored_type
from encfields.orm.declare.table_indexes import indexes_of

if TYPE_CHECKING:
    from sqlalchemy import Column, Engine

    from encfields.engine import Encryption
    from encfields.orm.declare.formerly import Formerly


@takes(
    encryption=ENCRYPTION,
    column=COLUMN,
    was=SEALED_COLUMN.or_none,
    options=OPTIONS.or_none,
)
def rebinding(
    engine: Engine,
    encryption: Encryption,
    column: Column[Any],
    *,
    was: SealedColumn | None = None,
    options: Options | None = None,
) -> Reencryption:
    """A run that rebinds a column's values after its declaration got another ``bind_to=``,
    ``name=``, ``key=`` or primary key.

    Until the run is done, an application with the new declaration cannot read values not yet moved,
    and one with the old declaration cannot read those that were. ``formerly=`` reads both.

    :param engine: the application's engine.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param options: how the run works; default :class:`~encfields.bulk.options.Options`.
    :param column: the declared column, ``Patient.__table__.c.ssn``.
    :param was: the same column as its values are bound now; default what ``formerly=`` says.
    :raises DeclarationError: `was` is another column, or nothing says how values are bound now.
    """
    column = of_table(column)
    spec = spec_of_column(column)
    if was is None:
        formerly = _formerly(column)
        if formerly.inner is not None:
            raise refusal(column, "formerly= names another inner type: convert the values", "was")
        was = _bound_formerly(column)
    return Reencryption(engine, encryption, spec, source=_source(spec, was), options=options)


@takes(
    encryption=ENCRYPTION,
    column=COLUMN,
    was=INNER_TYPE.or_none,
    was_bound=SEALED_COLUMN.or_none,
    options=OPTIONS.or_none,
)
def conversion(
    engine: Engine,
    encryption: Encryption,
    column: Column[Any],
    *,
    was: InnerType | None = None,
    was_bound: SealedColumn | None = None,
    options: Options | None = None,
) -> Reencryption:
    """A run that converts values from another inner type to the declared one.

    :param engine: the application's engine.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param options: how the run works; default :class:`~encfields.bulk.options.Options`.
    :param column: the declared column.
    :param was: the inner type that wrote the values; by default ``formerly=`` gives it, and
        `was_bound` as well.
    :param was_bound: the same column as it was bound before, if its logical name changed; required
        between text and JSON, whose stored forms look alike.
    :raises DeclarationError: a type is not one of SQLAlchemy's own, or the stored forms look alike.
    """
    column = of_table(column)
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


def of_table(column: Any) -> Column[Any]:
    """The table's own column of a mapped attribute, ``Patient.ssn``, which may be given as well."""
    of_attribute = getattr(getattr(column, "property", None), "columns", None)
    return cast("Column[Any]", of_attribute[0] if of_attribute else column)


def _formerly(column: Column[Any]) -> Formerly:
    """The column's ``formerly=``.

    :raises DeclarationError: it is missing, or the application still writes the former way.
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
    """A spec of one declared column, its blind indexes, and the other columns they need."""
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
    """The column with the names of identity columns that hold UUIDs, which only models tell."""
    uuids = tuple(
        column.name for column in binding.identity if kind_of(column.type) is IdentityKind.UUID
    )
    digits = any(isinstance(stored_type(column.type, None), CHAR) for column in binding.identity)
    return replace(sealed, uuids=uuids) if uuids or digits else sealed


def _source(spec: TableSpec, was: SealedColumn) -> TableSpec:
    first, *others = spec.columns
    if was.name != first.name:
        raise DeclarationError(
            f"was= names the column {was.name!r}: give the column's present name there, and its "
            "former name as logical_name=",
            table=spec.table,
            column=first.name,
            reason="was",
        )
    return replace(spec, columns=(was, *others), indexes=())
