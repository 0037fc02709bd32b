"""An adoption as data: which plaintext column becomes which encrypted one.

A migration states it without the models; an application takes it from a declared column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from encfields.bulk.rows.inner_types import type_to_data
from encfields.bulk.rows.job import Adopted, Job
from encfields.bulk.rows.spec import DerivedColumn, TableSpec
from encfields.errors import DeclarationError
from encfields.orm.adoption.columns import plaintext_type
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.blind_index import indexes_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Column


@dataclass(frozen=True, slots=True)
class Adoption:
    """One plaintext column that becomes an encrypted one.

    :param spec: the table, the encrypted column first among its columns, and its blind indexes.
    :param plain: name of the plaintext column.
    :param type: the inner type, as data.
    :param unique: names of those columns of blind indexes whose values are unique.
    """

    spec: TableSpec
    plain: str
    type: Mapping[str, Any]
    unique: tuple[str, ...] = ()

    @property
    def sealed(self) -> str:
        """Name of the encrypted column."""
        return self.spec.columns[0].name

    @property
    def table_name(self) -> str:
        """The table's name, with its schema where it has one."""
        spec = self.spec
        return f"{spec.schema}.{spec.table}" if spec.schema else spec.table

    @property
    def indexes(self) -> tuple[DerivedColumn, ...]:
        """The blind indexes that the encrypted column is part of."""
        return tuple(one for one in self.spec.derived if self.sealed in one.columns)

    def job(self, *, refill: bool = False) -> Job:
        """The run that seals the plaintext, or that brings it back."""
        adopted = {self.sealed: Adopted(self.plain, self.type, refill)}
        spec = self.spec
        if refill:
            spec = TableSpec(spec.table, spec.columns[:1], spec.schema)
        return Job(spec, adopted=adopted)

    @classmethod
    def of(cls, column: Column[Any]) -> Adoption:
        """The adoption of a declared column.

        :raises DeclarationError: it adopts nothing, or its type cannot be described in a run.
        """
        adopts = adoption_of(column)
        if adopts is None:
            raise DeclarationError(
                "the column adopts no plaintext: declare adopts=Plaintext(...)",
                table=column.table.fullname,
                column=column.name,
                reason="adopts",
            )
        indexes = [
            index
            for index in indexes_of(column.table)
            if any(source.column is column for source in index.sources)
        ]
        names = {column.name, *(s.column_name for index in indexes for s in index.sources)}
        whole = TableSpec.from_table(column.table)
        companions = {index.companion.name for index in indexes}
        columns = sorted(
            (one for one in whole.columns if one.name in names),
            key=lambda one: one.name != column.name,
        )
        derived = tuple(one for one in whole.derived if one.name in companions)
        return cls(
            TableSpec(whole.table, tuple(columns), whole.schema, derived),
            adopts.column,
            type_to_data(plaintext_type(column, adopts)),
            tuple(index.companion.name for index in indexes if index.unique),
        )
