"""Reads rows' present values, under a lock in the transaction that will change them.

A session's copy of a row may be outdated. So values that the application did not change but that
must be resealed, or go into a blind index, are read here. A value that cannot be read is an error,
never NULL.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Column, LargeBinary, Table, false, select, tuple_, type_coerce, update
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy.types import UserDefinedType

from encfields.codecs.conversion import ChangedCodec
from encfields.errors import EncFieldsError, UnreadableError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.declare.columns import ColumnBinding, binding_of, is_encrypted
from encfields.orm.engine_encryption import attachment_of
from encfields.orm.read.packed import Packed
from encfields.orm.read.row_reader import RowReader
from encfields.orm.write.pending import Carried

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.codecs import Codec

ROWS_OF_ONE_SELECT = 500


class CarriedType(UserDefinedType[Any]):
    """Reads an encrypted column's value as the bytes that were sealed, not as a Python value.

    :param binding: the encrypted column.
    """

    cache_ok = True
    carries_row_key = True

    def __init__(self, binding: ColumnBinding) -> None:
        self.binding = binding

    def column_expression(self, column: Any) -> Any:
        carried = copy.copy(self.binding)
        carried.codec = cast("Codec", _CarryingCodec(self.binding, self.binding))
        if self.binding.other is not None:
            carried.other = copy.copy(self.binding.other)
            carried.other.codec = cast("Codec", _CarryingCodec(carried.other, self.binding))
        return Packed(column.clause, carried.bound_to, RowReader(carried))


class _CarryingCodec:
    """Leaves a plaintext as bytes; during a change of the inner type, as the bytes to write.

    :param way: how the value is bound. :param written: how it will be bound.
    """

    def __init__(self, way: ColumnBinding, written: ColumnBinding) -> None:
        self._read, self._written = way.codec, written.codec

    def decode(self, data: bytes, dialect: Any) -> Carried:
        if isinstance(self._written, ChangedCodec):
            data = self._written.encode(self._read.decode(data, dialect), dialect)
        return Carried(data)


class CurrentRows:
    """Reads rows of one table by their keys.

    :param connection: the one that will change them.
    :param keys: the columns of the table's primary key.
    :param wanted: the key of each row, in the order of `keys`.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Sequence[Column[Any]],
        wanted: Sequence[tuple[Any, ...]],
    ) -> None:
        self._connection = connection
        self._keys = tuple(keys)
        self._table: Table = keys[0].table
        self._wanted = wanted

    def read(self, columns: Iterable[Column[Any]]) -> list[dict[str, Any] | None]:
        """Each row's `columns`, by column key; ``None`` for a missing row.

        Encrypted values come as :class:`~encfields.orm.write.pending.Carried`.

        :raises BindingError: autocommit is on, so no lock would hold.
        :raises EncFieldsError: a value cannot be read.
        """
        chosen = list(columns)
        self._lock(chosen)
        rows_by_key: dict[tuple[Any, ...], dict[str, Any]] = {}
        for start in range(0, len(self._wanted), ROWS_OF_ONE_SELECT):
            chunk = self._wanted[start : start + ROWS_OF_ONE_SELECT]
            rows = self._select(chosen, self._where_key_in(chunk))
            rows_by_key |= dict(rows)
        return [rows_by_key.get(key) or self._read_one(chosen, key) for key in self._wanted]

    def _where_key_in(self, chunk: Sequence[tuple[Any, ...]]) -> Any:
        if len(self._keys) == 1:
            return self._keys[0].in_([key for (key,) in chunk])
        return tuple_(*self._keys).in_(list(chunk))

    def _read_one(self, columns: list[Column[Any]], key: tuple[Any, ...]) -> dict[str, Any] | None:
        """A row whose key the database returns in another form than given."""
        where = [column == value for column, value in zip(self._keys, key, strict=True)]
        rows = self._select(columns, *where)
        return rows[0][1] if len(rows) == 1 else None

    def _select(self, columns: list[Column[Any]], *where: Any) -> list[Any]:
        bindings = [_binding(column) for column in columns]
        sealed = [binding for binding in bindings if binding is not None]
        statement = select(
            *self._keys,
            *(column for column in columns if not is_encrypted(column)),
            *(type_coerce(binding.column, CarriedType(binding)) for binding in sealed),
            *(type_coerce(binding.column, LargeBinary).is_(None) for binding in sealed),
        )
        statement = statement.where(*where).with_for_update(key_share=True)
        count = len(self._keys)
        plain = [column.key for column in columns if not is_encrypted(column)]
        rows: list[Any] = []
        for row in self._connection.execute(statement):
            rest = row[count + len(plain) :]
            held = dict(zip(plain, row[count:], strict=False))
            for binding, value, is_null in zip(
                sealed, rest[: len(sealed)], rest[len(sealed) :], strict=True
            ):
                held[binding.column.key] = self._carried(binding, value, is_null=bool(is_null))
            rows.append((tuple(row[:count]), held))
        return rows

    def _carried(self, binding: ColumnBinding, value: Any, *, is_null: bool) -> Any:
        if is_null:
            return Carried(None)
        if isinstance(value, Carried):
            return value
        encryption = attachment_of(self._connection.dialect).require()
        if value is None or value is encryption.destroyed:
            raise _unreadable_error(binding)
        return value  # decoded by the application's own reader of foreign messages

    def _lock(self, columns: list[Column[Any]]) -> None:
        """Lock the rows until they are changed."""
        has_values = any(is_encrypted(column) for column in columns)
        if internals.is_autocommit(self._connection):
            if has_values:
                raise _no_lock_error(self._table)
            return  # the UPDATE itself compares the identity
        if self._connection.dialect.name != "sqlite":
            return
        lock_on_sqlite(self._connection, self._table)
        if has_values and not internals.in_sqlite_transaction(self._connection):
            raise _no_lock_error(self._table)


def lock_on_sqlite(connection: Connection, table: Table) -> None:
    """Lock an SQLite database, which has no FOR UPDATE but only one writer: beginning an UPDATE
    locks. Others have locks of rows."""
    if connection.dialect.name != "sqlite":
        return
    # A table may have no primary key, if its values are bound to other columns.
    settable = (column for column in table.c if column.computed is None)
    key = next(chain(table.primary_key, settable)).name
    schema = connection.schema_for_object(table)
    bare = sql_table(table.name, sql_column(key), schema=schema)
    connection.execute(
        update(bare).values({key: bare.c[key]}).where(false()),
        execution_options=internals.UNTRANSLATED,
    )


def _binding(column: Column[Any]) -> ColumnBinding | None:
    return binding_of(column) if is_encrypted(column) else None


def _unreadable_error(binding: ColumnBinding) -> EncFieldsError:
    return UnreadableError(
        "the row's value has to be sealed again, or goes into a blind index, and cannot be read: "
        "its key was destroyed, or a column that it is bound to is NULL. Nothing was written. "
        "Repair the row, or give the column a new value in the same change",
        table=binding.table,
        column=binding.column_name,
        reason="unread",
    )


def _no_lock_error(table: Table) -> EncFieldsError:
    return UnsupportedOperationError(
        "values of the row have to be read and sealed again together, and on a connection in "
        "autocommit no lock would hold in between: make the change in a transaction",
        table=table.fullname,
        reason="autocommit",
    )
