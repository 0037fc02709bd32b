"""The work on one batch of rows: tell what is current, open the rest, seal it again.

No database is at hand here: everything happens outside any lock and transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from encfields.binding.columns import ColumnBinding
from encfields.binding.row_keys import from_bound_value
from encfields.codecs import codec_for
from encfields.context import deserialize
from encfields.errors import (
    BindingError,
    DecryptionError,
    EncFieldsError,
    KeyDestroyedError,
    KeyNotFoundError,
    MalformedMessageError,
)
from encfields.message import MAGIC, open_, read_header, seal
from encfields.message_header import CONTEXT_OFFSET, pack_u16
from encfields.message_keys import Wrapping
from encfields.reencrypt.batches import BatchReader
from encfields.reencrypt.job import PreparedJob
from encfields.reencrypt.key_codec import Key
from encfields.reencrypt.reflected_uuid import hyphenated, may_be_uuid

if TYPE_CHECKING:
    from encfields.encryption import Encryption
    from encfields.keys.branch_key import BranchKey

_VERSION_IN_EDK = 28
"""Offset of the branch key version behind salt (16 bytes) and IV (12)."""

_OF_THIS_VALUE = (DecryptionError, BindingError, KeyDestroyedError, KeyNotFoundError)
"""What is the matter with one value. All else stops the run: it is the matter with the keys."""


class Change(NamedTuple):
    """One row to be written.

    :param key: its primary key.
    :param old: the stored values that the new ones replace, ``None`` for a column to be left.
    :param new: the values to store, ``None`` for a column to be left.
    """

    key: Key
    old: tuple[bytes | None, ...]
    new: tuple[Any, ...]


class Refused(NamedTuple):
    """A value that does not open."""

    key: Key
    column: str
    reason: str
    message: str


@dataclass(slots=True)
class Outcome:
    """What is to be done about a batch.

    :ivar changes: rows to write. :ivar refused: values to quarantine.
    :ivar seen: rows looked at. :ivar current: those with nothing to do.
    """

    changes: list[Change] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    seen: int = 0
    current: int = 0


class Values(Protocol):
    """What a run does to values."""

    sweeps_by_header: bool
    """Whether the first bytes of a value tell that it is current."""

    def work(self, rows: Sequence[Any], reader: BatchReader) -> Outcome:
        """What is to be done about some rows.

        :raises KeyStoreError: a key cannot be had just now.
        """
        ...

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        """Whether any of some rows is not current, as far as its first bytes tell."""
        ...


class SealedCell:
    """One encrypted column's way from its stored value to its place's context and key."""

    def __init__(
        self, binding: ColumnBinding, prepared: PreparedJob, names: Sequence[str], value_at: int
    ) -> None:
        self.binding = binding
        self.value_at = value_at
        self._may_be_uuid = tuple(may_be_uuid(column) for column in binding.identity)
        self._is_exact = not any(self._may_be_uuid)
        self._serialize = binding.context.serialize
        self._fixed_key = None if binding.key.columns else binding.key.template
        self._parts = tuple(
            (names.index(column.name), from_bound_value(column.type, prepared.dialect))
            for column in binding.identity
        )

        self._one_part = self._parts[0] if len(self._parts) == 1 else None

    def place(self, row: Any, data: bytes) -> tuple[bytes, str]:
        """Serialised context and branch key id of the row's value."""
        if self._one_part is not None:
            at, convert = self._one_part
            texts = [convert(row[at])]
        else:
            texts = [convert(row[at]) for at, convert in self._parts]
        context = self._serialize(texts)
        if not self._is_exact and not data.startswith(context, CONTEXT_OFFSET):
            texts = self._as_stored(texts, data)
            context = self._serialize(texts)
        return context, self._fixed_key or self.binding.key_id(texts)

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


def is_current(data: bytes, context: bytes, key: BranchKey) -> bool:
    """Whether a value, or its first bytes, names this context, branch key and version.

    By its header alone: no key is used, and a message that is whole is not told from one that
    was altered. :mod:`encfields.reencrypt.verify` opens everything.
    """
    head = Wrapping.of(key).head
    start = CONTEXT_OFFSET + len(context)
    return (
        # What differs in most of the values that a run rewrites comes first.
        data.startswith(key.version_bytes, start + len(head) + _VERSION_IN_EDK)
        and data.startswith(MAGIC)
        and data[CONTEXT_OFFSET - 2 : CONTEXT_OFFSET] == pack_u16(len(context))
        and data.startswith(context, CONTEXT_OFFSET)
        and data.startswith(head, start)
    )


def _refusal(key: Key, column: str, error: EncFieldsError) -> Refused:
    reason = error.reason or type(error).__name__
    return Refused(key, column, reason, f"{type(error).__name__}: {error.message}")


def columns_of(prepared: PreparedJob) -> tuple[tuple[SealedCell, SealedCell], ...]:
    """For each encrypted column, where a value of a row is to be bound and where it is bound."""
    names = _names(prepared)
    return tuple(
        (SealedCell(target, prepared, names, at), SealedCell(source, prepared, names, at))
        for at, (target, source) in enumerate(
            zip(prepared.targets, prepared.sources, strict=True), start=len(names)
        )
    )


