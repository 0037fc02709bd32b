"""How often each value of a column occurs in the database, encrypted or not yet.

A value is held only as long as its step of rows. What is counted is an HMAC of it under a key
that is drawn for this count and thrown away, so that no value, and nothing that could be compared
with another count, is left in memory.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine, type_coerce
from sqlalchemy.sql.sqltypes import _Binary
from sqlalchemy.types import NullType, TypeEngine

from encfields.codecs import codec_for
from encfields.errors import (
    DecryptionError,
    EncFieldsError,
    KeyStoreError,
    KeyUnavailableError,
    ValueEncodingError,
)
from encfields.index.leakage import Frequencies
from encfields.index.transforms import Transform
from encfields.message import open_
from encfields.message_header import MAGIC, as_bytes, read_header
from encfields.reencrypt.census import Progress, spec_name
from encfields.reencrypt.places import ColumnPlaces
from encfields.reencrypt.sampling import Sample, draw
from encfields.reencrypt.scan import Rows, Scan, Source
from encfields.reencrypt.spec import ReflectedTable, TableSpec
from encfields.reencrypt.verify import BATCH_BYTES, BATCH_ROWS, FIRST_BATCH_ROWS

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause

    from encfields.binding.columns import ColumnBinding
    from encfields.keys.branch_key import BranchKey

FindKey = Callable[[str, str], "BranchKey"]
"""Gives the branch key of an id and a version."""

_DIGEST_BYTES = 16


@dataclass(slots=True)
class ColumnCount:
    """What one column holds.

    :ivar column: its name in the database.
    :ivar type: its type in the database.
    :ivar nulls: rows in which it is NULL.
    :ivar encrypted: values that were opened.
    :ivar plaintext: values that are not encrypted yet.
    :ivar unreadable: values that are counted nowhere, by reason.
    :ivar inapplicable: for each transform, values that it cannot be applied to.
    :ivar by_key: for each transform and branch key id, how often each normalised value occurs.
        Equal values under two keys have two hashes, so each key's are counted apart.
    """

    column: str
    type: TypeEngine[Any]
    nulls: int = 0
    encrypted: int = 0
    plaintext: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    inapplicable: Counter[Transform] = field(default_factory=Counter)
    by_key: dict[tuple[Transform, str], Counter[bytes]] = field(default_factory=dict)

    def largest_key(self, transform: Transform) -> str | None:
        """The key id that most rows are under: the one whose counts tell most."""
        of_rows = {
            key_id: counts.total()
            for (one, key_id), counts in self.by_key.items()
            if one == transform
        }
        return max(of_rows, key=of_rows.__getitem__, default=None)

    def keys(self, transform: Transform) -> int:
        """The number of key ids that values are under."""
        return sum(1 for one, _ in self.by_key if one == transform)


@dataclass(slots=True)
class TableCount:
    """What the columns of a table hold.

    :ivar table: its name, with the schema where the spec has one.
    :ivar rows: rows looked at.
    :ivar columns: in the spec's order.
    :ivar sample: what was drawn; ``None`` if every row was looked at.
    """

    table: str
    columns: list[ColumnCount]
    rows: int = 0
    sample: Sample | None = None

    def frequencies(
        self, column: ColumnCount, transform: Transform, key_id: str | None
    ) -> Frequencies:
        """How often each normalised value occurs.

        :param key_id: under which branch key; ``None`` for all values as if they were under one.
        """
        counts: Counter[bytes] = Counter()
        for (one, found), more in column.by_key.items():
            if one == transform and key_id in (None, found):
                counts = counts + more if counts else more
        total = None
        if self.sample is not None:
            total = self.sample.extrapolate(counts.total())
        return Frequencies(counts.values(), total)


def count_values(
    bind: Engine | Connection,
    find_key: FindKey,
    spec: TableSpec,
    transforms: Mapping[str, Sequence[Transform]],
    *,
    sample: int | None = None,
    progress: Progress | None = None,
) -> TableCount:
    """Count the values of a table's columns.

    It reads in steps by primary key, each a short transaction on an engine; nothing is locked.

    :param bind: an ``Engine`` or ``Connection`` of a synchronous driver.
    :param find_key: opens values; not called where none is encrypted.
    :param spec: the table, and the columns that are encrypted or are to be.
    :param transforms: for each column, what of its values to count.
    :param sample: look at about so many rows of a huge table, drawn at random.
    :param progress: called after each step with the number of rows looked at.
    :raises DeclarationError: the table or a column is missing, or cannot be an encrypted one.
    :raises KeyUnavailableError: KMS or the key store is out of reach.
    """
    source = Source(bind)
    with source.connection() as connection:
        reflected = spec.reflect(connection)
    work = _Work(reflected, source, find_key, transforms)
    result = TableCount(spec_name(spec), [column.count for column in work.columns])
    drawing = draw(work.scan, sample)
    for rows in (drawing or work.scan).batches():
        result.rows += len(rows)
        average = max(1, work.count_all(rows) // max(1, len(rows)))
        work.scan.batch_rows = max(1, min(BATCH_ROWS, BATCH_BYTES // average))
        if progress is not None:
            progress(result.rows)
    if drawing is not None:
        result.sample = drawing.sample(result.rows)
    return result


class _Work:
    """A count under way."""

    def __init__(
        self,
        reflected: ReflectedTable,
        source: Source,
        find_key: FindKey,
        transforms: Mapping[str, Sequence[Transform]],
    ) -> None:
        names = [binding.column_name for binding in reflected.bindings]

        def cells(table: FromClause) -> list[ColumnElement[Any]]:
            return [_as_to_read(table.c[name]) for name in names]

        self.scan = Scan(reflected, source, cells, batch_rows=FIRST_BATCH_ROWS)
        first = len(self.scan.carried)
        secret = secrets.token_bytes(32)
        self.columns = tuple(
            _Column(
                _Reader(reflected, binding, source, find_key),
                first + number,
                self.scan.positions(binding),
                transforms[binding.column_name],
                secret,
            )
            for number, binding in enumerate(reflected.bindings)
        )

    def count_all(self, rows: Rows) -> int:
        """Count the values of some rows; returns how many bytes or characters they had."""
        return sum(column.count_value(row) for column in self.columns for row in rows)


class _Column:
    """One column under way.

    :param at: where in a row its value stands. :param positions: and its identity.
    """

    def __init__(
        self,
        reader: _Reader,
        at: int,
        positions: Sequence[int],
        transforms: Sequence[Transform],
        secret: bytes,
    ) -> None:
        self.count = ColumnCount(reader.column_name, reader.type)
        self._reader = reader
        self._at = at
        self._positions = positions
        self._transforms = transforms
        self._secret = secret

    def count_value(self, row: Any) -> int:
        """Count one row's value; returns its size."""
        value = row[self._at]
        if value is None:
            self.count.nulls += 1
            return 0
        try:
            plaintext, key_id, was_encrypted = self._reader.read(
                value, [row[i] for i in self._positions]
            )
        except KeyUnavailableError:
            raise
        except (DecryptionError, KeyStoreError, ValueEncodingError) as error:
            self.count.unreadable[error.reason or type(error).__name__] += 1
        else:
            self.count.encrypted += was_encrypted
            self.count.plaintext += not was_encrypted
            self._add(plaintext, key_id)
        return len(value) if hasattr(value, "__len__") else 8

    def _add(self, plaintext: bytes, key_id: str) -> None:
        for transform in self._transforms:
            try:
                normalised = transform.apply(plaintext, _as_it_is)
            except ValueEncodingError:
                self.count.inapplicable[transform] += 1
                continue
            digest = hmac.digest(self._secret, normalised, "sha256")[:_DIGEST_BYTES]
            counts = self.count.by_key.get((transform, key_id))
            if counts is None:
                counts = self.count.by_key[transform, key_id] = Counter()
            counts[digest] += 1


