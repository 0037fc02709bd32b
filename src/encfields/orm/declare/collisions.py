"""Refuses tables whose declarations collide in a logical name, or in key ids.

Values of columns with the same logical name could be exchanged. An archive or audit table shares a
name on purpose: its ``name=`` is another table's default name, and it stores that column's values.
Anything else is a mistake: one name given to two columns, or dots in names of tables and columns
that give the same result. Names in ``formerly=`` count too, since values open under them.

Nor may any row turn one column's key template into another column's key id. Templates with the same
literal texts share keys on purpose: every table of a tenant uses the tenant's key. All others must
differ, or whoever chooses a tenant's name would choose a key. The same goes for keys of blind
indexes.

Within one ``MetaData`` this is checked when a table is defined. Tables of two ``MetaData`` may have
the same names in two databases: they are compared when one engine meets both.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column, MetaData, Table, inspect

from encfields.errors import DeclarationError
from encfields.identity import IdentityKind
from encfields.kept_state import DECLARED_KEYS, LOGICAL_NAMES
from encfields.key_template import DEFAULT_KEY, ENCODED, KeyTemplate
from encfields.orm.declare.columns import SealedColumnType, bindings_of
from encfields.orm.declare.formerly import ways_of
from encfields.orm.declare.row_keys import kind_of
from encfields.orm.declare.table_indexes import known_indexes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.orm.declare.columns import ColumnBinding

_TEMPORARY = "_alembic_tmp_"
"""Name prefix of the tables in which Alembic's batch mode rebuilds others."""


# -- logical names ------------------------------------------------------------------------------


class NamedColumn(NamedTuple):
    """A column of a table, by their keys."""

    table: str
    column: str

    def has_name(self, name: str, metadata: MetaData) -> Column[Any] | None:
        """The column, if it still exists and has this logical name."""
        table = metadata.tables.get(self.table)
        column = None if table is None else table.c.get(self.column)
        if column is None or not isinstance(column.type, SealedColumnType):
            return None
        ways = ways_of(column.type)
        return column if name in {way.name or _own_name(column) for way in ways} else None


def refuse_shared_names(bindings: Iterable[ColumnBinding]) -> None:
    """Refuse a column that shares another table's column's logical name by mistake.

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
            raise _name_refusal(way, others[0])
        places.add(here)


def refuse_names_of(table: Table, other: Table) -> None:
    """Refuse two tables of different ``MetaData`` that share a logical name.

    :raises DeclarationError: says which column has the name.
    """
    named = {way.logical_name: way.column for way in _ways(bindings_of(other).values())}
    for way in _ways(bindings_of(table).values()):
        column = named.get(way.logical_name)
        if column is not None and not _is_on_purpose(way.logical_name, [way.column, column]):
            raise _name_refusal(way, column)


def _ways(bindings: Iterable[ColumnBinding]) -> Iterator[ColumnBinding]:
    """All bindings that the columns' values may have."""
    for binding in bindings:
        yield from binding.ways()


def is_rebuilt(table: Table) -> bool:
    """Whether the table temporarily replaces another, as in Alembic's batch mode."""
    return table.name.startswith(_TEMPORARY)


def _is_on_purpose(name: str, columns: list[Column[Any]]) -> bool:
    """Whether the name is one column's default, and all others state it."""
    own = [column for column in columns if _own_name(column) == name]
    return len(own) == 1


def _own_name(column: Column[Any]) -> str:
    """The default logical name of a column."""
    return f"{column.table.fullname}.{column.name}"


def _name_refusal(binding: ColumnBinding, other: Column[Any]) -> DeclarationError:
    return DeclarationError(
        f"its logical name {binding.logical_name!r} is that of {other.table.fullname}.{other.name} "
        "too, so their values could be exchanged: give each a name= of its own. (To have a table "
        "take over another one's rows with their ciphertext, give its column the other's "
        "table.column as name=, and define it after that table)",
        table=binding.table,
        column=binding.column_name,
        reason="logical-name",
    )


# -- keys --------------------------------------------------------------------------------------

Part = str | frozenset[str]
"""A character of an id, or a set of characters of which any number may follow."""

_DIGITS = frozenset("0123456789")
_LETTERS = {
    IdentityKind.INTEGER: _DIGITS | {"-"},
    IdentityKind.DATE: _DIGITS | {"-"},
    IdentityKind.UUID: _DIGITS | frozenset("abcdef-"),
    IdentityKind.BINARY: _DIGITS | frozenset("abcdef"),
}


def refuse_colliding_keys(table: Table) -> None:
    """Refuse a column one of whose keys can give the same id as another declaration.

    :param table: with its blind indexes.
    :raises DeclarationError: says which two.
    """
    declared: dict[DeclaredKey, set[KeyedColumn]] = table.metadata.info.setdefault(
        DECLARED_KEYS, {}
    )
    for key, column in _keys_of(table):
        if key not in declared:
            _refuse_collision(key, column, declared)
        declared.setdefault(key, set()).add(KeyedColumn(table.fullname, column.key))


def refuse_keys_of(table: Table, other: Table) -> None:
    """Refuse two tables of different ``MetaData`` whose keys can give the same id.

    :raises DeclarationError: says which two keys.
    """
    for key, column in _keys_of(table):
        for met, place in _keys_of(other):
            if _may_collide(key, met):
                raise _key_refusal(key, column, met, f"{other.fullname}.{place.key}")


