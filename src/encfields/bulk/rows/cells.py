"""One encrypted column's way from a row to its place: the context and the key of its value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Column

from encfields.bulk.rows.job import PreparedJob
from encfields.bulk.rows.places import ColumnPlaces
from encfields.bulk.rows.stored_keys import hyphenated, key_text, may_be_uuid
from encfields.message import read_header
from encfields.message.header import CONTEXT_OFFSET
from encfields.orm.declare.columns import ColumnBinding


class SealedCell:
    """One encrypted column's way from its stored value to its place's context and key.

    :param binding: how it is bound. :param prepared: the job.
    :param names: columns that stand first in a row. :param value_at: where its value stands.
    :ivar is_exact: whether the row's key has one spelling only.
    """

    def __init__(
        self, binding: ColumnBinding, prepared: PreparedJob, names: Sequence[str], value_at: int
    ) -> None:
        self.binding = binding
        self.value_at = value_at
        self._places = ColumnPlaces(binding, prepared.dialect)
        self.is_exact = self._places.are_exact
        self._serialize = binding.context.serialize
        self._key_ids = binding.key_ids
        self._parts = tuple(
            (names.index(column.name), _text_of(column, prepared)) for column in binding.identity
        )
        self._one_part = self._parts[0] if len(self._parts) == 1 else None

    def place(self, row: Any, data: bytes) -> tuple[bytes, tuple[str, ...]]:
        """Serialised context of the row's value, and the branch key ids under which it opens: its
        key's first, then those of the former ones."""
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


def _text_of(column: Column[Any], prepared: PreparedJob) -> Callable[[object], str]:
    """How a key that was read becomes its canonical text, where it is known to be a UUID, too."""
    text = key_text(column, prepared.dialect)
    if column.name not in prepared.uuids or not may_be_uuid(column):
        return text

    def of_uuid(value: object) -> str:
        digits = text(value)
        return hyphenated(digits) or digits

    return of_uuid


def stored_context(data: bytes) -> bytes:
    """The context that a message says it was sealed for; unchecked."""
    end = CONTEXT_OFFSET + int.from_bytes(data[CONTEXT_OFFSET - 2 : CONTEXT_OFFSET], "big")
    return data[CONTEXT_OFFSET:end]


def message_bytes(data: Any) -> bytes:
    """A stored value as bytes, if it can be a message.

    :raises MalformedMessageError: it is none, and is not of bytes either.
    """
    if isinstance(data, bytes):
        return data
    read_header(data)  # refuses what is no message, in its own words
    return bytes(data)


def columns_of(prepared: PreparedJob) -> tuple[tuple[SealedCell, SealedCell], ...]:
    """For each encrypted column, where a value of a row is to be bound and where it is bound."""
    names = leading_names(prepared)
    return tuple(
        (SealedCell(target, prepared, names, at), SealedCell(source, prepared, names, at))
        for at, (target, source) in enumerate(
            zip(prepared.targets, prepared.sources, strict=True), start=len(names)
        )
    )


def leading_names(prepared: PreparedJob) -> list[str]:
    """The columns that stand before the values in a row: the key, then identity columns."""
    return [column.name for column in (*prepared.key, *prepared.identity)]