class _Reader:
    """Gives the canonical plaintext of stored values, be they encrypted or not."""

    def __init__(
        self, reflected: ReflectedTable, binding: ColumnBinding, source: Source, find_key: FindKey
    ) -> None:
        self.column_name = binding.column_name
        self._places = ColumnPlaces(binding, source.dialect)
        self._binding = binding
        self._dialect = source.dialect
        self._find_key = find_key
        self.type: TypeEngine[Any] = reflected.table.c[binding.column_name].type
        try:
            self._codec = codec_for(self.type)
        except EncFieldsError as error:
            error.table, error.column = binding.table, binding.column_name
            raise

    def read(self, value: object, identity: Sequence[Any]) -> tuple[bytes, str, bool]:
        """The canonical plaintext, the branch key id of its row, and whether it was encrypted.

        :raises DecryptionError: it does not open in its place.
        :raises KeyStoreError: its key could not be had.
        :raises ValueEncodingError: it is not encrypted, and could not be.
        """
        texts = self._places.texts(identity)
        if texts is None:
            raise ValueEncodingError("a part of the row's identity is NULL", reason="no-identity")
        if not isinstance(value, str) and _may_be_message(value):
            return self._open(value, texts)
        plaintext = self._codec.encode(value, self._dialect)
        return plaintext, self._binding.key_id(texts), False

    def _open(self, value: object, texts: Sequence[str]) -> tuple[bytes, str, bool]:
        data = as_bytes(value)
        place = self._places.find(texts, read_header(data).context)
        try:
            return open_(data, place.context, self._find_key), place.key_id, True
        except KeyUnavailableError as error:
            error.table, error.column = self._binding.table, self.column_name
            raise


def _may_be_message(value: object) -> bool:
    return isinstance(value, bytes | bytearray | memoryview) and as_bytes(value).startswith(MAGIC)


def _as_it_is(plaintext: object) -> bytes:
    return cast("bytes", plaintext)


def _as_to_read(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A binary column past SQLAlchemy's types, as messages are read; another as its own values."""
    return type_coerce(column, NullType()) if isinstance(column.type, _Binary) else column
