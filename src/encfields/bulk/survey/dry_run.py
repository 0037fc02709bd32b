"""Dry runs and ``ensure()``: check every value of a table.

Headers and the key store's list of active versions suffice, so no key is unwrapped. Values are
opened only for a conversion, and to compare them with the plaintext beside them.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from encfields.branch_key import BRANCH_KEY_BYTES, BranchKey
from encfields.bulk.connections import Connections
from encfields.bulk.options import Options
from encfields.bulk.rows.catalog import row_estimate
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.plaintext import ToPlaintext
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import FIRST_ROWS, BatchReader
from encfields.bulk.rows.reseal_and_index import Convert, IndexPlaces
from encfields.bulk.rows.row_work import ABSENT, RowChange
from encfields.bulk.runs.report import DryRun, Summary
from encfields.errors import BindingError, DecryptionError
from encfields.keys.versions import KeyVersions
from encfields.message import open_, read_header, seal

if TYPE_CHECKING:
    from encfields.engine import Encryption


_WRITE_SECONDS = {"postgresql": 8e-6, "sqlite": 4e-6}
_OTHER_WRITE_SECONDS = 20e-6
"""Measured seconds to read and write one row, without encryption."""

_SAMPLES = 200


@dataclass(slots=True)
class Survey:
    """Counts over a table's encrypted values."""

    rows: int = 0
    rows_to_rewrite: int = 0
    current: int = 0
    not_current: int = 0
    null: int = 0
    unreadable: int = 0
    unindexed: int = 0
    stored_bytes: int = 0
    versions: Counter[tuple[str, str]] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    seconds: float = 0.0

    def summary(self) -> Summary:
        """The counts for users."""
        return Summary(self.rows, self.current, self.not_current, self.null, self.unreadable)


class Surveyor:
    """Checks the header of every value of a table.

    :param prepared: the job. :param encryption: tells the active versions.
    """

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._prepared = prepared
        self._columns = prepared.cells()
        self._reader = BatchReader(prepared)
        self._indexes = IndexPlaces(prepared)
        self._known = KeyVersions(encryption.keys.list())
        self.survey = Survey()

    def run(self, connections: Connections, options: Options) -> Survey:
        """Read the whole table in batches."""
        began = time.monotonic()
        for rows in batches(self._reader, connections, options):
            for row in rows:
                self._row(row)
        self.survey.seconds = time.monotonic() - began
        return self.survey

    def _row(self, row: Any) -> None:
        survey = self.survey
        before = survey.not_current
        survey.rows += 1
        for at, (target, source) in enumerate(self._columns):
            data = row[target.value_at]
            plain = row[self._reader.value_end + at] if self._prepared.plain else None
            if data is None:
                survey.null += 1
            elif self._prepared.plain and plain is not None:
                survey.current += 1
            else:
                self._value(row, target, source, data)
        is_unindexed = self._indexes.are_missing(row)
        survey.unindexed += is_unindexed
        survey.rows_to_rewrite += survey.not_current > before or is_unindexed

    def _value(self, row: Any, target: Any, source: Any, data: Any) -> None:
        survey = self.survey
        try:
            header = read_header(data)
            context, key_ids = target.place(row, bytes(data))
            if key_ids[0] in self._known.active:
                survey.keys.add(key_ids[0])
            is_there = header.context == context
            if is_there and not self._prepared.plain and self._is_active(header, key_ids[0]):
                survey.current += 1
                return
            was, former_ids = source.place(row, bytes(data))
            opens = is_there and header.is_under(key_ids)
            if not opens and not (header.context == was and header.is_under(former_ids)):
                survey.unreadable += 1
                return
            if not self._known.opens(header.key_id, header.version):
                survey.unreadable += 1
                return
        except (DecryptionError, BindingError):
            survey.unreadable += 1
            return
        survey.not_current += 1
        survey.stored_bytes += len(data)
        survey.versions[(header.key_id, header.version)] += 1

    def _is_active(self, header: Any, key_id: str) -> bool:
        return bool(header.key_id == key_id and header.version == self._known.active.get(key_id))


