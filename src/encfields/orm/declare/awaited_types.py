"""Whether a table's key still awaits its type, from a foreign key to a table declared later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from sqlalchemy.types import NullType

from encfields.key_template import KeyTemplate
from encfields.orm.declare.columns import SealedColumnType, is_encrypted
from encfields.orm.declare.formerly import ways_of

if TYPE_CHECKING:
    from sqlalchemy import Table


def awaits_key_types(table: Table) -> bool:
    """Whether a column that values are bound to is a foreign key and has no type of its own.

    It gets the type of the column that it refers to, once that one's table is declared.
    """
    bound_to = (table.c.get(name) for name in _bound_to(table))
    return any(
        column is not None and isinstance(column.type, NullType) and column.foreign_keys
        for column in bound_to
    )


def _bound_to(table: Table) -> Iterator[str]:
    """The names of the columns that its values are bound to, whether or not it has them yet."""
    yield from (column.key for column in table.primary_key.columns)
    for column in filter(is_encrypted, table.c):
        for way in ways_of(cast("SealedColumnType", column.type)):
            yield from way.bind_to or ()
            yield from KeyTemplate(way.key).columns
