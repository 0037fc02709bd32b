"""What a run does to a table: from which binding to which, or back to plaintext."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, ColumnElement, Connection, Table, types

from encfields.bulk.rows.inner_types import (
    OF_APPLICATION,
    DeclaredTypes,
    store_differently,
    type_from_data,
)
from encfields.bulk.rows.spec import TableSpec
from encfields.errors import DeclarationError
from encfields.orm.adoption.text_form import ExactForm
from encfields.orm.declare.columns import ColumnBinding

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine


REENCRYPT, FILL_INDEX, ROTATE_INDEX, REBIND, DECRYPT, CONVERT, ADOPT, REFILL = (
    "reencrypt",
    "fill-index",
    "rotate-index",
    "rebind",
    "decrypt",
    "convert",
    "adopt",
    "refill",
)
"""Kinds of jobs."""

Conversions = Mapping[str, Sequence[dict[str, Any]]]
"""By column, the type that wrote its values and the one that is to read them, as data."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A plaintext column beside an encrypted one that takes its place.

    :param plain: its name. :param type: of the values, as
        :func:`~encfields.bulk.rows.inner_types.declared_to_data` tells it.
    :param refill: write the plaintext of sealed values into it, the way back.
    :param plain_type: through which the column is read, likewise; ``None`` if that is `type`.
    """

    plain: str
    type: Mapping[str, Any]
    refill: bool = False
    plain_type: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """The description of a run, as its row keeps it sealed.

    :param spec: how values are to be bound; of a run to plaintext, how they are bound.
    :param source: how they are bound now, where that differs.
    :param to_plaintext: encrypted column to the column that takes its plaintext.
    :param conversions: encrypted column to the inner type that wrote its values and the one that
        is to read them, as :func:`encfields.bulk.rows.inner_types.type_to_data` tells them.
    :param adopted: encrypted column to the plaintext that is sealed into it.
    """

    spec: TableSpec
    source: TableSpec | None = None
    to_plaintext: Mapping[str, str] | None = field(default=None)
    conversions: Conversions | None = field(default=None)
    adopted: Mapping[str, Adopted] | None = field(default=None)

    def __post_init__(self) -> None:
        names = {column.name for column in self.spec.columns}
        if not names:
            raise self._refusal("no column is named")
        source = self.source
        if source is not None and {column.name for column in source.columns} != names:
            raise self._refusal("the source names other columns than the spec")
        if source is not None and (source.table, source.schema) != (
            self.spec.table,
            self.spec.schema,
        ):
            raise self._refusal(
                "the source names another table; give it the table's present name, and what it "
                "was called in the columns' logical names"
            )
        if self.to_plaintext is not None and set(self.to_plaintext) != names:
            raise self._refusal("to_plaintext= names a target for each of the spec's columns")
        if self.to_plaintext is not None and source is not None:
            raise self._refusal("a run to plaintext has no source: its spec says how to open")

        self._require_adopted()
        self._require_conversions()
        if self.spec.indexes and self.to_plaintext is not None:
            raise self._refusal("a run to plaintext computes no blind indexes")
        for index in self.spec.indexes:
            if not index.columns or not names.issuperset(index.columns):
                raise self._refusal(f"{index.name} is of columns that the run does not name")
        if len({index.name for index in self.spec.indexes} | names) < len(names) + len(
            self.spec.indexes
        ):
            raise self._refusal("a column is named twice")

    def _require_adopted(self) -> None:
        adopted = self.adopted
        if adopted is None:
            return
        if not adopted or not {column.name for column in self.spec.columns}.issuperset(adopted):
            raise self._refusal("adopted= may name only columns of the spec")
        if self.source is not None or self.to_plaintext is not None or self.conversions is not None:
            raise self._refusal("a run that adopts plaintext does nothing else")
        if len({one.refill for one in adopted.values()}) > 1:
            raise self._refusal("a run adopts plaintext or refills it, not both")

    def _require_conversions(self) -> None:
        conversions = self.conversions
        if conversions is None:
            return
        if not {column.name for column in self.spec.columns}.issuperset(conversions):
            raise self._refusal("conversions= names a column that the run does not")
        if self.to_plaintext is not None:
            raise self._refusal("a run to plaintext converts nothing")
        if self.source is None and not all(store_differently(*one) for one in conversions.values()):
            raise self._refusal(
                "stored text and stored JSON look alike. Give the new declaration a "
                "name of its own, EncryptedType(..., name='table.column.2'), and the former one "
                "in was_bound=: then the name tells what was converted"
            )

    def _refusal(self, message: str) -> DeclarationError:
        return DeclarationError(message, table=self.table_name, reason="job")

    @property
    def kind(self) -> str:
        """What it does to values, in a word."""
        if self.to_plaintext is not None:
            return DECRYPT
        if self.adopted is not None:
            return REFILL if any(one.refill for one in self.adopted.values()) else ADOPT
        if self.conversions is not None:
            return CONVERT
        if self.source is not None:
            return REBIND
        if self.spec.reindex:
            return ROTATE_INDEX
        return FILL_INDEX if self.spec.indexes else REENCRYPT

    @property
    def is_asked_by_id(self) -> bool:
        """Whether a worker does it only when it is given the run's id.

        It writes plaintext, seals what anybody could have written, or takes in what was sealed
        for another place or under another key:
        whoever put its run back, long after, would have that done for values of his own.
        """
        has_former = any(column.former_keys for column in self.spec.columns)
        return self.kind in (REBIND, DECRYPT, CONVERT, ADOPT, REFILL) or has_former

    @property
    def table_name(self) -> str:
        """The table's name, with its schema where the spec has one."""
        spec = self.spec
        return f"{spec.schema}.{spec.table}" if spec.schema else spec.table

    def to_json(self) -> str:
        """The job as canonical JSON; :meth:`from_json` is the inverse."""
        data: dict[str, Any] = {
            "spec": self.spec.to_json(),
            "source": self.source and self.source.to_json(),
            "to_plaintext": self.to_plaintext and dict(self.to_plaintext),
        }
        if self.conversions is not None:
            data["conversions"] = {name: list(one) for name, one in self.conversions.items()}
        if self.adopted is not None:
            data["adopted"] = {name: asdict(one) for name, one in self.adopted.items()}
        return json.dumps(data, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that :meth:`to_json` wrote."""
        data = json.loads(text)
        source, adopted = data["source"], data.get("adopted")
        return cls(
            TableSpec.from_json(data["spec"]),
            TableSpec.from_json(source) if source else None,
            data["to_plaintext"],
            data.get("conversions"),
            adopted and {name: Adopted(**one) for name, one in adopted.items()},
        )

    def fingerprint(self) -> str:
        """64 hexadecimal digits: two calls with the same job share one run."""
        return hashlib.sha256(self.to_json().encode("utf-8")).hexdigest()

    def prepare(
        self, connection: Connection, declared: Mapping[str, DeclaredTypes] | None = None
    ) -> PreparedJob:
        """The job on the table as the database has it.

        :param declared: types of the application's own, by ``table.column``; ``None`` where no
            plaintext is to be read.
        :raises DeclarationError: the table or a column is missing, it has no primary key, or the
            job needs a type that is not among `declared`.
        """
        return PreparedJob(self, connection, declared)


_ORDINARY = (types.Integer, types.Uuid, types.Date, types.DateTime, types.LargeBinary)


class PreparedJob:
    """A job with its table reflected.

    :ivar table: the table; encrypted columns are plain binary ones.
    :ivar key: the primary key's columns, by which the table is walked.
    :ivar columns: the encrypted columns, in the spec's order.
    :ivar targets: how each is to be bound. :ivar sources: how each is bound now.
    :ivar identity: columns beside the key that the bindings need.
    :ivar plain: the plaintext columns, in the spec's order; of a run to plaintext, or one that
        adopts, only. :ivar values: the types of the values in them.
    :ivar index_columns: the columns of blind indexes, in the spec's order.
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
            raise DeclarationError(
                "the table has no primary key to read it by in batches",
                table=job.table_name,
                reason="primary-key",
            )
        self.targets: tuple[ColumnBinding, ...] = reflected.bindings
        self.sources = self._sources(connection)
        names = [column.name for column in job.spec.columns]
        self.columns: tuple[Column[Any], ...] = tuple(self.table.c[name] for name in names)
        self.identity = self._identity()
        self.plain = self._plain(names)
        self.index_columns = self._index_columns()

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
        """Names of the columns that are known to hold UUIDs, whatever the database has."""
        specs = [self.job.spec, *([self.job.source] if self.job.source else [])]
        return frozenset(name for spec in specs for one in spec.columns for name in one.uuids or ())

    @property
    def is_ordinary(self) -> bool:
        """Whether all that is read of a row is of types that every driver knows in any format."""
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
        found = ((c.name, adopted[c.name].type) for c in self.columns if c.name in adopted)
        return tuple(
            self._declared_types(name, data).inner
            if data["type"] == OF_APPLICATION
            else type_from_data(dict(data))
            for name, data in found
        )

    def _declared_types(self, name: str, data: Mapping[str, Any]) -> DeclaredTypes:
        declared = (self._declared or {}).get(f"{self.job.table_name}.{name}")
        if declared is None:
            named = f" ({data['name']})" if data["name"] else ""
            raise DeclarationError(
                f"its plaintext is read through a type of the application's own{named}. Give the "
                "models that declare adopts= with it (--models, target_metadata), in a migration "
                "plain_type=, or Options(declared_types=...)",
                table=self.job.table_name,
                column=name,
                reason="declared-types",
            )
        return declared

    @property
    def plain_cells(self) -> tuple[ColumnElement[Any], ...]:
        """What is read of the plaintext columns: of one that is adopted, its exact bytes."""
        if self.job.adopted is None:
            return self.plain
        return tuple(ExactForm(column, column.type) for column in self.plain)

    @property
    def adopted_numbers(self) -> tuple[int, ...]:
        """Of the columns of a run that adopts, those that have a plaintext, in its order."""
        adopted = self.job.adopted or {}
        return tuple(i for i, c in enumerate(self.columns) if c.name in adopted)