def _names(prepared: PreparedJob) -> list[str]:
    return [column.name for column in (*prepared.key, *prepared.identity)]


class SealAgain:
    """Rewrites values that are not bound as wanted, or not under the active key version.

    :param prepared: the job. :param encryption: gives the keys.
    """

    sweeps_by_header = True

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._encryption = encryption
        self._columns = columns_of(prepared)
        self._active: dict[str, BranchKey] = {}
        self._moves = prepared.job.source is not None

    def work(self, rows: Sequence[Any], reader: BatchReader) -> Outcome:
        outcome = Outcome(seen=len(rows))
        self._active = {}
        for row in map(tuple, rows):
            refused = len(outcome.refused)
            cells = [self._cell(row, *column, reader, outcome) for column in self._columns]
            if any(message is not None for _, message in cells):
                old, new = zip(*cells, strict=True)
                outcome.changes.append(Change(reader.key_of(row), old, new))
            elif len(outcome.refused) == refused:
                outcome.current += 1
        return outcome

    def _active_key(self, key_id: str) -> BranchKey:
        """The active version, asked for once a batch."""
        key = self._active.get(key_id)
        if key is None:
            key = self._active[key_id] = self._encryption.active_key(key_id)
        return key

    def _cell(
        self,
        row: Any,
        target: SealedCell,
        source: SealedCell,
        reader: BatchReader,
        outcome: Outcome,
    ) -> tuple[bytes | None, bytes | None]:
        """The stored value to be replaced and the new one, or twice ``None``."""
        data = row[target.value_at]
        if data is None:
            return None, None
        try:
            if not isinstance(data, bytes):
                read_header(data)  # refuses what is no message, in its own words
                data = bytes(data)
            context, key_id = target.place(row, data)
            key = self._active_key(key_id)
            if is_current(data, context, key):
                return None, None
            opened = context
            if self._moves and not data.startswith(context, CONTEXT_OFFSET):
                opened, _ = source.place(row, data)
            plaintext = open_(data, opened, self._encryption.find_key)
            return data, seal(plaintext, context, key)
        except _OF_THIS_VALUE as error:
            name = target.binding.column_name
            outcome.refused.append(_refusal(reader.key_of(row), name, error))
            return None, None

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        self._active = {}
        return any(
            row[target.value_at] is not None and not self._is_current(row, target)
            for row in rows
            for target, _ in self._columns
        )

    def _is_current(self, row: Any, target: SealedCell) -> bool:
        data = row[target.value_at]
        if not isinstance(data, bytes):
            return False
        try:
            context, key_id = target.place(row, data)
            return is_current(data, context, self._active_key(key_id))
        except _OF_THIS_VALUE:
            return False


class ToPlaintext:
    """Writes the plaintext of encrypted columns into columns beside them.

    :param prepared: the job. :param encryption: gives the keys.
    """

    sweeps_by_header = False

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._encryption = encryption
        self._dialect = prepared.dialect
        names = _names(prepared)
        count = len(prepared.targets)
        self._columns = tuple(
            (SealedCell(binding, prepared, names, at), at + count, codec_for(plain.type))
            for at, (binding, plain) in enumerate(
                zip(prepared.targets, prepared.plain, strict=True), start=len(names)
            )
        )

    def work(self, rows: Sequence[Any], reader: BatchReader) -> Outcome:
        outcome = Outcome(seen=len(rows))
        for row in rows:
            refused = len(outcome.refused)
            old: list[bytes | None] = []
            new: list[Any] = []
            for column, plain_at, codec in self._columns:
                data, value = self._open(row, column, codec, reader, outcome)
                differs = data is not None and row[plain_at] != value
                old.append(data if differs else None)
                new.append(value if differs else None)
            if any(data is not None for data in old):
                outcome.changes.append(Change(reader.key_of(row), tuple(old), tuple(new)))
            elif len(outcome.refused) == refused:
                outcome.current += 1
        return outcome

    def _open(
        self, row: Any, column: SealedCell, codec: Any, reader: BatchReader, outcome: Outcome
    ) -> tuple[bytes | None, Any]:
        data = row[column.value_at]
        if data is None:
            return None, None
        try:
            if not isinstance(data, bytes):
                read_header(data)
                data = bytes(data)
            context, _ = column.place(row, data)
            plaintext = open_(data, context, self._encryption.find_key)
            return data, codec.decode(plaintext, self._dialect)
        except _OF_THIS_VALUE as error:
            name = column.binding.column_name
            outcome.refused.append(_refusal(reader.key_of(row), name, error))
            return None, None

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        return True


def values_of(prepared: PreparedJob, encryption: Encryption) -> Values:
    """What the job does to values."""
    kind = SealAgain if prepared.job.to_plaintext is None else ToPlaintext
    return kind(prepared, encryption)
