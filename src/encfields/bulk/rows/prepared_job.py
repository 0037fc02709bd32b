"""A job with its table reflected: columns, and places of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, ColumnElement, Connection, Table, types

from encfields.bulk.rows.catalog import updated_by_server, without_primary_key
from encfields.bulk.rows.job import Adopted, Job
from encfields.bulk.rows.places import SealedCell
from encfields.bulk.rows.types_as_data import (
    OF_APPLICATION,
    DeclaredTypes,
    type_from_data,
)
from encfields.errors import DeclarationError
from encfields.orm.adoption.text_form import ExactForm
from encfields.orm.declare.columns import ColumnBinding

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine


_ORDINARY = (types.Integer, types.Uuid, types.Date, types.DateTime, types.LargeBinary)


class PreparedJob:
    """A job on its reflected table.

    :param declared: the application's own types by ``table.column``; ``None`` if no plaintext is
        read.
    :ivar table: the table, with encrypted columns as plain binary ones.
    :ivar key: the primary key's columns, which order the walk.
    :ivar columns: the encrypted columns, in the spec's order.
    :ivar targets: how each will be bound. :ivar sources: how each is bound now.
    :ivar identity: columns outside the primary key that bindings need.
    :ivar plain: the plaintext columns in the spec's order, if the run has any.
    :ivar values: the types of their values.
    :ivar index_columns: the blind indexes' columns, in the spec's order.
    :ivar kept_unchanged: columns that the server updates by itself, with the value that prevents
        it.
    :raises DeclarationError: the table or a column is missing, the table has no primary key, or the
        job needs a type that `declared` lacks.
    """

    def __init__(
        self,
        job: Job,
        connection: Connection,
        declared: Mapping[str, DeclaredTypes] | None = None,
    ) -> None:
        self.job = job
        self._declared = declared
        self.dialect: Dialect = connection.dialect
        reflected = job.spec.reflect(connection)
        self.table: Table = reflected.table
        self.key: tuple[Column[Any], ...] = tuple(self.table.primary_key.columns)
        if not self.key:
            raise without_primary_key(self.table, connection)
        self.targets: tuple[ColumnBinding, ...] = reflected.bindings
        self.sources = self._sources(connection)
        names = [column.name for column in job.spec.columns]
        self.columns: tuple[Column[Any], ...] = tuple(self.table.c[name] for name in names)
        self.identity = self._identity()
        self.plain = self._plain(names)
        if job.to_plaintext is not None:
            self._refuse_computed(reflected.computed)
        self.index_columns = self._index_columns()
        self.kept_unchanged = {c: c for c in updated_by_server(connection, self.table)}

    def _sources(self, connection: Connection) -> tuple[ColumnBinding, ...]:
        if self.job.source is None:
            return self.targets
        by_name = {b.column_name: b for b in self.job.source.reflect(connection).bindings}
        return tuple(by_name[binding.column_name] for binding in self.targets)

    def _identity(self) -> tuple[Column[Any], ...]:
        names = {
            column.name: None
            for binding in (*self.targets, *self.sources)
            for column in binding.identity
        }
        known = {column.name for column in self.key}
        return tuple(self.table.c[name] for name in names if name not in known)

    @property
    def uuids(self) -> frozenset[str]:
        """Names of columns known to hold UUIDs, whatever their type in the database."""
        specs = [self.job.spec, *([self.job.source] if self.job.source else [])]
        return frozenset(
            name for spec in specs for column in spec.columns for name in column.uuids or ()
        )

    @property
    def leading_names(self) -> list[str]:
        """A row's leading columns: the key, then identity columns."""
        return [column.name for column in (*self.key, *self.identity)]

    def cells(self) -> tuple[tuple[SealedCell, SealedCell], ...]:
        """For each encrypted column, its values' place after the run and now."""
        return tuple(
            (self.cell(target, at), self.cell(source, at))
            for at, (target, source) in enumerate(
                zip(self.targets, self.sources, strict=True), start=len(self.leading_names)
            )
        )

    def cell(self, binding: ColumnBinding, value_at: int) -> SealedCell:
        """The place of one encrypted column's values.

        :param value_at: position of the value in a row.
        """
        return SealedCell(binding, self.dialect, self.leading_names, value_at, self.uuids)

    @property
    def is_ordinary(self) -> bool:
        """Whether every driver reads all of the row's types in any format."""
        beside = (*self.key, *self.identity)
        return not self.plain and all(isinstance(column.type, _ORDINARY) for column in beside)

    def _index_columns(self) -> tuple[Column[Any], ...]:
        names = [index.name for index in self.job.spec.indexes]
        missing = [name for name in names if name not in self.table.c]
        if missing:
            raise DeclarationError(
                f"the table has no column {', '.join(missing)} for the index: add it first",
                table=self.job.table_name,
                reason="column",
            )
        return tuple(self.table.c[name] for name in names)

    def _plain(self, names: list[str]) -> tuple[Column[Any], ...]:
        targets = self.job.to_plaintext
        if self.job.adopted is not None:
            names = [name for name in names if name in self.job.adopted]
            targets = {name: one.plain for name, one in self.job.adopted.items()}
        if targets is None:
            return ()
        missing = [t for t in targets.values() if t not in self.table.c]
        if missing:
            raise DeclarationError(
                f"the table has no column {', '.join(missing)} for the plaintext",
                table=self.job.table_name,
                reason="column",
            )
        for name, adopted in (self.job.adopted or {}).items() if self._declared is not None else ():
            self.table.c[targets[name]].type = self._plain_type(name, adopted)
        return tuple(self.table.c[targets[name]] for name in names)

    def _refuse_computed(self, computed: frozenset[str]) -> None:
        refused = [column.name for column in self.plain if column.name in computed]
        if refused:
            raise DeclarationError(
                f"the database itself computes {', '.join(refused)}, which can hold no plaintext: "
                "name an ordinary column",
                table=self.job.table_name,
                reason="computed",
            )

    def _plain_type(self, name: str, adopted: Adopted) -> TypeEngine[Any]:
        data = adopted.type if adopted.plain_type is None else adopted.plain_type
        if data["type"] == OF_APPLICATION:
            return self._declared_types(name, data).plain
        return type_from_data(dict(data))

    @property
    def values(self) -> tuple[TypeEngine[Any], ...]:
        """The types of the values in the plaintext columns, as the encrypted ones have them."""
        adopted = self.job.adopted
        if adopted is None:
            return tuple(column.type for column in self.plain)
        described = ((c.name, adopted[c.name].type) for c in self.columns if c.name in adopted)
        return tuple(
            self._declared_types(name, data).inner
            if data["type"] == OF_APPLICATION
            else type_from_data(dict(data))
            for name, data in described
        )

    def _declared_types(self, name: str, data: Mapping[str, Any]) -> DeclaredTypes:
        declared = (self._declared or {}).get(f"{self.job.table_name}.{name}")
        if declared is None:
            named = f" ({data['name']})" if data["name"] else ""
            raise DeclarationError(
                f"its plaintext is read through one of the application's own types{named}. Give "
                "the models that declare adopts= with it (--models, target_metadata), plain_type= "
                "in a migration, or Options(declared_types=...)",
                table=self.job.table_name,
                column=name,
                reason="declared-types",
            )
        return declared

    @property
    def plain_cells(self) -> tuple[ColumnElement[Any], ...]:
        """The SQL that reads the plaintext columns: an adopted one as its exact bytes."""
        if self.job.adopted is None:
            return self.plain
        return tuple(ExactForm(column, column.type) for column in self.plain)

    @property
    def adopted_numbers(self) -> tuple[int, ...]:
        """Numbers of the columns that adopt plaintext, in the spec's order."""
        adopted = self.job.adopted or {}
        return tuple(i for i, c in enumerate(self.columns) if c.name in adopted)
