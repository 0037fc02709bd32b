"""A table by name, and how its encrypted columns are bound.

A migration outlives the models of its time, so a spec refers to none: the table is reflected, and
what the database cannot tell (logical names, keys, identity) is stated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Column, LargeBinary, MetaData, PrimaryKeyConstraint, Table, inspect
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from encfields.arguments import check_flag, check_table_name, check_text, each_as, names
from encfields.bulk.error_codes import MISSING_SCHEMA, code_of
from encfields.bulk.rows.catalog import computed_names, refuse_hidden_rows, schema_of
from encfields.bulk.rows.stored_keys import take_keys_as_stored
from encfields.context import RowContext
from encfields.errors import DeclarationError
from encfields.expected_arguments import TABLE, TEXT, Expected, require, takes
from encfields.index.definition import IndexDefinition
from encfields.key_template import KeyTemplate
from encfields.orm import internals
from encfields.orm.declare.columns import ColumnBinding, bindings_of
from encfields.orm.declare.table_indexes import indexes_of
from encfields.orm.types import DEFAULT_KEY, EncryptedType

if TYPE_CHECKING:
    from sqlalchemy import Connection


_INDEX_DEFINITIONS = Expected(
    "a tuple of the index definitions that TableSpec.from_table() gives",
    lambda: tuple,
    lambda value: all(isinstance(index, IndexDefinition) for index in value),
)


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """One encrypted column, as its ``EncryptedType`` declares it.

    :param name: the column's name in the database.
    :param logical_name: its name in the encryption context; default ``"table.column"``, with the
        schema if there is one.
    :param key: branch key id or template, ``"tenant/{tenant_id}"``.
    :param bind_to: names of the columns that identify the row; default the primary key.
    :param context_names: names in the encryption context of the `bind_to` columns and then of the
        other columns of the key template, if they differ from the names in the database: for values
        sealed before such a column was renamed.
    :param former_keys: branch key ids or templates under which a value may also be; a run moves
        such values to `key`.
    :param uuids: names of the identity columns that hold UUIDs. A database without that type stores
        32 digits, so a run that seals plaintext or rebinds values must be told. Default: unknown.
    """

    name: str
    logical_name: str | None = None
    key: str = DEFAULT_KEY
    bind_to: tuple[str, ...] | None = None
    context_names: tuple[str, ...] | None = None
    former_keys: tuple[str, ...] = ()
    uuids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        require("name", TEXT, self.name, DeclarationError)
        check_text("logical_name", self.logical_name)
        require("key", TEXT, self.key, DeclarationError)
        for option in ("bind_to", "context_names", "former_keys", "uuids"):
            given = getattr(self, option)
            # A recorded job has them as lists, in which a bare name would be one of letters.
            if given is not None or option == "former_keys":
                object.__setattr__(self, option, names(option, given))


@dataclass(frozen=True, slots=True)
class TableSpecBase:
    """:class:`~encfields.bulk.rows.spec.TableSpec` without its counting methods."""

    table: str
    columns: tuple[SealedColumn, ...]
    schema: str | None = None
    indexes: tuple[IndexDefinition, ...] = ()
    reindex: bool = False

    def __post_init__(self) -> None:
        check_table_name(self.table)
        check_text("schema", self.schema)
        check_flag("reindex", self.reindex)
        object.__setattr__(self, "columns", each_as(SealedColumn, "columns", self.columns))
        require("indexes", _INDEX_DEFINITIONS, self.indexes, DeclarationError)

    @property
    def full_name(self) -> str:
        """The table's name, with its schema if it has one."""
        return f"{self.schema}.{self.table}" if self.schema else self.table

    @classmethod
    def of(
        cls, table: str, columns: Sequence[SealedColumn | str], *, schema: str | None = None
    ) -> Self:
        """A spec from columns or plain names.

        :param table: the table's name.
        :param columns: its encrypted columns, or their names.
        :param schema: the table's schema; default the connection's own.
        :raises DeclarationError: one of them is something else.
        """
        check_table_name(table)
        sealed = each_as(SealedColumn, "columns", columns)
        return cls(table, sealed, schema)

    @classmethod
    @takes(table=TABLE)
    def from_table(cls, table: Table) -> Self:
        """The spec of a declared table with ``EncryptedType`` columns.

        :param table: a declared table.
        """
        columns = []
        for binding in bindings_of(table).values():
            columns.append(sealed_column_of(binding))
        indexes = tuple(index.definition for index in indexes_of(table))
        return cls(table.name, tuple(columns), table.schema, indexes)

    def fingerprint(self) -> str:
        """64 hexadecimal digits, different for any two different specs."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The spec as plain data, for the run's row.

        Fields added in later versions appear only if they are used, so that the fingerprint of an
        already recorded run stays the same.
        """
        data = asdict(self)
        for column in data["columns"]:
            if column["context_names"] is None:
                del column["context_names"]
            if not column["former_keys"]:
                del column["former_keys"]
            if column["uuids"] is None:
                del column["uuids"]
        data["indexes"] = [index.to_json() for index in self.indexes]
        if not self.indexes:
            del data["indexes"], data["reindex"]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_json`.

        :param data: what :meth:`to_json` gave.
        """
        columns = tuple(
            SealedColumn(
                column["name"],
                column["logical_name"],
                column["key"],
                _names(column["bind_to"]),
                _names(column.get("context_names")),
                tuple(column.get("former_keys", ())),
                _names(column.get("uuids")),
            )
            for column in data["columns"]
        )
        indexes = tuple(map(IndexDefinition.from_json, data.get("indexes", ())))
        reindex = data.get("reindex", False)
        return cls(data["table"], columns, data["schema"], indexes, reindex)

    def reflect(self, connection: Connection) -> ReflectedTable:
        """The table as the database has it now.

        :param connection: to the database that has the table.
        :raises DeclarationError: the table or a column is missing, or a column's type cannot hold
            encrypted values.
        :raises ConfigurationError: row level security hides rows from the database user.
        """
        inspector = inspect(connection)
        # Unlike Table, an inspector ignores schema_translate_map.
        schema = schema_of(self.table, self.schema, connection)
        try:
            columns = inspector.get_columns(self.table, schema=schema)
        except (NoSuchTableError, DBAPIError) as error:
            if isinstance(error, DBAPIError) and code_of(error.orig) != MISSING_SCHEMA:
                raise
            name = f"{schema}.{self.table}" if schema else self.table
            raise DeclarationError(
                "the database has no such table", table=name, reason="no-table"
            ) from None
        # Skip indexes, comments and referred tables, which would take most of the time.
        key = inspector.get_pk_constraint(self.table, schema=schema)["constrained_columns"]
        table = Table(
            self.table,
            MetaData(),
            *(Column(column["name"], column["type"]) for column in columns),
            PrimaryKeyConstraint(*key),
            schema=schema,
        )
        internals.leave_schema(table)  # already translated; plain SQL needs it that way
        refuse_hidden_rows(table, connection)
        take_keys_as_stored(table, self._identifying(), connection)
        return ReflectedTable(self, table, computed_names(columns))

    def _identifying(self) -> frozenset[str]:
        """Names of the columns that values are bound to, except the primary key's."""
        return frozenset(
            name
            for stated in self.columns
            for name in (*(stated.bind_to or ()), *KeyTemplate(stated.key).columns)
        )


def sealed_column_of(binding: ColumnBinding) -> SealedColumn:
    """How one declared column's values are bound."""
    return SealedColumn(
        binding.column_name,
        binding.logical_name,
        _by_name(binding.key.template, binding),
        binding.bind_to and tuple(column.name for column in binding.own_identity),
        former_keys=tuple(_by_name(key.template, binding) for key in binding.former_keys),
    )


def _names(listed: list[str] | None) -> tuple[str, ...] | None:
    return None if listed is None else tuple(listed)


def _by_name(template: str, binding: ColumnBinding) -> str:
    """A key template in terms of the columns' database names."""
    for column in binding.identity:
        template = template.replace(f"{{{column.key}}}", f"{{{column.name}}}")
    return template


class ReflectedTable:
    """A reflected table and its encrypted columns.

    :ivar table: the table, whose encrypted columns have type ``LargeBinary``, so that a SELECT
        gives stored messages and opens nothing.
    :ivar computed: names of the columns that the server itself computes.
    :ivar bindings: how each encrypted column is bound, in the spec's order.
    """

    def __init__(self, spec: TableSpecBase, table: Table, computed: frozenset[str]) -> None:
        self.spec = spec
        self.table = table
        self.computed = computed
        declared = Table(self.spec.table, MetaData(), schema=spec.schema)
        for column in table.columns:
            stated = next((c for c in spec.columns if c.name == column.name), None)
            copy = internals.column_copy(column)
            copy.server_default = None
            if stated is not None:
                copy.type = EncryptedType(
                    LargeBinary,
                    key=stated.key,
                    former_keys=stated.former_keys,
                    name=stated.logical_name,
                    bind_to=stated.bind_to,
                )
            declared.append_column(copy)
        missing = [c.name for c in spec.columns if c.name not in declared.c]
        if missing:
            # SQLAlchemy asks for ANSI_QUOTES at an engine's first connection only.
            quotes = (
                ": no column at all could be reflected, which happens where an event listener sets "
                "ANSI_QUOTES: set it with init_command"
            )
            unread = "" if len(table.columns) else quotes
            raise DeclarationError(
                f"the table has no column {', '.join(missing)}{unread}",
                table=spec.full_name,
                reason="column",
            )
        known = bindings_of(declared)
        self.bindings: tuple[ColumnBinding, ...] = tuple(known[c.name] for c in spec.columns)
        for stated, binding in zip(spec.columns, self.bindings, strict=True):
            if stated.context_names is not None:
                binding.context = _renamed(binding, stated.context_names)


def _renamed(binding: ColumnBinding, names: tuple[str, ...]) -> RowContext:
    """The context of a binding whose identity columns were renamed."""
    if len(names) != len(binding.identity):
        raise DeclarationError(
            f"context_names= has {len(names)} names for {len(binding.identity)} columns: "
            f"{', '.join(column.name for column in binding.identity)}",
            table=binding.table,
            column=binding.column_name,
            reason="context-names",
        )
    return RowContext(binding.logical_name, names)
