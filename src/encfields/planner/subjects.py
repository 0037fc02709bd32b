"""The indexes that ``encfields index plan`` judges: those declared, or those requested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import Column, Enum, MetaData, Table
from sqlalchemy import types as sqltypes
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.errors import DeclarationError
from encfields.index.blind_index import BlindIndex
from encfields.index.transforms import Transform, exact
from encfields.orm.declare.columns import bindings_of, is_encrypted
from encfields.orm.declare.compound_index import CompoundBlindIndex, compound_indexes
from encfields.orm.types import EncryptedType
from encfields.planner.counting import Parts
from encfields.planner.plan import FEW_VALUES


@dataclass(frozen=True, slots=True)
class Subject:
    """One index.

    :param parts: its columns with their transforms.
    :param name: the name of an index over several columns.
    :param bits: the declared or requested length, if any.
    :param one_key: whether its values are under one key although the column's are under several.
    :param accepted: why its leakage is acceptable, as declared.
    :param type: its column's type in the models, if they have the column.
    """

    parts: Parts
    name: str | None = None
    bits: int | None = None
    one_key: bool = False
    accepted: str | None = None
    type: TypeEngine[Any] | None = None


def subjects_of(
    spec: TableSpec,
    metadata: MetaData | None,
    transforms: Sequence[Transform],
    bits: int | None,
    *,
    named: bool,
) -> list[Subject]:
    """The indexes of a table.

    :param transforms: the requested ones; none for the declared ones.
    :param bits: the requested length.
    :param named: whether the columns were named. Otherwise they are all that the models encrypt,
        and only those with an index, or that can have the requested one, are included.
    :raises DeclarationError: a transform does not support the type of a named column.
    """
    table = _declared_table(spec, metadata)
    found: list[Subject] = []
    for sealed in spec.columns:
        column = _declared_column(table, sealed.name)
        subjects = [] if transforms else _declared(column, bits)
        if not subjects and (named or transforms):
            asked = transforms or (exact,)
            subjects = _asked(sealed.name, column, asked, bits, named=named)
        found += subjects
    if table is not None and not transforms and not named:
        found += _compound(table, bits)
    return found


def completed(spec: TableSpec, metadata: MetaData | None, subjects: Sequence[Subject]) -> TableSpec:
    """The spec of the subjects' columns, completed from the models."""
    table = _declared_table(spec, metadata)
    known = () if table is None else TableSpec.from_table(table).columns
    declared = {column.name: column for column in known}
    wanted = {name for subject in subjects for name, _ in subject.parts}
    columns = [
        declared.get(column.name, column) if column == SealedColumn(column.name) else column
        for column in spec.columns
        if column.name in wanted
    ]
    return replace(spec, columns=tuple(columns), indexes=())


def few_values_of(*types: TypeEngine[Any] | None) -> str | None:
    """``"boolean"`` or ``"enum"``, if one of the types allows only few values."""
    for type_ in types:
        while isinstance(type_, TypeDecorator):
            type_ = type_.impl_instance
        if isinstance(type_, sqltypes.Boolean):
            return "boolean"
        if isinstance(type_, Enum) and len(type_.enums) < FEW_VALUES:
            return "enum"
    return None


def _declared(column: Column[Any] | None, bits: int | None) -> list[Subject]:
    """The indexes that the models declare for a column."""
    if column is None or not is_encrypted(column):
        return []
    type_ = cast("EncryptedType", column.type)
    return [
        Subject(
            ((column.name, index.transform),),
            bits=index.bits if bits is None else bits,
            one_key=_has_one_key(index),
            accepted=index.accept_leakage,
            type=type_.inner,
        )
        for index in type_.indexes
    ]


def _compound(table: Table, bits: int | None) -> list[Subject]:
    """The indexes over several columns that the models declare."""
    bindings = bindings_of(table)
    return [
        Subject(
            tuple((bindings[key].column_name, transform) for key, transform in index.parts),
            name=index.label,
            bits=index.bits if bits is None else bits,
            one_key=_has_one_key(index),
            accepted=index.accept_leakage,
        )
        for index in compound_indexes(table)
    ]


def _has_one_key(index: BlindIndex | CompoundBlindIndex) -> bool:
    return index.key is not None and "{" not in index.key


def _asked(
    name: str,
    column: Column[Any] | None,
    transforms: Sequence[Transform],
    bits: int | None,
    *,
    named: bool,
) -> list[Subject]:
    """The requested indexes of one column."""
    type_: TypeEngine[Any] | None = None
    fitting = list(transforms)
    if column is not None:
        encrypted = is_encrypted(column)
        type_ = cast("EncryptedType", column.type).inner if encrypted else column.type
        fitting = [transform for transform in transforms if _fits(type_, transform)]
        if named and len(fitting) < len(transforms):
            other = next(transform for transform in transforms if transform not in fitting)
            raise DeclarationError(
                f"the transform {other.name!r} is not for the values of {type_!r}",
                table=column.table.fullname,
                column=column.name,
                reason="transform",
            )
    return [Subject(((name, one),), bits=bits, type=type_) for one in fitting]


def _fits(type_: TypeEngine[Any], transform: Transform) -> bool:
    try:
        return transform.accepts(type_.python_type)
    except NotImplementedError:  # a type that does not say
        return True


def _declared_table(spec: TableSpec, metadata: MetaData | None) -> Table | None:
    tables = () if metadata is None else metadata.tables.values()
    return next((t for t in tables if (t.schema, t.name) == (spec.schema, spec.table)), None)


def _declared_column(table: Table | None, name: str) -> Column[Any] | None:
    columns = () if table is None else table.columns
    return next((column for column in columns if column.name == name), None)
