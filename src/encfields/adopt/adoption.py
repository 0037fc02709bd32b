"""An adoption as data: which plaintext column becomes which encrypted one.

A migration describes it without models; an application takes it from a declared column.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from encfields.bulk.column_runs import of_table, spec_of_column
from encfields.bulk.errors import ReencryptionError
from encfields.bulk.expected import COLUMN
from encfields.bulk.rows.job import Adopted, Job
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.rows.types_as_data import DeclaredTypes, declared_to_data
from encfields.errors import DeclarationError
from encfields.expected_arguments import takes
from encfields.index.definition import IndexDefinition
from encfields.orm.adoption.columns import adopted_columns, plaintext_type
from encfields.orm.adoption.plaintext import Plaintext, adoption_of
from encfields.orm.declare.columns import SealedColumnType
from encfields.orm.declare.table_indexes import indexes_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Column, MetaData


def declared_types_of(metadata: MetaData) -> dict[str, DeclaredTypes]:
    """The declared types of all columns in an application's models, by ``table.column``."""
    return {
        f"{table.fullname}.{binding.column_name}": declared_types(binding.column, adopts)
        for table in metadata.tables.values()
        for binding, adopts, _ in adopted_columns(table)
    }


def declared_types(column: Column[Any], adopts: Plaintext) -> DeclaredTypes:
    """A declared column's types of its values and of the plaintext that it adopts."""
    inner = cast("SealedColumnType", column.type).inner
    return DeclaredTypes(inner, plaintext_type(column, adopts))


@dataclass(frozen=True, slots=True)
class Adoption:
    """One plaintext column that becomes an encrypted one.

    :param spec: the table, the encrypted column first among its columns, and its blind indexes.
    :param plain: name of the plaintext column.
    :param type: the inner type, as data.
    :param unique: names of those columns of blind indexes whose values are unique.
    :param plain_type: the type that reads the plaintext column, as data; ``None`` if it is `type`.
    :param declared: the same two types, if they are the application's own.
    :param guard: whether the encrypted column gets the CHECK that it holds messages.
    """

    spec: TableSpec
    plain: str
    type: Mapping[str, Any]
    unique: tuple[str, ...] = ()
    plain_type: Mapping[str, Any] | None = None
    declared: DeclaredTypes | None = field(default=None, compare=False)
    guard: bool = False

    @property
    def sealed(self) -> str:
        """Name of the encrypted column."""
        return self.spec.columns[0].name

    @property
    def table_name(self) -> str:
        """The table's name, with its schema if it has one."""
        return self.spec.full_name

    @property
    def indexes(self) -> tuple[IndexDefinition, ...]:
        """The blind indexes that the encrypted column is part of."""
        return tuple(index for index in self.spec.indexes if self.sealed in index.columns)

    @property
    def declared_types(self) -> dict[str, DeclaredTypes]:
        """The types that a run needs to read its plaintext."""
        return {} if self.declared is None else {f"{self.table_name}.{self.sealed}": self.declared}

    def job(self, *, refill: bool = False) -> Job:
        """The run that seals the plaintext, or restores it.

        :param refill: restore the plaintext.
        """
        adopted = {self.sealed: Adopted(self.plain, self.type, refill, self.plain_type)}
        spec = self.spec
        if refill:
            spec = TableSpec(spec.table, spec.columns[:1], spec.schema)
        return Job(spec, adopted=adopted)

    @classmethod
    @takes(column=COLUMN)
    def of(cls, column: Column[Any]) -> Adoption:
        """The adoption of a declared column.

        :param column: an encrypted column that declares ``adopts=Plaintext(...)``.
        :raises DeclarationError: it adopts nothing, or its type cannot be described in a run.
        """
        column = of_table(column)
        adopts = adoption_of(column)
        if adopts is None:
            raise DeclarationError(
                "the column adopts no plaintext: declare adopts=Plaintext(...)",
                table=column.table.fullname,
                column=column.name,
                reason="adopts",
            )
        inner = cast("SealedColumnType", column.type).inner
        spec = spec_of_column(column)
        index_columns = {index.name for index in spec.indexes}
        unique = (index for index in indexes_of(column.table) if index.unique)
        return cls(
            spec,
            adopts.column,
            declared_to_data(inner),
            tuple(
                index.index_column.name
                for index in unique
                if index.index_column.name in index_columns
            ),
            None if adopts.type is None else declared_to_data(adopts.type),
            declared_types(column, adopts),
            cast("SealedColumnType", column.type).guard,
        )


class AdoptionError(ReencryptionError):
    """The adoption cannot take this step now; the message says what comes first."""
