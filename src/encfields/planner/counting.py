"""Counts how often each value of a column, or of several together, occurs in the database.

Values are held only while their step of rows is counted. What is counted is an HMAC under a key
drawn for this count and then discarded, so that no value, and nothing comparable with another
count, stays in memory.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine

from encfields.bulk.rows.spec import ReflectedTable, TableSpec
from encfields.bulk.survey.census import OnRows
from encfields.bulk.survey.scan import RowSource, Sample, Scan, ScannedRows, draw
from encfields.bulk.survey.verify import BATCH_BYTES, FIRST_BATCH_ROWS, VERIFIED_AT_ONCE
from encfields.errors import (
    DecryptionError,
    KeyStoreError,
    KeyUnavailableError,
    ValueEncodingError,
)
from encfields.index.hashing import compound
from encfields.index.leakage import Frequencies
from encfields.index.transforms import Transform
from encfields.planner.stored_plaintext import ColumnReader, OpenedValue, as_to_read

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause
    from sqlalchemy.types import TypeEngine

    from encfields.branch_key import FindKey

Parts = tuple[tuple[str, Transform], ...]
"""The parts of an index: column names in the database with their transforms; usually one."""

_DIGEST_BYTES = 16


@dataclass(slots=True)
class ColumnCount:
    """What one column holds.

    :ivar column: its name in the database.
    :ivar type: its type in the database.
    :ivar nulls: rows in which it is NULL.
    :ivar encrypted: values that were opened.
    :ivar plaintext: values that are not encrypted yet.
    :ivar unreadable: values that were not counted, by reason.
    """

    column: str
    type: TypeEngine[Any]
    nulls: int = 0
    encrypted: int = 0
    plaintext: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class ValueFrequencies:
    """How often each value of a planned index occurs.

    :ivar parts: the columns with their transforms.
    :ivar columns: the counts of those columns, in that order.
    :ivar inapplicable: rows with a value that the transform cannot be applied to.
    :ivar by_key: for each branch key id, how often each normalised value occurs. Equal values under
        two keys have two hashes, so keys are counted separately.
    """

    parts: Parts
    columns: tuple[ColumnCount, ...]
    inapplicable: int = 0
    by_key: dict[str, Counter[bytes]] = field(default_factory=dict)

    @property
    def column(self) -> str:
        """``ssn``, or ``last_name+born``."""
        return "+".join(name for name, _ in self.parts)

    @property
    def transform(self) -> str:
        """``exact``, or ``casefold+year``."""
        return "+".join(transform.name for _, transform in self.parts)

    def largest_key(self) -> str | None:
        """The key id with most rows, whose counts reveal most."""
        return max(self.by_key, key=lambda key_id: self.by_key[key_id].total(), default=None)

    def add(self, normalised: bytes, key_id: str, secret: bytes) -> None:
        """Count one row."""
        digest = hmac.digest(secret, normalised, "sha256")[:_DIGEST_BYTES]
        counts = self.by_key.get(key_id)
        if counts is None:
            counts = self.by_key[key_id] = Counter()
        counts[digest] += 1


@dataclass(slots=True)
class TableCount:
    """What the columns of a table hold.

    :ivar table: its name, with the schema where the spec has one.
    :ivar columns: in the spec's order.
    :ivar indexes: in the order asked for.
    :ivar rows: rows read.
    :ivar sample: what was drawn; ``None`` if every row was read.
    """

    table: str
    columns: list[ColumnCount]
    indexes: list[ValueFrequencies]
    rows: int = 0
    sample: Sample | None = None

    def frequencies(self, index: ValueFrequencies, key_id: str | None = None) -> Frequencies:
        """How often each normalised value occurs.

        :param key_id: count only this branch key; ``None`` for all values as if under one key.
        """
        counts: Counter[bytes] = Counter()
        for found, more in index.by_key.items():
            if key_id in (None, found):
                counts.update(more)
        total = None if self.sample is None else self.sample.extrapolate(counts.total())
        return Frequencies(counts.values(), total)


def count_values(
    bind: Engine | Connection,
    find_key: FindKey,
    spec: TableSpec,
    indexes: Sequence[Parts],
    *,
    sample: int | None = None,
    progress: OnRows | None = None,
) -> TableCount:
    """Count the values of a table's columns.

    It reads in steps by primary key, each a short transaction if `bind` is an engine, and locks
    nothing.

    :param bind: an ``Engine`` or ``Connection`` of a synchronous driver.
    :param find_key: opens values; not called if none is encrypted.
    :param spec: the table, and its encrypted or future encrypted columns.
    :param indexes: what to count, of the spec's columns.
    :param sample: read about so many rows of a huge table, drawn at random.
    :param progress: called after each step with the number of rows read.
    :returns: the counts of each column and blind index.
    :raises DeclarationError: the table or a column is missing, or its type cannot hold encrypted
        values.
    :raises KeyUnavailableError: KMS or the key store is unreachable.
    """
    source = RowSource(bind)
    with source.connection() as connection:
        reflected = spec.reflect(connection)
    work = _Counting(reflected, source, find_key, indexes)
    result = work.result
    drawing = draw(work.scan, sample)
    for rows in (drawing or work.scan).batches():
        result.rows += len(rows)
        average = max(1, work.count_all(rows) // max(1, len(rows)))
        work.scan.batch_rows = max(1, min(VERIFIED_AT_ONCE, BATCH_BYTES // average))
        if progress is not None:
            progress(result.rows)
    if drawing is not None:
        result.sample = drawing.sample(result.rows)
    return result


class _Counting:
    """A count under way."""

    def __init__(
        self,
        reflected: ReflectedTable,
        source: RowSource,
        find_key: FindKey,
        indexes: Sequence[Parts],
    ) -> None:
        names = [binding.column_name for binding in reflected.bindings]

        def cells(table: FromClause) -> list[ColumnElement[Any]]:
            return [as_to_read(table.c[name]) for name in names]

        self.scan = Scan(reflected, source, cells, batch_rows=FIRST_BATCH_ROWS)
        first = len(self.scan.carried)
        self._columns = [
            _ColumnCounter(
                ColumnReader(reflected.table, binding, source.dialect, find_key),
                first + number,
                self.scan.positions(binding),
            )
            for number, binding in enumerate(reflected.bindings)
        ]
        columns = [column.count for column in self._columns]
        self._secret = secrets.token_bytes(32)
        # For each index, the positions of its columns, and their transforms.
        self._indexes = [
            (
                ValueFrequencies(parts, tuple(columns[names.index(name)] for name, _ in parts)),
                [(names.index(name), transform) for name, transform in parts],
            )
            for parts in indexes
        ]
        made = [index for index, _ in self._indexes]
        self.result = TableCount(reflected.spec.full_name, columns, made)

    def count_all(self, rows: ScannedRows) -> int:
        """Count the values of some rows; return their bytes or characters."""
        size = 0
        for row in rows:
            found = [column.read(row) for column in self._columns]
            for index, parts in self._indexes:
                self._count(index, [(found[at], transform) for at, transform in parts])
            size += sum(len(one.data) for one in found if one is not None)
        return size

    def _count(
        self, index: ValueFrequencies, parts: list[tuple[OpenedValue | None, Transform]]
    ) -> None:
        """Count one row for one index, which has no rows with NULL in one of its columns."""
        normalised, key_id = [], ""
        try:
            for plaintext, transform in parts:
                if plaintext is None:
                    return
                normalised.append(transform.apply(plaintext.data, _as_it_is))
                key_id = key_id or plaintext.key_id
        except ValueEncodingError:
            index.inapplicable += 1
            return
        whole = normalised[0] if len(normalised) == 1 else compound(normalised)
        index.add(whole, key_id, self._secret)


class _ColumnCounter:
    """Counts one column.

    :param at: position of its value in a row. :param positions: positions of the row's identity.
    """

    def __init__(self, reader: ColumnReader, at: int, positions: Sequence[int]) -> None:
        self.count = ColumnCount(reader.column_name, reader.type)
        self._reader = reader
        self._at = at
        self._positions = positions

    def read(self, row: Any) -> OpenedValue | None:
        """One row's value; ``None`` if it is NULL or cannot be read."""
        value = row[self._at]
        if value is None:
            self.count.nulls += 1
            return None
        try:
            found = self._reader.read(value, [row[i] for i in self._positions])
        except KeyUnavailableError:
            raise
        except (DecryptionError, KeyStoreError, ValueEncodingError) as error:
            self.count.unreadable[error.reason or type(error).__name__] += 1
            return None
        self.count.encrypted += found.was_encrypted
        self.count.plaintext += not found.was_encrypted
        return found


def _as_it_is(plaintext: object) -> bytes:
    return cast("bytes", plaintext)