def _keys_of(table: Table) -> Iterator[tuple[DeclaredKey, Column[Any]]]:
    """The keys that a table's columns and blind indexes declare, each with its column."""
    for binding in bindings_of(table).values():
        for template in (binding.key, *binding.former_keys):
            yield _key(template, binding.identity), binding.column
    for index in known_indexes(table):
        yield _key(index.key, index.key_columns), index.sources[0].column


class DeclaredKey(NamedTuple):
    """A declared key id or template.

    :param template: as declared. :param parts: the form of its ids.
    """

    template: str
    parts: tuple[Part, ...]


class KeyedColumn(NamedTuple):
    """A column that declares a key."""

    table: str
    column: str

    def declares(self, key: DeclaredKey, metadata: MetaData) -> bool:
        """Whether it still exists and declares the key."""
        table = metadata.tables.get(self.table)
        keys = () if table is None else _keys_of(table)
        return any(key == its and column.key == self.column for its, column in keys)


_NONE_NAMED = DeclaredKey(DEFAULT_KEY, tuple(DEFAULT_KEY))


def _refuse_collision(
    key: DeclaredKey, column: Column[Any], declared: dict[DeclaredKey, set[KeyedColumn]]
) -> None:
    metadata = column.table.metadata
    for other in (_NONE_NAMED, *declared):
        if not _may_collide(key, other):
            continue
        places = [place for place in declared.get(other, ()) if place.declares(other, metadata)]
        if places or other == _NONE_NAMED:
            whose = ".".join(places[0]) if places else "columns that name none"
            raise _key_refusal(key, column, other, whose)


def _may_collide(one: DeclaredKey, other: DeclaredKey) -> bool:
    """Whether two declarations can give the same id although they are not meant to."""
    return _texts(one.parts) != _texts(other.parts) and overlap(one.parts, other.parts)


def _key_refusal(
    key: DeclaredKey, column: Column[Any], other: DeclaredKey, whose: str
) -> DeclarationError:
    return DeclarationError(
        f"its key {key.template!r} can give the same branch key id as {other.template!r}, the key "
        f"of {whose}: begin each with a different text, as in 'tenant/{{tenant_id}}'",
        table=column.table.fullname,
        column=column.name,
        reason="key",
    )


def _key(template: KeyTemplate, columns: Sequence[Column[Any]]) -> DeclaredKey:
    return DeclaredKey(template.template, tuple(_parts(template, columns)))


def _parts(key: KeyTemplate, columns: Sequence[Column[Any]]) -> Iterator[Part]:
    """The form of a template's ids; `columns` includes those that it names."""
    kinds = {column.key: kind_of(column.type) for column in columns}
    for text, name in key.pieces:
        yield from text
        if name is not None:
            yield _LETTERS.get(kinds[name], ENCODED)


def _texts(parts: Sequence[Part]) -> list[str | None]:
    return [part if isinstance(part, str) else None for part in parts]


def overlap(one: Sequence[Part], other: Sequence[Part]) -> bool:
    """Whether some text matches both forms."""

    @cache
    def meet(i: int, j: int) -> bool:
        """The same from these positions on."""
        a = one[i] if i < len(one) else ""
        b = other[j] if j < len(other) else ""
        if isinstance(a, frozenset):  # ends here, or consumes one more of the other
            return meet(i + 1, j) or ((isinstance(b, frozenset) or b in a) and meet(i, j + 1))
        if isinstance(b, frozenset):
            return meet(i, j + 1) or (a in b and meet(i + 1, j))
        return a == b and (not a or meet(i + 1, j + 1))

    return meet(0, 0)


# -- tables of several MetaData ----------------------------------------------------------------


class EngineTables:
    """The tables with encrypted columns that statements of one engine have named."""

    def __init__(self) -> None:
        self._known: weakref.WeakSet[Table] = weakref.WeakSet()
        self._lock = Lock()

    def meet(self, elements: Iterable[Any], connection: Connection) -> None:
        """Check a statement's tables.

        :param elements: every element of the statement.
        :raises DeclarationError: a column of one has the logical name of another table's column,
            or a key that can give the id of another one's.
        """
        for table in _tables_among(elements):
            with self._lock:
                others = [] if table in self._known else list(self._known)
            for other in others:
                _refuse_collisions_of(table, other, connection)
            with self._lock:
                self._known.add(table)


def _tables_among(elements: Iterable[Any]) -> Iterator[Table]:
    for element in elements:
        if isinstance(element, Table) and not is_rebuilt(element) and _has_bindings(element):
            yield element


def _has_bindings(table: Table) -> bool:
    """Whether the table has encrypted columns; one without a key is refused when used."""
    try:
        return bool(bindings_of(table))
    except DeclarationError:
        return False


def _refuse_collisions_of(table: Table, other: Table, connection: Connection) -> None:
    """Compare the tables of two ``MetaData``, except those declared in both."""
    if other.metadata is table.metadata or other.fullname == table.fullname:
        return
    try:
        refuse_names_of(table, other)
        refuse_keys_of(table, other)
    except DeclarationError:
        schema = connection.schema_for_object(other)
        if inspect(connection).has_table(other.name, schema=schema):
            raise
