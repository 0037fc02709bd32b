"""The encryption context and branch key ids of each value's place in a table."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column

from encfields.bulk.rows.stored_keys import hyphenated, key_text, may_be_uuid
from encfields.context import deserialize
from encfields.errors import MalformedMessageError
from encfields.message import read_header
from encfields.message.header import CONTEXT_OFFSET
from encfields.orm.declare.columns import ColumnBinding
from encfields.orm.declare.row_keys import texts_of_each

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding


class ValuePlace:
    """The place of one encrypted column in one row.

    :ivar row: the row's identity by column name, as canonical text.
    :ivar context: serialised encryption context of a value that belongs here.
    :ivar key_id: branch key id of a value that belongs here.
    :ivar key_ids: `key_id`, then the former ones under which a value opens here.
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

    :param binding: the column's binding in a reflected table.
    :param dialect: of the database.
    :ivar are_exact: whether every row's key has only one spelling.
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
        :raises UnknownIdentityError: a part does not have the form that its type writes.
        """
        if None in values:
            return None
        return [convert(value) for convert, value in zip(self._convert, values, strict=True)]

    def find(self, texts: Sequence[str], context: bytes) -> ValuePlace:
        """The place of a row, in the spelling that `context` uses.

        :param texts: from :meth:`texts`.
        :param context: serialised encryption context in the stored value.
        """
        first = ValuePlace(self.binding, texts)
        if context == first.context or self.are_exact:
            return first
        for spelling in self._spellings(texts):
            place = ValuePlace(self.binding, spelling)
            if place.context == context:
                return place
        return first

    def spelt_as(self, texts: Sequence[str], context: bytes) -> list[str]:
        """The texts in the spellings of a stored value's context, whatever it is bound to:
        rebinding keeps a key's spelling.

        :param context: serialised encryption context in the value; not authenticated.
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
    """An identity for display that has no canonical texts."""
    return [None if value is None else str(value) for value in identity]


class SealedCell:
    """Finds the context and key of one encrypted column's stored values.

    :param binding: how the column is bound.
    :param dialect: of the database.
    :param names: the leading columns of a row.
    :param value_at: position of the value in a row.
    :param uuids: names of columns known to hold UUIDs, whatever their type in the database.
    :ivar is_exact: whether every row's key has only one spelling.
    """

    def __init__(
        self,
        binding: ColumnBinding,
        dialect: Dialect,
        names: Sequence[str],
        value_at: int,
        uuids: frozenset[str],
    ) -> None:
        self.binding = binding
        self.value_at = value_at
        self._places = ColumnPlaces(binding, dialect)
        self.is_exact = self._places.are_exact
        self._serialize = binding.context.serialize
        self._key_ids = binding.key_ids
        self._parts = tuple(
            (names.index(column.name), _text_of(column, dialect, uuids))
            for column in binding.identity
        )
        self._one_part = self._parts[0] if len(self._parts) == 1 else None

    def contexts(self, columns: Sequence[Sequence[Any]]) -> list[bytes] | None:
        """Serialised contexts of many rows' values at once; ``None`` where each needs
        :meth:`place`: the key has several parts or spellings, or determines the branch key.

        :param columns: the rows' values, column by column.
        :raises UnknownIdentityError: a key does not have the form that its type writes.
        """
        if self._one_part is None or not self.is_exact or self.binding.fixed_key_ids is None:
            return None
        at, convert = self._one_part
        return self.binding.context.serialize_each(texts_of_each(convert, columns[at]))

    def place(self, row: Any, data: bytes) -> tuple[bytes, tuple[str, ...]]:
        """Serialised context of the row's value, and the branch key ids under which it opens: the
        present one first, then former ones."""
        if self._one_part is not None:
            at, convert = self._one_part
            texts = [convert(row[at])]
        else:
            texts = [convert(row[at]) for at, convert in self._parts]
        context = self._serialize(texts)
        if not self.is_exact and not data.startswith(context, CONTEXT_OFFSET):
            texts = self._places.spelt_as(texts, stored_context(data))
            return self._serialize(texts), self._key_ids(texts)
        return context, self._key_ids(texts)


def _text_of(
    column: Column[Any], dialect: Dialect, uuids: frozenset[str]
) -> Callable[[object], str]:
    """The function from a stored key to its canonical text, also for a known UUID."""
    text = key_text(column, dialect)
    if column.name not in uuids or not may_be_uuid(column):
        return text

    def of_uuid(value: object) -> str:
        digits = text(value)
        return hyphenated(digits) or digits

    return of_uuid


def stored_context(data: bytes) -> bytes:
    """The context in a message's header; not authenticated."""
    end = CONTEXT_OFFSET + int.from_bytes(data[CONTEXT_OFFSET - 2 : CONTEXT_OFFSET], "big")
    return data[CONTEXT_OFFSET:end]


def message_bytes(data: Any) -> bytes:
    """A stored value as bytes, if it can be a message.

    :raises MalformedMessageError: it is not bytes, and cannot be a message.
    """
    if isinstance(data, bytes):
        return data
    read_header(data)  # raises its own error for what is no message
    return bytes(data)
