"""Declared keys that could meet: a template that some row would make give another column's id.

Templates with the same texts around their columns name the same keys, on purpose: every table of
a tenant has the tenant's key. All others must be apart, or whoever chooses a tenant's name would
choose a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from encfields.binding.columns import SealedColumnType
from encfields.binding.row_keys import kind_of
from encfields.errors import DeclarationError
from encfields.identity import IdentityKind
from encfields.key_template import DEFAULT_KEY, ENCODED, KeyTemplate

if TYPE_CHECKING:
    from sqlalchemy import MetaData, Table

    from encfields.binding.columns import ColumnBinding

Part = str | frozenset[str]
"""A character of an id, or characters of which any number may stand there."""

_DECLARED = "encfields_keys"
"""Where a ``MetaData`` keeps the keys that its columns declare, in ``info``."""

_DIGITS = frozenset("0123456789")
_LETTERS = {
    IdentityKind.INTEGER: _DIGITS | {"-"},
    IdentityKind.DATE: _DIGITS | {"-"},
    IdentityKind.UUID: _DIGITS | frozenset("abcdef-"),
    IdentityKind.BINARY: _DIGITS | frozenset("abcdef"),
}


def refuse_meetings(table: Table, bindings: Iterable[ColumnBinding]) -> None:
    """Refuse a column one of whose keys can give an id that another declaration gives.

    :param bindings: of the table.
    :raises DeclarationError: says which two.
    """
    declared: dict[Key, set[Place]] = table.metadata.info.setdefault(_DECLARED, {})
    for binding in bindings:
        for template in (binding.key, *binding.former_keys):
            key = Key(template.template, tuple(_parts(template, binding)))
            if key not in declared:
                _refuse_meeting(key, binding, declared)
            place = Place(table.fullname, binding.column.key)
            declared.setdefault(key, set()).add(place)


class Key(NamedTuple):
    """A declared key id or template.

    :param template: as it is declared. :param parts: what its ids look like.
    """

    template: str
    parts: tuple[Part, ...]


class Place(NamedTuple):
    """A column that declares a key."""

    table: str
    column: str

    def declares(self, key: Key, metadata: MetaData) -> bool:
        """Whether it is still there and does so."""
        table = metadata.tables.get(self.table)
        column = None if table is None else table.c.get(self.column)
        type_: object = None if column is None else column.type
        return isinstance(type_, SealedColumnType) and key.template in (
            type_.key,
            *type_.former_keys,
        )


_NONE_NAMED = Key(DEFAULT_KEY, tuple(DEFAULT_KEY))


def _refuse_meeting(key: Key, binding: ColumnBinding, declared: dict[Key, set[Place]]) -> None:
    metadata = binding.column.table.metadata
    for other in (_NONE_NAMED, *declared):
        if _texts(key.parts) == _texts(other.parts) or not overlap(key.parts, other.parts):
            continue
        places = [place for place in declared.get(other, ()) if place.declares(other, metadata)]
        if places or other == _NONE_NAMED:
            whose = ".".join(places[0]) if places else "columns that name none"
            raise DeclarationError(
                f"its key {key.template!r} can give the same branch key id as {other.template!r}, "
                f"the key of {whose}: have them begin with texts of their own, as in "
                "'tenant/{tenant_id}'",
                table=binding.table,
                column=binding.column_name,
                reason="key",
            )


def _parts(key: KeyTemplate, binding: ColumnBinding) -> Iterator[Part]:
    """What the ids of a template look like."""
    kinds = {column.key: kind_of(column.type) for column in binding.identity}
    for text, name in key.pieces:
        yield from text
        if name is not None:
            yield _LETTERS.get(kinds[name], ENCODED)


def _texts(parts: Sequence[Part]) -> list[str | None]:
    return [part if isinstance(part, str) else None for part in parts]


def overlap(one: Sequence[Part], other: Sequence[Part]) -> bool:
    """Whether some text is of both forms."""

    @cache
    def meet(i: int, j: int) -> bool:
        """Whether it is so from these positions on."""
        a = one[i] if i < len(one) else ""
        b = other[j] if j < len(other) else ""
        if isinstance(a, frozenset):  # ends here, or takes one more of the other along
            return meet(i + 1, j) or ((isinstance(b, frozenset) or b in a) and meet(i, j + 1))
        if isinstance(b, frozenset):
            return meet(i, j + 1) or (a in b and meet(i + 1, j))
        return a == b and (not a or meet(i + 1, j + 1))

    return meet(0, 0)
