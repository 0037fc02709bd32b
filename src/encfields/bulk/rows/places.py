"""Where a value belongs: the encryption context and the branch key id of its place in a table."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from encfields.bulk.rows.stored_keys import hyphenated, key_text, may_be_uuid
from encfields.context import deserialize
from encfields.errors import MalformedMessageError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding


class Place:
    """One encrypted column of one row.

    :ivar row: the row's identity by column name, as canonical text.
    :ivar context: serialised encryption context of a value that belongs here.
    :ivar key_id: branch key id of a value that belongs here.
    :ivar key_ids: that, and the former ones under which a value opens here.
    """

    __slots__ = ("context", "key_id", "key_ids", "row")

    def __init__(self, binding: ColumnBinding, texts: Sequence[str]) -> None:
        self.row: Mapping[str, str] = binding.row(texts)
        self.context = binding.context.serialize(texts)
        self.key_ids = binding.key_ids(texts)
        self.key_id = self.key_ids[0]


class ColumnPlaces:
    """The places of one encrypted column.

    A key may have two spellings: see :mod:`encfields.bulk.rows.stored_keys`.

    :param binding: the column, of a reflected table.
    :param dialect: of the database.
    :ivar are_exact: whether each row's key has one spelling only.
    """

    def __init__(self, binding: ColumnBinding, dialect: Dialect) -> None:
        self.binding = binding
        self._convert: tuple[Callable[[object], str], ...] = tuple(
            key_text(column, dialect) for column in binding.identity
        )
        self._may_be_uuid = tuple(
            index for index, column in enumerate(binding.identity) if may_be_uuid(column)
        )
        self.are_exact = not self._may_be_uuid

    def texts(self, values: Sequence[Any]) -> list[str] | None:
        """Canonical texts of a row's identity, or ``None`` if it lacks a part.

        :param values: of the binding's identity columns, as the database gives them.
        :raises UnknownIdentityError: a part is not in the form that its type writes.
        """
        if None in values:
            return None
        return [convert(value) for convert, value in zip(self._convert, values, strict=True)]

    def find(self, texts: Sequence[str], context: bytes) -> Place:
        """The place of a row; of its spellings, the one that `context` uses.

        :param texts: from :meth:`texts`.
        :param context: serialised encryption context that the value found there carries.
        """
        first = Place(self.binding, texts)
        if context == first.context or self.are_exact:
            return first
        for spelling in self._spellings(texts):
            place = Place(self.binding, spelling)
            if place.context == context:
                return place
        return first

    def spelt_as(self, texts: Sequence[str], context: bytes) -> list[str]:
        """The texts in the spellings that a stored value's context has, whatever it is of: one
        that is bound anew stays bound to the key as it was spelt.

        :param context: serialised encryption context that the value carries; unchecked.
        """
        spelt = list(texts)
        try:
            stored = set(deserialize(context).values())
        except MalformedMessageError:
            return spelt
        for index in self._may_be_uuid:
            other = hyphenated(spelt[index])
            if other is not None and other in stored:
                spelt[index] = other
        return spelt

    def _spellings(self, texts: Sequence[str]) -> Iterator[list[str]]:
        choices: list[list[str]] = []
        for index, text in enumerate(texts):
            other = hyphenated(text) if index in self._may_be_uuid else None
            choices.append([text] if other is None else [text, other])
        for choice in itertools.product(*choices):
            yield list(choice)


def to_show(identity: Sequence[object]) -> list[str | None]:
    """An identity that has no canonical texts, because of what a part of it is, to be shown."""
    return [None if value is None else str(value) for value in identity]
