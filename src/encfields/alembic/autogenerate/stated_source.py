"""The binding that most values of a column name in their headers, as a description of a source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from encfields.alembic.autogenerate.sampled import Cell
from encfields.bulk.rows.spec import SealedColumn
from encfields.key_template import encoded
from encfields.orm.declare.columns import ColumnBinding
from encfields.orm.types import DEFAULT_KEY

T = TypeVar("T")

SHOWN = 60
"""Characters of a name out of a header that are shown."""

_PLAIN = re.compile(r"[A-Za-z0-9_.]+")


def shown(name: str) -> str:
    """A name out of a header, which may be anything, for a message or a comment."""
    if len(name) <= SHOWN and _PLAIN.fullmatch(name):
        return name
    return ascii(name[:SHOWN])


def most_frequent(values: Iterable[T]) -> T:
    """The value that there is most of; there is at least one."""
    return Counter(values).most_common(1)[0][0]


def names_of(cell: Cell) -> tuple[str, tuple[str, ...]]:
    """The logical name, and the names of the columns that identify the row."""
    return cell.logical_name, tuple(sorted(cell.texts))


def in_order(binding: ColumnBinding, names: Sequence[str]) -> list[str]:
    """Names of identity columns, those that are declared first."""
    ordered = [column.name for column in binding.identity if column.name in names]
    return ordered + sorted(set(names) - set(ordered))


def source_column(
    binding: ColumnBinding, logical_name: str, names: Sequence[str], there: Sequence[str]
) -> SealedColumn | None:
    """The description of a binding under these names, the key left open.

    A key of one column that is not there may be the declared one, renamed since.

    :param there: columns that the table has.
    :returns: ``None`` if the table has no such columns.
    """
    ordered = in_order(binding, names)
    column = SealedColumn(binding.column_name, logical_name, DEFAULT_KEY, tuple(ordered))
    if set(ordered) <= set(there):
        return column
    declared = [column.name for column in binding.identity]
    if len(declared) != 1 or len(ordered) != 1:
        return None
    return replace(column, bind_to=tuple(declared), context_names=tuple(ordered))


def key_of(cells: Sequence[Cell]) -> str:
    """The branch key id of most values, or the template that gave theirs.

    :param cells: at least one, all bound to columns of the same names.
    """
    key_id = most_frequent(cell.key_id for cell in cells)
    literal = sum(cell.key_id == key_id for cell in cells)
    for name in cells[0].texts:
        templates = [_with_name(cell.key_id, name, cell.texts[name]) for cell in cells]
        template = most_frequent(templates)
        if f"{{{name}}}" in template and templates.count(template) >= literal:
            return template
    return key_id


def _with_name(key_id: str, name: str, text: str) -> str:
    parts = key_id.split("/")
    return "/".join(f"{{{name}}}" if part == encoded(text) else part for part in parts)
