"""Compares every sealed value with the plaintext beside it, without showing either.

Values differ if they differ *after the column's type has read the plaintext*: a padded CHAR equals
the text without padding, and a JSON object the same one with its keys in another order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from encfields.adopt.adoption import Adoption
from encfields.bulk.connections import Connections
from encfields.bulk.rows.equal_values import is_same_value
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.places import message_bytes
from encfields.bulk.rows.plaintext import PlaintextReader
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.reseal_and_index import IndexPlaces
from encfields.bulk.rows.row_work import OF_THIS_VALUE
from encfields.bulk.rows.run_keys import RunKeys
from encfields.bulk.rows.stored_keys import Key, key_to_text, readable_key
from encfields.codecs import codec_for
from encfields.errors import EncFieldsError, ValueDecodingError, ValueEncodingError
from encfields.message import open_

if TYPE_CHECKING:
    from encfields.engine import Encryption

COMPARED_AT_ONCE = 1_000
MAX_LISTED_FAULTS = 20
"""Most rows that a report names."""

PENDING, DIFFERENT, UNREADABLE, UNREADABLE_PLAINTEXT, UNINDEXED = (
    "pending",
    "different",
    "unreadable",
    "unreadable-plaintext",
    "unindexed",
)


class Fault(NamedTuple):
    """One row that is not ready.

    :ivar key: its primary key, for display. :ivar kind: what is wrong, in one word.
    :ivar reason: the same in a sentence, without any value.
    """

    key: dict[str, str]
    kind: str
    reason: str

    def __str__(self) -> str:
        row = ", ".join(f"{name}={value}" for name, value in self.key.items())
        return f"{row}: {self.reason}"


@dataclass(slots=True)
class Comparison:
    """The result of comparing a table's rows.

    :ivar rows: number of rows read. :ivar both: rows with equal values.
    :ivar sealed_only: rows without plaintext. :ivar pending: rows with only plaintext.
    :ivar different: rows whose values differ. :ivar unreadable: rows whose sealed value does not
        open.
    :ivar unreadable_plaintext: rows whose plaintext the column's type cannot read.
    :ivar unindexed: rows with a value but no blind index.
    :ivar faults: the first rows that are not ready.
    """

    rows: int = 0
    both: int = 0
    sealed_only: int = 0
    pending: int = 0
    different: int = 0
    unreadable: int = 0
    unreadable_plaintext: int = 0
    unindexed: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether every row that has a value has it sealed, equal, and indexed."""
        return not (
            self.pending
            or self.different
            or self.unreadable
            or self.unreadable_plaintext
            or self.unindexed
        )

    def __str__(self) -> str:
        return (
            f"{self.rows} rows: pending {self.pending}, different {self.different}, unreadable "
            f"{self.unreadable}, unreadable plaintext {self.unreadable_plaintext}, unindexed "
            f"{self.unindexed}, both {self.both}, sealed only {self.sealed_only}"
        )


class Comparer:
    """Compares the rows of one adoption.

    :param prepared: the adoption's job. :param encryption: gives the keys.
    """

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._keys = RunKeys(encryption, prepared.targets)
        self._names = [column.name for column in prepared.key]
        self.reader = BatchReader(prepared)
        self.value_at = self.reader.value_start
        self.plain_at = self.reader.value_end
        self._cell = prepared.cell(prepared.targets[0], self.value_at)
        self._plain = PlaintextReader(prepared, 0)
        self._codec, self._dialect = codec_for(prepared.values[0]), prepared.dialect
        self._indexes = IndexPlaces(prepared)

    def compare_row(self, row: Any, comparison: Comparison) -> bool:
        """Count one row.

        :returns: whether it has both values, and they are equal.
        """
        comparison.rows += 1
        sealed, plain = row[self.value_at], row[self.plain_at]
        if sealed is None and plain is None:
            return False
        fault = self._fault(row, sealed, plain)
        if fault is None and self._indexes.are_missing(row):
            fault = UNINDEXED, "it has a value but no blind index: run adopt"
        if fault is not None:
            self._note(row, comparison, *fault)
            return False
        if plain is None:
            comparison.sealed_only += 1
            return False
        comparison.both += 1
        return True

    def _fault(self, row: Any, sealed: Any, plain: Any) -> tuple[str, str] | None:
        wanted: bytes | None = None
        if plain is not None:
            try:
                wanted = self._plain.sealed_form(row)
            except (ValueDecodingError, ValueEncodingError) as error:
                return UNREADABLE_PLAINTEXT, error.message.removesuffix("; nothing was stored")
        if sealed is None:
            return PENDING, "its plaintext is not sealed yet: run adopt"
        try:
            data = message_bytes(sealed)
            context, key_ids = self._cell.place(row, data)
            opened = open_(data, context, self._keys.find_key, key_ids)
        except OF_THIS_VALUE as error:
            return UNREADABLE, f"its sealed value does not open ({_reason(error)})"
        if wanted is not None and not is_same_value(self._codec, self._dialect, opened, wanted):
            return DIFFERENT, "its sealed value differs from its plaintext"
        return None

    def _note(self, row: Any, comparison: Comparison, kind: str, reason: str) -> None:
        name = kind.replace("-", "_")
        setattr(comparison, name, getattr(comparison, name) + 1)
        if len(comparison.faults) < MAX_LISTED_FAULTS:
            key = readable_key(self._names, key_to_text(self.reader.key_of(row)))
            comparison.faults.append(Fault(key, kind, reason))

    def batches(self, own: Connections) -> Iterator[Sequence[Any]]:
        """Every row of the table, in short steps."""
        after: Key | None = None
        while rows := self.reader.read(own.reading(), Bounds(after, None), COMPARED_AT_ONCE):
            yield rows
            after = self.reader.key_of(rows[-1])


def compare(own: Connections, encryption: Encryption, adoption: Adoption) -> Comparison:
    """Open every sealed value and compare it with the plaintext beside it.

    :raises KeyStoreError: the keys cannot be fetched.
    """
    prepared = PreparedJob(adoption.job(), own.reading(), adoption.declared_types)
    comparer = Comparer(prepared, encryption)
    comparison = Comparison()
    for rows in comparer.batches(own):
        for row in rows:
            comparer.compare_row(row, comparison)
    return comparison


def _reason(error: EncFieldsError) -> str:
    return error.reason or type(error).__name__