def batches(
    reader: BatchReader, connections: Connections, options: Options
) -> Iterator[Sequence[Any]]:
    """The rows of a whole table, in batches of about `batch_bytes`."""
    bounds, limit = Bounds(None, None), min(FIRST_ROWS, options.batch_rows)
    while rows := reader.read(connections.reading(), bounds, limit):
        yield rows
        bounds = Bounds(reader.key_of(rows[-1]), None)
        size = reader.size_of(rows)
        limit = max(1, min(options.batch_rows, options.batch_bytes * len(rows) // max(size, 1)))


def dry_run_of(survey: Survey, options: Options, dialect_name: str) -> DryRun:
    """What a run would do, from a survey."""
    values = survey.not_current
    average = survey.stored_bytes // values if values else 0
    write = _WRITE_SECONDS.get(dialect_name, _OTHER_WRITE_SECONDS)
    work = values * _seconds_per_value(average) + survey.rows_to_rewrite * write + survey.seconds
    # At least two passes: one that rewrites, and a clean sweep.
    seconds = (work + survey.seconds) / (options.workers * options.duty_cycle)
    if options.rows_per_second:
        seconds = max(seconds, survey.rows / options.rows_per_second)
    return DryRun(
        rows=survey.rows,
        rows_to_rewrite=survey.rows_to_rewrite,
        values_to_rewrite=values,
        bytes_to_rewrite=survey.stored_bytes,
        unreadable=survey.unreadable,
        seconds=seconds,
        # Each active version once per pass, and each old version once.
        kms_calls=2 * len(survey.keys) + len(survey.versions),
        versions=dict(survey.versions),
    )


def estimated_rows(prepared: PreparedJob, connection: Connection) -> int:
    """About how many rows the table has; on PostgreSQL without counting them."""
    if prepared.dialect.name == "postgresql":
        estimate = row_estimate(prepared.table, connection)
        if estimate > 0:
            return estimate
    return int(connection.execute(select(func.count()).select_from(prepared.table)).scalar_one())


def _seconds_per_value(size: int) -> float:
    """Seconds to open and seal a value on this host, measured with a throwaway key."""
    key = BranchKey("estimate", str(uuid.uuid4()), os.urandom(BRANCH_KEY_BYTES))
    message = seal(bytes(size), b"", key)
    began = time.perf_counter()
    for _ in range(_SAMPLES):
        seal(open_(message, b"", lambda key_id, version: key, (key.id,)), b"", key)
    return (time.perf_counter() - began) / _SAMPLES


class OpeningSurveyor:
    """Opens every value of a table, for what no header tells: the inner type that wrote it, or
    whether the plaintext beside it is the same. Writes nothing.

    :param prepared: the job, which converts or decrypts. :param encryption: gives the keys.
    """

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._seals = prepared.job.to_plaintext is None
        values = Convert if self._seals else ToPlaintext
        self._columns = prepared.cells()
        self._reader = BatchReader(prepared)
        self._indexes = IndexPlaces(prepared)
        self._row_work = values(prepared, encryption)
        self.survey = Survey()

    def run(self, connections: Connections, options: Options) -> Survey:
        """Read the whole table in batches.

        :raises KeyStoreError: a key cannot be fetched.
        """
        began = time.monotonic()
        for rows in batches(self._reader, connections, options):
            outcome = self._row_work.outcome_of(rows, self._reader)
            for row in rows:
                self._row(row)
            for change in outcome.changes:
                self._change(change)
            self.survey.unreadable += len(outcome.refused)
        survey = self.survey
        values = survey.rows * len(self._columns) - survey.null
        survey.current = values - survey.not_current - survey.unreadable
        survey.seconds = time.monotonic() - began
        return survey

    def _row(self, row: Any) -> None:
        self.survey.rows += 1
        self.survey.null += sum(row[target.value_at] is None for target, _ in self._columns)
        self.survey.unindexed += self._indexes.are_missing(row)

    def _change(self, change: RowChange) -> None:
        self.survey.rows_to_rewrite += 1
        for old, new in zip(change.old, change.new, strict=True):
            if new is None or not old or old == ABSENT:
                continue
            header = read_header(old)
            self.survey.not_current += 1
            self.survey.stored_bytes += len(old)
            self.survey.versions[(header.key_id, header.version)] += 1
            self.survey.keys.add(read_header(new if self._seals else old).key_id)
