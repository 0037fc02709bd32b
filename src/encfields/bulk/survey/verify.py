"""Verification: open every value of a table, and report which do not open and why.

Blind indexes are recomputed from the opened values and compared. Plaintext is discarded at once;
the report has places and reasons. It is not decoded, because a spec does not name the inner type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, type_coerce
from sqlalchemy.types import NullType

from encfields.bulk.expected import ENCRYPTION, SPEC
from encfields.bulk.failures import raises_no_drivers_errors
from encfields.bulk.rows.places import ColumnPlaces, ValuePlace, to_show
from encfields.bulk.rows.run_keys import RunKeys, SetAsideError
from encfields.bulk.rows.spec import ReflectedTable, TableSpec
from encfields.bulk.survey.census import OnRows
from encfields.bulk.survey.index_check import OpenedColumnValue, index_checks
from encfields.bulk.survey.scan import RowSource, Sample, Scan, ScannedRows, draw
from encfields.errors import (
    BindingError,
    ContextMismatchError,
    DecryptionError,
    EncFieldsError,
    KeyStoreError,
    KeyUnavailableError,
    UnknownIdentityError,
)
from encfields.expected_arguments import BIND, CALLABLE, COUNT, LENGTH, takes
from encfields.message import open_
from encfields.message.header import as_bytes, read_header
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause

    from encfields.engine import Encryption

FIRST_BATCH_ROWS = 100
VERIFIED_AT_ONCE = 2_000
BATCH_BYTES = 16 * 1024 * 1024
"""Approximate bytes of values held at once."""

MAX_FAILURES = 1_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A value that did not open, or a blind index that does not match: where it is and why, never
    what it holds.

    :param column: the column's name in the database.
    :param row: identity of its row as canonical text; ``None`` for a part that is NULL.
    :param error: the error's class name in :mod:`encfields.errors`.
    :param reason: the error's ``reason``.
    :param message: what happened and what to do about it.
    :param belongs_to: the encryption context of the place where the value opens, if it was sealed
        for another place.
    """

    column: str
    row: Mapping[str, str | None]
    error: str
    reason: str
    message: str
    belongs_to: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """The failure as plain data."""
        document: dict[str, Any] = {
            "column": self.column,
            "row": dict(self.row),
            "error": self.error,
            "reason": self.reason,
            "message": self.message,
        }
        if self.belongs_to is not None:
            document["belongs_to"] = dict(self.belongs_to)
        return document


@dataclass(slots=True)
class Verification:
    """The result of opening the values of one table.

    :ivar table: its name, with the schema where the spec has one.
    :ivar rows: rows read.
    :ivar nulls: values that are NULL.
    :ivar opened: values that opened in their place.
    :ivar failed: counts of values that did not open and of blind indexes that do not match, by
        column and reason.
    :ivar failures: at most ``max_failures`` of them.
    :ivar sample: what was drawn; ``None`` if every row was read.
    """

    table: str
    rows: int = 0
    nulls: int = 0
    opened: int = 0
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    sample: Sample | None = None

    @property
    def ok(self) -> bool:
        """Whether every value that was read opened and has the right blind index."""
        return not self.failed

    def to_json(self) -> dict[str, Any]:
        """The verification as plain data, for ``json.dumps``."""
        return {
            "table": self.table,
            "rows": self.rows,
            "nulls": self.nulls,
            "opened": self.opened,
            "failed": [
                {"column": column, "reason": reason, "values": count}
                for (column, reason), count in sorted(self.failed.items())
            ],
            "failures": [failure.to_json() for failure in self.failures],
            "sample": self.sample.to_json() if self.sample is not None else None,
        }


@leaves_no_trace
@takes(
    bind=BIND,
    encryption=ENCRYPTION,
    spec=SPEC,
    sample=COUNT.or_none,
    batch_rows=COUNT,
    max_failures=LENGTH,
    progress=CALLABLE.or_none,
)
@raises_no_drivers_errors
def verify(
    bind: Engine | Connection,
    encryption: Encryption,
    spec: TableSpec,
    *,
    sample: int | None = None,
    batch_rows: int = VERIFIED_AT_ONCE,
    max_failures: int = MAX_FAILURES,
    progress: OnRows | None = None,
) -> Verification:
    """Open the values of a table's encrypted columns, each for its own row.

    It reads in steps by primary key, each a short transaction if `bind` is an engine, decrypts
    outside it, and locks nothing. A row written meanwhile is seen as before or after.

    :param bind: an ``Engine`` or ``Connection`` of a synchronous driver.
    :param encryption: where keys come from.
    :param spec: the table and its columns.
    :param sample: open the values of about so many rows of a huge table, drawn at random.
    :param batch_rows: most rows per step; fewer if values are long.
    :param max_failures: most failures to list; all are counted.
    :param progress: called after each step with the number of rows read.
    :returns: the counts and the listed failures.
    :raises DeclarationError: the table or a column is missing, or its type cannot hold encrypted
        values.
    :raises KeyUnavailableError: KMS or the key store is unreachable, so values could not be judged.
    :raises ReencryptionError: the database is unreachable, or ended or refused a statement.
    """
    source = RowSource(bind)
    with source.connection() as connection:
        reflected = spec.reflect(connection)
    work = _Verifying(reflected, source, encryption, Verification(spec.full_name), max_failures)
    work.scan.batch_rows = min(batch_rows, FIRST_BATCH_ROWS)
    drawing = draw(work.scan, sample)
    for rows in (drawing or work.scan).batches():
        work.scan.batch_rows = _next_batch_rows(work.open_all(rows), len(rows), batch_rows)
        if progress is not None:
            progress(work.result.rows)
    if drawing is not None:
        work.result.sample = drawing.sample(work.result.rows)
    return work.result


