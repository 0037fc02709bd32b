"""The tables that one engine is used with, where they are of several ``MetaData``.

Within one ``MetaData`` names and keys that meet are found when a table is defined. Two of them may
well have the same names, for two databases: only an engine that meets both tells that it is one.
"""

from __future__ import annotations

import weakref
from threading import Lock
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, inspect

from encfields.errors import DeclarationError
from encfields.orm.declare.collisions import is_rebuilt, refuse_keys_of, refuse_names_of
from encfields.orm.declare.columns import bindings_of
from encfields.orm.query.statement_elements import elements_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection


class EngineTables:
    """The tables with encrypted columns that statements of one engine have named."""

    def __init__(self) -> None:
        self._met: weakref.WeakSet[Table] = weakref.WeakSet()
        self._lock = Lock()

    def meet(self, compiled: Any, connection: Connection) -> None:
        """Take note of a statement's tables.

        :raises DeclarationError: a column of one has the logical name of another table's column,
            or a key that can give the id of another one's.
        """
        for table in _tables(compiled):
            with self._lock:
                others = [] if table in self._met else list(self._met)
            for other in others:
                _compare(table, other, connection)
            with self._lock:
                self._met.add(table)


def _tables(compiled: Any) -> Iterator[Table]:
    if not hasattr(compiled, "bind_names") or compiled.isplaintext:
        return
    for element in elements_of(compiled):
        if isinstance(element, Table) and not is_rebuilt(element) and _has_bindings(element):
            yield element


def _has_bindings(table: Table) -> bool:
    """Whether values are bound there; a table that lacks a key is refused where they are used."""
    try:
        return bool(bindings_of(table))
    except DeclarationError:
        return False


def _compare(table: Table, other: Table, connection: Connection) -> None:
    """A table that is declared in both is the same one, and one that was renamed is gone."""
    if other.metadata is table.metadata or other.fullname == table.fullname:
        return
    try:
        refuse_names_of(table, other)
        refuse_keys_of(table, other)
    except DeclarationError:
        schema = connection.schema_for_object(other)
        if inspect(connection).has_table(other.name, schema=schema):
            raise
