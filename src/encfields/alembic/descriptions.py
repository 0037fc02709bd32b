"""Columns and indexes as a migration describes them, without defaults."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table

from encfields.arguments import each_as
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.errors import DeclarationError
from encfields.index.definition import IndexDefinition
from encfields.index.hashing import FULL_BITS, check_bits
from encfields.index.transforms import Transform, exact, transform_named
from encfields.key_template import KeyTemplate

if TYPE_CHECKING:
    from encfields.orm.declare.index_binding import IndexBinding

_CONVENTION = re.compile(r"(.+)_bidx(?:_v([1-9][0-9]*))?")
"""The names that :func:`encfields.index.blind_index.index_column_name` makes."""


@dataclass(frozen=True, slots=True)
class IndexColumn:
    """One column of a blind index, as its ``BlindIndex`` or ``CompoundBlindIndex`` declares it.

    :param name: the column's name in the database, such as ``"ssn_bidx"``.
    :param of: the encrypted column that it indexes, or those of a compound index in order. Default:
        the part of `name` before ``_bidx``.
    :param transform: name of the transform, such as ``"last4"``; for a compound index, one name per
        column. Default: ``"exact"``.
    :param bits: length of the index in bits.
    :param version: of the beacon key. Default: the suffix of `name`, as in ``ssn_bidx_v2``, or 1.
    :param key: id of the branch key whose beacon key is used. Default: the column's key.
    :param domain: name under which the index key is derived. Default: the encrypted column's
        logical name; of a compound index, ``table.name``.
    """

    name: str
    of: str | tuple[str, ...] | None = None
    transform: str | tuple[str, ...] | None = None
    bits: int = FULL_BITS
    version: int | None = None
    key: str | None = None
    domain: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encrypted columns.

        :raises DeclarationError: `of` is missing, and the index's name does not tell.
        """
        if self.of is not None:
            return (self.of,) if isinstance(self.of, str) else tuple(self.of)
        if conventional := _CONVENTION.fullmatch(self.name):
            return (conventional[1],)
        raise DeclarationError(
            "name the encrypted column that is indexed: IndexColumn(..., of=...)",
            column=self.name,
            reason="index",
        )

    def definition(self, spec: TableSpec) -> IndexDefinition:
        """The full definition.

        :param spec: the table, whose columns include the indexed ones.
        :raises DeclarationError: a transform or the number of bits is not usable.
        """
        columns = self.columns
        return IndexDefinition(
            self.name,
            self.name,
            columns,
            self._transforms(len(columns)),
            self.domain or default_domain(spec, self.name, columns),
            check_bits(self.bits),
            self.version or conventional_version(self.name),
            self.key,
        )

    def _transforms(self, count: int) -> tuple[Transform, ...]:
        if self.transform is None:
            return (exact,) * count
        given = [self.transform] if isinstance(self.transform, str) else list(self.transform)
        if len(given) != count:
            raise DeclarationError(
                f"the index covers {count} columns but names {len(given)} transforms",
                column=self.name,
                reason="transform",
            )
        return tuple(map(transform_named, given))


Indexes = Sequence[str | IndexColumn]
"""Blind index columns: names, or descriptions if the name does not say everything."""


def index_columns(indexes: Indexes) -> tuple[IndexColumn, ...]:
    """Descriptions from descriptions or plain names.

    :raises DeclarationError: one of them is something else.
    """
    return each_as(IndexColumn, "indexes", indexes)


def with_indexes(
    spec: TableSpec, indexes: Iterable[IndexColumn], *, reindex: bool = False
) -> TableSpec:
    """A spec with indexes to compute.

    :param spec: the table and the encrypted columns that need more than a name; the others are
        added by name.
    :param reindex: compute the indexes of every row, not only missing ones.
    """
    known = {column.name for column in spec.columns}
    indexes = tuple(indexes)
    names = dict.fromkeys(name for index in indexes for name in index.columns)
    columns = (*spec.columns, *(SealedColumn(name) for name in names if name not in known))
    whole = TableSpec(spec.table, columns, spec.schema)
    definitions = tuple(index.definition(whole) for index in indexes)
    return TableSpec(spec.table, columns, spec.schema, definitions, reindex)


def index_column_of(index: IndexBinding) -> IndexColumn:
    """The description of a declared index, without defaults."""
    definition = index.definition
    name, columns = definition.name, definition.columns
    transforms = tuple(transform.name for transform in definition.transforms)
    table = index.sources[0].column.table
    sealed = tuple(SealedColumn(s.column_name, s.logical_name) for s in index.sources)
    default = default_domain(TableSpec(table.name, sealed, table.schema), name, columns)
    key = index.declared.key
    return IndexColumn(
        name,
        None if columns == _conventional_columns(name) else _single_or_tuple(columns),
        None if set(transforms) == {exact.name} else _single_or_tuple(transforms),
        definition.bits,
        None if definition.version == conventional_version(name) else definition.version,
        None if key is None or key == index.sources[0].key.template else key,
        None if definition.domain == default else definition.domain,
    )


def default_domain(spec: TableSpec, name: str, columns: Sequence[str]) -> str:
    """The default domain of an index, the same as in a declaration."""
    table = spec.full_name
    if len(columns) > 1:
        conventional = _CONVENTION.fullmatch(name)
        return f"{table}.{conventional[1] if conventional else name}"
    sealed = next((c for c in spec.columns if c.name == columns[0]), SealedColumn(columns[0]))
    return sealed.logical_name or f"{table}.{sealed.name}"


def conventional_version(name: str) -> int:
    """The version of the beacon key in an index column's name."""
    conventional = _CONVENTION.fullmatch(name)
    return int(conventional[2] or 1) if conventional else 1


def is_conventional(name: str) -> bool:
    """Whether a column's name follows the convention for blind indexes."""
    return _CONVENTION.fullmatch(name) is not None


def _conventional_columns(name: str) -> tuple[str, ...]:
    conventional = _CONVENTION.fullmatch(name)
    return (conventional[1],) if conventional else ()


def _single_or_tuple(names: tuple[str, ...]) -> Any:
    return names[0] if len(names) == 1 else names


def columns_without_defaults(table: Table) -> tuple[SealedColumn, ...]:
    """The encrypted columns of a declared table."""
    return tuple(without_defaults(table, column) for column in TableSpec.from_table(table).columns)


def without_defaults(table: Table, column: SealedColumn) -> SealedColumn:
    """A description without defaults."""
    name = column.logical_name
    identity = set(column.bind_to or ()) - set(KeyTemplate(column.key).columns)
    return SealedColumn(
        column.name,
        None if name == f"{table.fullname}.{column.name}" else name,
        column.key,
        None if identity == {c.name for c in table.primary_key.columns} else column.bind_to,
        column.context_names,
        column.former_keys,
    )
