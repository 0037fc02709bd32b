"""Autogenerate's part about values that the declared inner type cannot read.

The database sees bytes whatever the inner type, so Alembic's own comparison finds no change. A few
values are opened and decoded: one that is authentic and not what the declared type writes was
written under another one, and the application that is deployed with the new one cannot read it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table

from encfields.alembic.autogenerate.index_contents import Keys
from encfields.alembic.autogenerate.rebindings import Stored, stored_table
from encfields.alembic.autogenerate.sampled import near_ends
from encfields.alembic.autogenerate.witness import witness
from encfields.alembic.refused_or_postponed import RefusedChangeOp
from encfields.bulk.rows.spec import TableSpec
from encfields.errors import EncFieldsError, ValueDecodingError
from encfields.orm.declare.columns import ColumnBinding, bindings_of
from encfields.orm.types import EncryptedType

if TYPE_CHECKING:
    from encfields.engine import Encryption

log = logging.getLogger("encfields.alembic")

MAX_OPENED = 10
"""Values of a column that are opened at most, of those at both ends of the primary key."""

_CONVERT = (
    "Reading one of them raises ValueDecodingError. Declare the former type again; or, if no "
    "process needs to read them meanwhile, convert them in a revision of their own, naming the "
    "type that wrote them",
    "op.convert_encrypted({table!r}, {column!r}, was=..., to={to}{schema})",
    "Where old and new processes are to run side by side, in steps:",
    "1. add a second encrypted column of the new type beside it, nullable (a revision),",
    "2. have every process of the application write both; when the last old one has ended, copy "
    "what is there already through the ORM, which reads the former type and writes the new one,",
    "3. make the former column nullable, if it is not (a revision),",
    "4. read and write the new column alone,",
    "5. drop the former column, and make the new one NOT NULL if it was (a revision).",
)


def unreadable(
    connection: Connection, tables: Iterable[Stored], keys: Keys
) -> Iterator[RefusedChangeOp]:
    """Columns whose values their declared type cannot read; without keys, none.

    :param tables: declared tables, with the types of the columns that the database has.
    """
    for table, types in tables:
        stored = stored_table(table, types)
        for binding in bindings_of(table).values():
            if binding.column_name not in types:
                continue
            try:
                found = _is_unreadable(connection, table, stored, binding, keys)
            except EncFieldsError as error:
                log.warning(
                    "%s.%s: its values are not compared with its type: %s",
                    binding.table,
                    binding.column_name,
                    error,
                )
                continue
            if found:
                yield _refused(table, binding)


def _is_unreadable(
    connection: Connection, table: Table, stored: Table, binding: ColumnBinding, keys: Keys
) -> bool:
    """:raises KeyStoreError: the keys are out of reach."""
    spec = TableSpec.from_table(table)
    encrypted = {c.name for c in spec.columns}
    cells = near_ends(connection, stored.c[binding.column_name], encrypted)
    some = cells[:: max(1, -(-len(cells) // MAX_OPENED))]
    encryption: Encryption | None = keys() if some else None
    if encryption is None:
        return False
    (column,) = (c for c in spec.columns if c.name == binding.column_name)
    judge = witness(connection, spec, column, encryption)
    opened = (judge.opened(cell) for cell in some)
    return any(data is not None and not _reads(binding, data, connection) for data in opened)


def _reads(binding: ColumnBinding, data: bytes, connection: Connection) -> bool:
    try:
        binding.codec.decode(data, connection.dialect)
    except ValueDecodingError:
        return False
    return True


def _refused(table: Table, binding: ColumnBinding) -> RefusedChangeOp:
    type_ = binding.column.type
    inner = type_.inner if isinstance(type_, EncryptedType) else type_
    reason = f"declared {inner!r}, but the database holds values that another type wrote"
    places = {
        "table": table.name,
        "column": binding.column_name,
        "to": repr(inner),
        "schema": f", schema={table.schema!r}" if table.schema else "",
    }
    steps = tuple(step.format(**places) for step in _CONVERT)
    return RefusedChangeOp(table.name, binding.column_name, reason, steps, schema=table.schema)
