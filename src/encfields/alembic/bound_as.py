"""How stored values are bound, as they tell it themselves.

Every value carries the logical name, the names of its identity columns and its branch key id in
its header. So a table's own values are the record that a declaration is compared with: there is
no second one to be kept, and none that can be out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Table, func, select
from sqlalchemy.types import NullType, TypeEngine

from encfields.binding.columns import ColumnBinding
from encfields.context import COLUMN_KEY, ROW_KEY_PREFIX, deserialize
from encfields.errors import MalformedMessageError
from encfields.reencrypt.spec import SealedColumn
from encfields.reencrypt.stored_value import HEAD_BYTES, look

SEARCHED_ROWS = 1000
"""Rows at either end of the primary key among which values are sought."""

SAMPLE_ROWS = 25
"""Values looked at of each."""


class Found(NamedTuple):
    """How one value is bound.

    :param logical_name: the column's name in its encryption context.
    :param texts: identity column to canonical text.
    :param key_id: its branch key id.
    """

    logical_name: str
    texts: dict[str, str]
    key_id: str


def found_in(connection: Connection, column: Column[Any]) -> Iterator[Found]:
    """How some values of a reflected column are bound; what is no message is left out.

    :param column: of a table as it was reflected.
    """
    if not holds_bytes(column.type):
        return
    for head, length in _heads(connection, column):
        header = look(head, length).header if head is not None else None
        if header is None:
            continue
        try:
            context = deserialize(header.context)
        except MalformedMessageError:
            continue
        texts = {
            name.removeprefix(ROW_KEY_PREFIX): text
            for name, text in context.items()
            if name.startswith(ROW_KEY_PREFIX)
        }
        yield Found(context.get(COLUMN_KEY, ""), texts, header.key_id)


def bound_otherwise(binding: ColumnBinding, found: Iterable[Found]) -> SealedColumn | None:
    """How values are bound that are not bound as declared; ``None`` if all looked at are.

    :param binding: the declaration.
    :param found: from :func:`found_in`, for the same column.
    :returns: the first other binding that there is, with its logical name and key always told.
    """
    others = [one for one in found if not _is_bound_as_declared(binding, one)]
    if not others:
        return None
    first = others[0]
    alike = [
        one
        for one in others
        if one.logical_name == first.logical_name and one.texts.keys() == first.texts.keys()
    ]
    names = [c.name for c in binding.identity if c.name in first.texts]
    names += sorted(first.texts.keys() - set(names))
    return SealedColumn(binding.column_name, first.logical_name, _key_of(alike), tuple(names))


def _is_bound_as_declared(binding: ColumnBinding, one: Found) -> bool:
    names = [column.name for column in binding.identity]
    if one.logical_name != binding.logical_name or one.texts.keys() != set(names):
        return False
    return one.key_id == binding.key_id([one.texts[name] for name in names])


def _key_of(found: Sequence[Found]) -> str:
    """The branch key id of some values, or the template that gave theirs."""
    for name in found[0].texts:
        templates = {_with_name(one.key_id, name, one.texts[name]) for one in found}
        if len(templates) == 1 and f"{{{name}}}" in (template := templates.pop()):
            return template
    return found[0].key_id


def _with_name(key_id: str, name: str, text: str) -> str:
    parts = key_id.split("/")
    return "/".join(f"{{{name}}}" if part == text else part for part in parts)


def holds_bytes(type_: TypeEngine[Any] | None) -> bool:
    """Whether a type stores bytes: BYTEA, BLOB, LONGBLOB and their like."""
    try:
        return type_ is not None and type_.python_type is bytes
    except NotImplementedError:
        return False


def _heads(connection: Connection, column: Column[Any]) -> list[tuple[Any, int]]:
    table: Table = column.table
    length = func.length if connection.dialect.name == "sqlite" else func.octet_length
    key = list(table.primary_key.columns)
    orders = [[c.asc() for c in key], [c.desc() for c in key]] if key else [[]]
    rows: list[tuple[Any, int]] = []
    for order in orders:
        # A column that is all NULL must not have the whole table searched for a value.
        near = select(column.label("value")).order_by(*order).limit(SEARCHED_ROWS).subquery()
        value = near.c.value
        heads = select(func.substr(value, 1, HEAD_BYTES, type_=NullType()), length(value))
        found = connection.execute(heads.where(value.is_not(None)).limit(SAMPLE_ROWS))
        rows += [(row[0], row[1]) for row in found]
    return rows
