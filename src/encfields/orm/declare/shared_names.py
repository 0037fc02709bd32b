"""Columns of two tables that would share one logical name, so that their values could be exchanged.

An archive or an audit table shares a name on purpose: its ``name=`` is that which a column of
another table has by itself, and it holds that column's values. Anything else is a mistake: a name
given to two columns, or dots in the names of tables and columns that add up to the same. A name
that ``formerly=`` says is one of the column's, because its values open under it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Column, MetaData, Table

from encfields.errors import DeclarationError
from encfields.orm.declare.columns import SealedColumnType, bindings_of
from encfields.orm.declare.formerly import ways_of
from encfields.orm.kept_state import LOGICAL_NAMES

if TYPE_CHECKING:
    from typing import Any

    from encfields.orm.declare.columns import ColumnBinding

_TEMPORARY = "_alembic_tmp_"
"""How tables are called in which Alembic's batch mode rebuilds others."""


class NamedColumn(NamedTuple):
    """A column of a table, by their keys."""

    table: str
    column: str

    def has_name(self, name: str, metadata: MetaData) -> Column[Any] | None:
        """The column, if it is still there and has this logical name."""
        table = metadata.tables.get(self.table)
        column = None if table is None else table.c.get(self.column)
        if column is None or not isinstance(column.type, SealedColumnType):
            return None
        ways = ways_of(column.type)
        return column if name in {way.name or _own_name(column) for way in ways} else None


def refuse_shared_names(bindings: Iterable[ColumnBinding]) -> None:
    """Refuse a column whose logical name is that of another table's column by mistake.

    :param bindings: of one table.
    :raises DeclarationError: says which column has the name.
    """
    for way in _ways(bindings):
        table = way.column.table
        if is_rebuilt(table):
            continue
        named: dict[str, set[NamedColumn]] = table.metadata.info.setdefault(LOGICAL_NAMES, {})
        places = named.setdefault(way.logical_name, set())
        here = NamedColumn(table.key, way.column.key)
        others = [
            column
            for place in places
            if place.table != here.table
            and (column := place.has_name(way.logical_name, table.metadata)) is not None
        ]
        if others and not _is_on_purpose(way.logical_name, [way.column, *others]):
            raise _refusal(way, others[0])
        places.add(here)


def refuse_names_of(table: Table, other: Table) -> None:
    """The same for two tables of different ``MetaData``.

    :raises DeclarationError: says which column has the name.
    """
    named = {way.logical_name: way.column for way in _ways(bindings_of(other).values())}
    for way in _ways(bindings_of(table).values()):
        column = named.get(way.logical_name)
        if column is not None and not _is_on_purpose(way.logical_name, [way.column, column]):
            raise _refusal(way, column)


def _ways(bindings: Iterable[ColumnBinding]) -> Iterator[ColumnBinding]:
    """All ways in which the columns' values may be bound."""
    for binding in bindings:
        yield from binding.ways()


def is_rebuilt(table: Table) -> bool:
    """Whether it takes another one's place for a moment, as in Alembic's batch mode."""
    return table.name.startswith(_TEMPORARY)


def _is_on_purpose(name: str, columns: list[Column[Any]]) -> bool:
    """Whether the name is one column's own, and all others state it."""
    own = [column for column in columns if _own_name(column) == name]
    return len(own) == 1


def _own_name(column: Column[Any]) -> str:
    """The logical name of a column that is given none."""
    return f"{column.table.fullname}.{column.name}"


def _refusal(binding: ColumnBinding, other: Column[Any]) -> DeclarationError:
    return DeclarationError(
        f"its logical name {binding.logical_name!r} is that of {other.table.fullname}."
        f"{other.name} too, so their values could be exchanged: give each a name= of its own. (A "
        "table that takes another one's rows with their ciphertext names that column by table and "
        "column, and is defined after it)",
        table=binding.table,
        column=binding.column_name,
        reason="logical-name",
    )
