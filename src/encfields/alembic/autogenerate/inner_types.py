"""Autogenerate for values that the declared inner type cannot read.

The database sees bytes whatever the inner type, so Alembic's comparison finds no change. A few
values are opened and decoded: an authentic value that the declared type cannot decode was written
by another type, and the new application cannot read it. If the values can be converted from some
type, that is the former one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table
from sqlalchemy import types as sa

from encfields.alembic.autogenerate.binding_check import binding_check_of
from encfields.alembic.autogenerate.rebindings import Stored, indexes_over, stored_table
from encfields.alembic.autogenerate.sampled import near_ends
from encfields.alembic.descriptions import index_column_of, without_defaults
from encfields.alembic.environment import FetchKeys
from encfields.alembic.operations.refused_or_postponed import RefusedChangeOp
from encfields.alembic.operations.values import ConvertEncryptedOp
from encfields.bulk.column_runs import with_uuids
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.rows.spec_base import sealed_column_of
from encfields.bulk.rows.types_as_data import type_to_data
from encfields.codecs import codec_for
from encfields.codecs.conversion import Conversion
from encfields.codecs.inner_types import INNER_TYPES
from encfields.errors import EncFieldsError, ValueDecodingError
from encfields.orm.declare.columns import ColumnBinding, bindings_of
from encfields.orm.declare.formerly import look_alike
from encfields.orm.types import EncryptedType

if TYPE_CHECKING:
    from encfields.engine import Encryption

log = logging.getLogger("encfields.alembic")

MAX_OPENED = 10
"""Most values of a column to open, taken from both ends of the primary key."""

_CONVERT = (
    "Reading one of them raises ValueDecodingError. Declare the former type again; or say what it "
    "was, and autogenerate writes the operation, old and new processes side by side",
    "    EncryptedType({to}, ..., formerly=Formerly(inner=..., phase='write-former'))",
    "docs/reencrypting.md goes through the phases. By hand, in a revision of its own",
    "op.convert_encrypted({table!r}, {column!r}, was=..., to={to}{schema})",
)


def conversions(
    connection: Connection, tables: Iterable[Stored], keys: FetchKeys
) -> tuple[list[ConvertEncryptedOp], list[RefusedChangeOp]]:
    """The runs that convert values that declared types cannot read, and refusals where the former
    type is unknown. Without keys, neither.

    :param tables: declared tables, with the types of the columns that the database has.
    """
    runs: list[ConvertEncryptedOp] = []
    refused: list[RefusedChangeOp] = []
    for table, types in tables:
        stored = stored_table(table, types)
        for binding in bindings_of(table).values():
            if binding.column_name not in types or binding.other is not None:
                continue
            unread = _unread(connection, table, stored, binding, keys)
            if not unread:
                continue
            was = _former(unread, _inner(binding), connection)
            if was is None or _is_in_compound(binding, types):
                refused.append(_refused_change(table, binding))
                continue
            seen = (
                f"encfields - {len(unread)} of the values looked at are not {_inner(binding)!r}, "
                f"but {was!r}. Do not apply this unless that was declared before.",
                "Until it is done the application cannot read them. If old and new processes run "
                f"side by side, declare formerly=Formerly(inner={was!r}, phase='write-former') "
                "first - see docs/reencrypting.md.",
            )
            runs.append(conversion_of(binding, was, binding, types, seen))
    return runs, refused


def conversion_of(
    binding: ColumnBinding,
    was: sa.TypeEngine[Any],
    bound: ColumnBinding,
    types: Collection[str],
    seen: Sequence[str],
) -> ConvertEncryptedOp:
    """The operation that converts one column's values.

    :param was: the type that wrote them. :param bound: how they are bound now.
    :param types: the columns that the database has. :param seen: the evidence, in words.
    """
    table = binding.column.table
    now, before = (
        with_uuids(without_defaults(table, sealed_column_of(one)), one) for one in (binding, bound)
    )
    indexes = indexes_over(table, [binding.column_name], types)
    return ConvertEncryptedOp(
        TableSpec(table.name, (now,), table.schema),
        (type_to_data(was), type_to_data(_inner(binding))),
        before,
        queue=False,
        indexes=tuple(index_column_of(index) for index in indexes),
        seen=tuple(seen),
    )


def _unread(
    connection: Connection, table: Table, stored: Table, binding: ColumnBinding, keys: FetchKeys
) -> list[bytes]:
    """Sampled plaintexts that the declared type cannot read."""
    spec = TableSpec.from_table(table)
    encrypted = {c.name for c in spec.columns}
    cells = near_ends(connection, stored.c[binding.column_name], encrypted)
    some = cells[:: max(1, -(-len(cells) // MAX_OPENED))]
    try:
        encryption: Encryption | None = keys() if some else None
        if encryption is None:
            return []
        (column,) = (c for c in spec.columns if c.name == binding.column_name)
        judge = binding_check_of(connection, spec, column, encryption)
        opened = [data for cell in some if (data := judge.opened(cell)) is not None]
    except EncFieldsError as error:
        log.warning(
            "%s.%s: values were not compared with the declared type: %s",
            binding.table,
            binding.column_name,
            error,
        )
        return []
    return [data for data in opened if not is_read(_inner(binding), data, connection)]


def is_read(inner: sa.TypeEngine[Any], data: bytes, connection: Connection) -> bool:
    """Whether a type can read a plaintext."""
    try:
        codec_for(inner).decode(data, connection.dialect)
    except ValueDecodingError:
        return False
    return True


def _former(
    unread: Sequence[bytes], to: sa.TypeEngine[Any], connection: Connection
) -> sa.TypeEngine[Any] | None:
    """The type from which all the plaintexts can be converted; ``None`` if there is none."""
    try:
        type_to_data(to)
    except EncFieldsError:
        return None
    guesses = (known.kind() for known in INNER_TYPES if known.is_guessed)
    return next((was for was in guesses if _converts(was, to, unread, connection)), None)


def _converts(
    was: sa.TypeEngine[Any],
    to: sa.TypeEngine[Any],
    unread: Sequence[bytes],
    connection: Connection,
) -> bool:
    if look_alike(was, to):
        return False
    conversion = Conversion(was, to, connection.dialect)
    try:
        return all(conversion.of(data, None) != data for data in unread)
    except EncFieldsError:
        return False


def _is_in_compound(binding: ColumnBinding, types: Collection[str]) -> bool:
    """Whether the column is in a compound index, whose other columns the operation cannot name."""
    table = binding.column.table
    over = indexes_over(table, [binding.column_name], types)
    return any(len(index.sources) > 1 for index in over)


def _inner(binding: ColumnBinding) -> sa.TypeEngine[Any]:
    type_ = binding.column.type
    return type_.inner if isinstance(type_, EncryptedType) else type_


def _refused_change(table: Table, binding: ColumnBinding) -> RefusedChangeOp:
    inner = _inner(binding)
    reason = f"declared {inner!r}, but the database holds values that another type wrote"
    places = {
        "table": table.name,
        "column": binding.column_name,
        "to": repr(inner),
        "schema": f", schema={table.schema!r}" if table.schema else "",
    }
    steps = tuple(step.format(**places) for step in _CONVERT)
    return RefusedChangeOp(table.name, binding.column_name, reason, steps, schema=table.schema)
