"""Which indexes ``encfields index plan`` is about: those declared, or those asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import Column, Enum, MetaData, Table
from sqlalchemy import types as sqltypes
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.binding.columns import is_encrypted
from encfields.errors import DeclarationError
from encfields.index.advice import FEW_VALUES
from encfields.index.transforms import Transform, exact
from encfields.reencrypt.spec import SealedColumn, TableSpec
from encfields.types import EncryptedType


@dataclass(frozen=True, slots=True)
class Subject:
    """One index of one column.

    :param bits: the length declared or asked about, if there is one.
    :param one_key: whether its values are under one key though the column's are under several.
    :param accepted: why what it gives away is acceptable, as declared.
    :param type: the column's type in the models, if they have the column.
    """

    transform: Transform
    bits: int | None = None
    one_key: bool = False
    accepted: str | None = None
    type: TypeEngine[Any] | None = None


def completed(
    spec: TableSpec, metadata: MetaData | None, by_column: Mapping[str, object]
) -> TableSpec:
    """The spec of some of its columns, with what the models say of those merely named."""
    table = _declared_table(spec, metadata)
    known = () if table is None else TableSpec.from_table(table).columns
    declared = {column.name: column for column in known}
    columns = [
        declared.get(column.name, column) if column == SealedColumn(column.name) else column
        for column in spec.columns
        if column.name in by_column
    ]
    return replace(spec, columns=tuple(columns))


def subjects_of(
    spec: TableSpec,
    metadata: MetaData | None,
    transforms: Sequence[Transform],
    bits: int | None,
    *,
    named: bool,
) -> dict[str, list[Subject]]:
    """The indexes of each column; columns without one are left out.

    :param transforms: those asked about; none for what is declared.
    :param bits: the length asked about.
    :param named: whether the columns were named. Otherwise they are all that the models encrypt,
        and only those are meant that have an index, or can have the one asked about.
    :raises DeclarationError: a transform is not for the type of a column that was named.
    """
    table = _declared_table(spec, metadata)
    found = {}
    for sealed in spec.columns:
        column = _declared_column(table, sealed.name)
        subjects = [] if transforms else _declared(column, bits)
        if not subjects and (named or transforms):
            subjects = _asked(column, transforms or (exact,), bits, named=named)
        if subjects:
            found[sealed.name] = subjects
    return found


def _declared(column: Column[Any] | None, bits: int | None) -> list[Subject]:
    """The indexes that the models declare."""
    if column is None or not is_encrypted(column):
        return []
    type_ = cast("EncryptedType", column.type)
    return [
        Subject(
            one.transform,
            one.bits if bits is None else bits,
            one.key is not None and "{" not in one.key,
            one.accept_leakage,
            type_.inner,
        )
        for one in type_.indexes
    ]


def _asked(
    column: Column[Any] | None, transforms: Sequence[Transform], bits: int | None, *, named: bool
) -> list[Subject]:
    if column is None:
        return [Subject(transform, bits) for transform in transforms]
    type_: TypeEngine[Any] = column.type
    if is_encrypted(column):
        type_ = cast("EncryptedType", column.type).inner
    fitting = [one for one in transforms if _fits(type_, one)]
    if named and len(fitting) < len(transforms):
        other = next(one for one in transforms if one not in fitting)
        raise DeclarationError(
            f"the transform {other.name!r} is not for the values of {type_!r}",
            table=column.table.fullname,
            column=column.name,
            reason="transform",
        )
    return [Subject(transform, bits, type=type_) for transform in fitting]


def _fits(type_: TypeEngine[Any], transform: Transform) -> bool:
    try:
        return transform.accepts(type_.python_type)
    except NotImplementedError:  # a type that does not say
        return True


def few_values_of(*types: TypeEngine[Any] | None) -> str | None:
    """``"boolean"`` or ``"enum"``, if a column of one of these types can have few values only."""
    for type_ in types:
        while isinstance(type_, TypeDecorator):
            type_ = type_.impl_instance
        if isinstance(type_, sqltypes.Boolean):
            return "boolean"
        if isinstance(type_, Enum) and len(type_.enums) < FEW_VALUES:
            return "enum"
    return None


def _declared_table(spec: TableSpec, metadata: MetaData | None) -> Table | None:
    tables = () if metadata is None else metadata.tables.values()
    return next((t for t in tables if (t.schema, t.name) == (spec.schema, spec.table)), None)


def _declared_column(table: Table | None, name: str) -> Column[Any] | None:
    columns = () if table is None else table.columns
    return next((column for column in columns if column.name == name), None)
