"""One encrypted column's way from a row to its place: the context and the key of its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from encfields.bulk.rows.job import PreparedJob
from encfields.bulk.rows.reflected_uuid import hyphenated, may_be_uuid
from encfields.bulk.rows.stored_keys import key_text
from encfields.context import deserialize
from encfields.errors import MalformedMessageError
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
        self._may_be_uuid = tuple(may_be_uuid(column) for column in binding.identity)
        self.is_exact = not any(self._may_be_uuid)
        self._serialize = binding.context.serialize
        self._key_ids = binding.key_ids
        self._parts = tuple(
            (names.index(column.name), key_text(column, prepared.dialect))
            for column in binding.identity
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
            texts = self._as_stored(texts, data)
            context = self._serialize(texts)
        return context, self._key_ids(texts)

    def _as_stored(self, texts: list[str], data: bytes) -> list[str]:
        """A key's text in the spelling that the stored value uses."""
        try:
            stored = set(deserialize(stored_context(data)).values())
        except MalformedMessageError:
            return texts
        spelt = list(texts)
        for i, text in enumerate(texts):
            other = hyphenated(text) if self._may_be_uuid[i] else None
            if other is not None and other in stored:
                spelt[i] = other
        return spelt


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