def _next_batch_rows(size: int, rows: int, most: int) -> int:
    """Rows of the next step, by the size of values in the last."""
    average = max(1, size // max(1, rows))
    return max(1, min(most, BATCH_BYTES // average))


class _Verifying:
    """A verification under way."""

    def __init__(
        self,
        reflected: ReflectedTable,
        source: RowSource,
        encryption: Encryption,
        result: Verification,
        max_failures: int,
    ) -> None:
        self.result = result
        self._keys = RunKeys(encryption, reflected.bindings, reflected.spec.indexes)
        self._max_failures = max_failures
        self._checks = tuple(index_checks(reflected, self._keys))
        names = [binding.column_name for binding in reflected.bindings]
        names += [check.column for check in self._checks]

        def cells(table: FromClause) -> list[ColumnElement[Any]]:
            return [_undecoded(table.c[name]) for name in names]

        self.scan = Scan(reflected, source, cells, batch_rows=FIRST_BATCH_ROWS)
        first = len(self.scan.carried)
        self._work = tuple(
            (first + number, ColumnPlaces(binding, source.dialect), self.scan.positions(binding))
            for number, binding in enumerate(reflected.bindings)
        )
        self._places = {work[1].binding.column_name: work for work in self._work}

    def open_all(self, rows: ScannedRows) -> int:
        """Open the values of some rows; return their bytes."""
        self.result.rows += len(rows)
        size = 0
        for row in rows:
            opened: dict[str, OpenedColumnValue] = {}
            for at, places, positions in self._work:
                value = row[at]
                identity = [row[i] for i in positions]
                opened_value = self._open(value, places, identity)
                if opened_value is not None:
                    opened[places.binding.column_name] = opened_value
                if value is not None:
                    size += len(value) if hasattr(value, "__len__") else 8
            if self._checks:
                self._check_indexes(row, opened)
        return size

    def _open(
        self, value: object, places: ColumnPlaces, identity: Sequence[Any]
    ) -> OpenedColumnValue | None:
        """Open one value; list its failure, or raise an outage."""
        if value is None:
            self.result.nulls += 1
            return OpenedColumnValue(None, "")
        try:
            texts = places.texts(identity)
        except UnknownIdentityError as error:
            self._fail(places, to_show(identity), error)
            return None
        if texts is None:
            self._fail(places, to_show(identity), _no_identity())
            return None
        try:
            plaintext = self._open_in_place(value, places, texts)
        except KeyUnavailableError as error:
            error.table, error.column = self.result.table, places.binding.column_name
            raise
        except SetAsideError as error:
            self._fail(places, texts, error.failure)
            return None
        except (DecryptionError, KeyStoreError) as error:
            self._fail(places, texts, error)
            return None
        self.result.opened += 1
        return OpenedColumnValue(plaintext, places.binding.key_id(texts))

    def _open_in_place(self, value: object, places: ColumnPlaces, texts: Sequence[str]) -> bytes:
        data, find_key = as_bytes(value), self._keys.find_key
        place = ValuePlace(places.binding, texts)
        try:
            return open_(data, place.context, find_key, place.key_ids)
        except ContextMismatchError:
            header = read_header(data)
            spelt = places.find(texts, header.context)
            if spelt.context == header.context:
                return open_(data, spelt.context, find_key, spelt.key_ids)
            # A message counts as moved only if it opens where it claims to belong.
            open_(data, header.context, find_key, (header.key_id,))
            raise

    def _check_indexes(self, row: Any, opened: Mapping[str, OpenedColumnValue]) -> None:
        """Compare the row's blind indexes with the opened values."""
        first = self._work[0][0] + len(self._work)
        for at, check in enumerate(self._checks, start=first):
            fault = check.fault(row[at], opened)
            if fault is None:
                continue
            _, places, positions = self._places[check.columns[0]]
            identity = [row[i] for i in positions]
            self._fail(places, _shown(places, identity), fault, column=check.column)

    def _fail(
        self,
        places: ColumnPlaces,
        texts: Sequence[str | None],
        error: EncFieldsError,
        *,
        column: str | None = None,
    ) -> None:
        column = column or places.binding.column_name
        reason = error.reason or "unknown"
        self.result.failed[column, reason] += 1
        if len(self.result.failures) >= self._max_failures:
            return
        names = [c.name for c in places.binding.identity]
        row = dict(zip(names, texts, strict=True))
        moved = error.found if isinstance(error, ContextMismatchError) else None
        self.result.failures.append(
            Failure(column, row, type(error).__name__, reason, error.message, moved)
        )


def _shown(places: ColumnPlaces, identity: Sequence[Any]) -> Sequence[str | None]:
    """A row's identity as canonical texts, or as stored if it has none."""
    try:
        return places.texts(identity) or to_show(identity)
    except UnknownIdentityError:
        return to_show(identity)


def _undecoded(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column without result processing: stored content may not fit the type."""
    return type_coerce(column, NullType())


def _no_identity() -> BindingError:
    return BindingError(
        "a part of the row's identity is NULL, so no value can belong to it", reason="no-identity"
    )
