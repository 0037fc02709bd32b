"""A row's key whose column was renamed: its values still call it by the old name."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, select

from encfields.binding.columns import ColumnBinding
from encfields.errors import BindingError, DecryptionError
from encfields.message_header import as_bytes, read_header
from encfields.reencrypt.places import ColumnPlaces
from encfields.reencrypt.spec import SealedColumn, TableSpec

SAMPLE_ROWS = 25
"""Rows whose values are to agree with the renamed column."""


def under_new_name(
    connection: Connection, binding: ColumnBinding, was: SealedColumn
) -> SealedColumn | None:
    """How values were bound, in terms of the column that a key of one column is called now.

    :param binding: the declaration.
    :param was: how values are bound, by a column that the table no longer has.
    :returns: ``None`` if the declared column does not hold what the values are bound to, so that
        it is another one.
    """
    if len(binding.identity) != 1 or len(was.bind_to or ()) != 1 or "{" in was.key:
        return None
    (column,) = binding.identity
    renamed = replace(was, bind_to=(column.name,), context_names=was.bind_to)
    table = binding.column.table
    reflected = TableSpec(table.name, (renamed,), table.schema).reflect(connection)
    (bound,) = reflected.bindings
    places = ColumnPlaces(bound, connection.dialect)
    value = reflected.table.c[bound.column_name]
    sample = select(value, reflected.table.c[column.name]).where(value.is_not(None))
    rows = connection.execute(sample.limit(SAMPLE_ROWS)).all()
    return renamed if any(_is_of(places, row[0], row[1]) for row in rows) else None


def _is_of(places: ColumnPlaces, value: object, key: object) -> bool:
    texts = places.texts([key])
    try:
        found = read_header(as_bytes(value)).context
        return texts is not None and places.find(texts, found).context == found
    except (DecryptionError, BindingError):
        return False
