"""The ORM: a row whose key changes takes its encrypted values along.

A value is bound to its row's key. When a flush changes a key column, or writes a row that is
identified by more than its primary key, every encrypted value of the row is written anew in the
same UPDATE, together with the columns that identify it. Likewise columns that share a blind index
are written together, because the index is made of them all.
"""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.columns import binding_of, is_encrypted
from encfields.binding.index_columns import indexes_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapper


@dataclass(frozen=True, slots=True)
class TableAttributes:
    """The ORM attributes of one table with encrypted columns.

    :ivar encrypted: attributes of the encrypted columns.
    :ivar identity: attributes that the values are bound to.
    :ivar beyond_key: those of them that the ORM's WHERE does not pin.
    :ivar together: attributes of the columns of each blind index that is over several.
    """

    encrypted: tuple[str, ...]
    identity: tuple[str, ...]
    beyond_key: tuple[str, ...]
    together: tuple[tuple[str, ...], ...]


@functools.cache
def watch_mappers() -> None:
    """Listen for mapped classes with encrypted columns; does so once."""
    from sqlalchemy import event
    from sqlalchemy.orm import Mapper

    event.listen(Mapper, "mapper_configured", _mapper_configured)
    event.listen(object, "attribute_instrument", _attribute_instrumented, propagate=True)


def _mapper_configured(mapper: Mapper[Any], class_: type[Any]) -> None:
    from sqlalchemy import event

    if _tables(mapper) and not event.contains(mapper, "before_update", _before_update):
        event.listen(mapper, "before_update", _before_update)


def _attribute_instrumented(class_: type[Any], key: str, attribute: Any) -> None:
    """An attribute was given to a class, which may have been configured before."""
    mapper = getattr(attribute, "parent", None)
    if getattr(mapper, "configured", False) and is_encrypted(attribute):
        from sqlalchemy import event

        if not event.contains(mapper, "before_update", _before_update):
            event.listen(mapper, "before_update", _before_update)


_known: weakref.WeakKeyDictionary[Any, tuple[int, list[TableAttributes]]] = (
    weakref.WeakKeyDictionary()
)


def _before_update(mapper: Mapper[Any], connection: Any, target: Any) -> None:
    count, tables = _known.get(mapper, (0, []))
    if count != len(mapper.columns):  # attributes may have been added since
        tables = _tables(mapper)
        _known[mapper] = len(mapper.columns), tables
    for attributes in tables:
        _carry_along(target, attributes)


def _tables(mapper: Mapper[Any]) -> list[TableAttributes]:
    encrypted: dict[Any, list[Any]] = {}
    for attribute in mapper.column_attrs:
        column = attribute.columns[0]
        if isinstance(column, Column) and is_encrypted(column) and isinstance(column.table, Table):
            encrypted.setdefault(column.table, []).append((attribute.key, column))
    return [_table_attributes(mapper, pairs) for pairs in encrypted.values()]


def _table_attributes(mapper: Mapper[Any], pairs: list[Any]) -> TableAttributes:
    identity: dict[str, None] = {}
    beyond: dict[str, None] = {}
    for _, column in pairs:
        for key_column in binding_of(column).identity:
            name = mapper.get_property_by_column(key_column).key
            identity[name] = None
            if not key_column.primary_key:
                beyond[name] = None
    names = {column: key for key, column in pairs}
    together = tuple(
        tuple(names[source.column] for source in index.sources)
        for index in indexes_of(pairs[0][1].table)
        if len(index.sources) > 1 and all(source.column in names for source in index.sources)
    )
    attributes = tuple(key for key, _ in pairs), tuple(identity), tuple(beyond)
    return TableAttributes(*attributes, together)


def _carry_along(target: Any, attributes: TableAttributes) -> None:
    from sqlalchemy import inspect

    state = inspect(target)
    moved = any(
        internals.has_loaded_change(state, key) and state.attrs[key].history.has_changes()
        for key in attributes.identity
    )
    written = attributes.beyond_key and any(
        internals.has_loaded_change(state, key) for key in attributes.encrypted
    )
    if moved or written:
        _write_anew(target, (*attributes.encrypted, *attributes.beyond_key))
        return
    for together in attributes.together:
        if any(internals.has_loaded_change(state, key) for key in together):
            _write_anew(target, together)


def _write_anew(target: Any, keys: tuple[str, ...]) -> None:
    from sqlalchemy.orm.attributes import flag_modified

    for key in keys:
        getattr(target, key)  # loads what was deferred or expired
        flag_modified(target, key)
