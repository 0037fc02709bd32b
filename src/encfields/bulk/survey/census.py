"""The census: counts a table's values by key version, without any key.

It reads only the first bytes and the length of each value. A header is not authentic before a key
opens the message, so a census tells what values *claim*;
:func:`encfields.bulk.survey.verify.verify` finds out what is true.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, cast, func
from sqlalchemy import types as sqltypes
from sqlalchemy.types import NullType

from encfields.bulk.expected import SPEC
from encfields.bulk.failures import raises_no_drivers_errors
from encfields.bulk.rows.catalog import refuse_view
from encfields.bulk.rows.places import ColumnPlaces, to_show
from encfields.bulk.rows.spec_base import ReflectedTable, TableSpecBase
from encfields.bulk.survey.column_census import (
    ColumnCensus,
    Example,
    ask_for,
    count_name,
    keep_example,
    under_each,
)
from encfields.bulk.survey.index_check import IndexCensus, IndexCounter
from encfields.bulk.survey.scan import RowSource, Sample, Scan, ScannedRows, draw
from encfields.bulk.survey.stored_value import EXAMINED_HEAD_BYTES, State, StoredValue, examine
from encfields.context import COLUMN_KEY, deserialize
from encfields.errors import MalformedMessageError, UnknownIdentityError
from encfields.expected_arguments import BIND, CALLABLE, COUNT, takes
from encfields.keys.removal import ValuesUnder
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause

    from encfields.message.header import Header


COUNTED_AT_ONCE = 5_000

PORTION_BYTES = 16 * 1024 * 1024
PORTION_ROWS = 500
"""Values read whole in one statement, if their heads do not tell enough."""

OnRows = Callable[[int], None]
"""Called now and then with the number of rows read so far."""


@dataclass(frozen=True, slots=True)
class Census:
    """The census of one table.

    :ivar table: its name, with the schema where the spec has one.
    :ivar rows: rows read.
    :ivar columns: one for each column of the spec, in its order.
    :ivar sample: what was drawn; ``None`` if every row was read.
    :ivar indexes: one for each blind index of the spec, and each version of its key.
    """

    table: str
    rows: int
    columns: tuple[ColumnCensus, ...]
    sample: Sample | None = None
    indexes: tuple[IndexCensus, ...] = ()

    def is_current(self, active: Mapping[str, str]) -> bool:
        """Whether every value is in its place under the active version of its row's key.

        :param active: active version by branch key id.
        """
        return all(column.current(active) == column.values for column in self.columns)

    @property
    def is_indexed(self) -> bool:
        """Whether every row has the blind indexes of its values."""
        return all(index.is_complete for index in self.indexes)

    @property
    def faults(self) -> int:
        """Values that do not open where they are: misplaced, another key's, damaged, plaintext."""
        return sum(column.faults for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        """The census as plain data, for ``json.dumps``."""
        return {
            "table": self.table,
            "rows": self.rows,
            "sample": self.sample.to_json() if self.sample is not None else None,
            "columns": [column.to_json(self.sample) for column in self.columns],
            "indexes": [index.to_json(self.sample) for index in self.indexes],
        }


@leaves_no_trace
@takes(bind=BIND, spec=SPEC, sample=COUNT.or_none, batch_rows=COUNT, progress=CALLABLE.or_none)
@raises_no_drivers_errors
def census(
    bind: Engine | Connection,
    spec: TableSpecBase,
    *,
    sample: int | None = None,
    batch_rows: int = COUNTED_AT_ONCE,
    progress: OnRows | None = None,
) -> Census:
    """Count the values of a table's encrypted columns by what they are, without any key.

    It reads in steps by primary key, each a short transaction if `bind` is an engine, and locks
    nothing. A row written meanwhile is seen as before or after, or missed if its key lies behind
    the cursor.

    :param bind: an ``Engine`` or ``Connection`` of a synchronous driver; it need not be attached.
    :param spec: the table and its columns. A column that is not encrypted yet may be given.
    :param sample: read about so many rows of a huge table, drawn at random; the result says how
        they were drawn and how far to trust it. Default: every row.
    :param batch_rows: rows per step; at most some 1,100 bytes each and column.
    :param progress: called after each step with the number of rows read.
    :returns: the counts of each column and blind index.
    :raises DeclarationError: the table or a column is missing, or its type cannot hold encrypted
        values.
    :raises ReencryptionError: the database is unreachable, or ended or refused a statement.
    """
    source = RowSource(bind)
    with source.connection() as connection:
        reflected = spec.reflect(connection)
    count = _Count(reflected, source, batch_rows)
    drawing = draw(count.scan, sample)
    for rows in (drawing or count.scan).batches():
        count.add(rows)
        if progress is not None:
            progress(count.rows)
    drawn = drawing.sample(count.rows) if drawing is not None else None
    return count.census(drawn)


class _Count:
    """A census under way."""

    def __init__(self, reflected: ReflectedTable, source: RowSource, batch_rows: int) -> None:
        self.rows = 0
        self._table_name = reflected.spec.full_name
        self.columns = tuple(
            ColumnCensus(b.column_name, b.logical_name) for b in reflected.bindings
        )
        names = [column.column for column in self.columns]
        indexes = reflected.spec.indexes
        held = [index.name for index in indexes if index.name in reflected.table.c]

        def cells(table: FromClause) -> list[ColumnElement[Any]]:
            heads = [cell for name in names for cell in _head(table.c[name], source)]
            return heads + [table.c[name].is_(None) for name in held]

        self.scan = Scan(reflected, source, cells, batch_rows=batch_rows)
        first = len(self.scan.carried)
        self._work = tuple(
            (column, ColumnPlaces(b, source.dialect), self.scan.positions(b), first + 2 * number)
            for number, (column, b) in enumerate(zip(self.columns, reflected.bindings, strict=True))
        )

        lengths = {name: first + 2 * number + 1 for number, name in enumerate(names)}
        nulls = {name: first + 2 * len(names) + number for number, name in enumerate(held)}
        self.indexes = tuple(
            IndexCounter(index, [lengths[name] for name in index.columns], nulls.get(index.name))
            for index in indexes
        )

    def add(self, rows: ScannedRows) -> None:
        """Count the values of some rows."""
        self.rows += len(rows)
        for index in self.indexes:
            index.add(rows)
        for column, places, positions, at in self._work:
            unknown = []
            for row in rows:
                head, length = row[at], row[at + 1]
                if length is None:
                    column.nulls += 1
                    continue
                # SQLite's substr() makes NULL of an empty value.
                stored = examine(b"" if head is None else head, length)
                if stored.state is State.UNKNOWN:
                    unknown.append(row)
                else:
                    _count_value(column, places, [row[i] for i in positions], stored)
            for some in _portions(unknown, at + 1):
                values = self.scan.whole_values(column.column, some)
                for row in some:
                    value = values.get(self.scan.key_of(row))
                    if value is None:
                        column.nulls += 1  # deleted or set to NULL meanwhile
                        continue
                    stored = examine(value, len(value))
                    _count_value(column, places, [row[i] for i in positions], stored)

    def census(self, drawn: Sample | None) -> Census:
        """The counts.

        :param drawn: how the rows were drawn; ``None`` for every row.
        """
        indexes = tuple(index.result for index in self.indexes)
        return Census(self._table_name, self.rows, self.columns, drawn, indexes)


def _portions(rows: ScannedRows, length_at: int) -> Iterator[ScannedRows]:
    """Rows whose values must be read whole, in groups that fit into memory."""
    portion: list[Any] = []
    size = 0
    for row in rows:
        portion.append(row)
        size += row[length_at]
        if size >= PORTION_BYTES or len(portion) >= PORTION_ROWS:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _head(column: ColumnElement[Any], source: RowSource) -> list[ColumnElement[Any]]:
    """The first bytes of a column, as the driver gives them, and its length in bytes."""
    postgresql = source.dialect.name == "postgresql"
    length = func.length if source.dialect.name == "sqlite" else func.octet_length
    is_text = isinstance(column.type, sqltypes.String) and not isinstance(
        column.type, sqltypes.Enum
    )
    if postgresql and not is_text and not isinstance(column.type, sqltypes.LargeBinary):
        column = cast(column, sqltypes.Text)
    return [func.substr(column, 1, EXAMINED_HEAD_BYTES, type_=NullType()), length(column)]


def _count_value(
    column: ColumnCensus, places: ColumnPlaces, identity: Sequence[Any], stored: StoredValue
) -> None:
    """Count one value."""
    texts, fault = _texts(places, identity)
    if stored.header is not None and texts is not None:
        _count_message(column, places, texts, stored.header)
        return
    names = [c.name for c in places.binding.identity]
    row = dict(zip(names, texts if texts is not None else to_show(identity), strict=True))
    reason = stored.reason or fault
    keep_example(
        column, "damaged" if stored.header is not None else stored.state.value, Example(row, reason)
    )
    if stored.state is State.PLAINTEXT:
        column.plaintext += 1
    elif stored.state is State.OTHER_FORMAT:
        column.other_format[reason] += 1
    else:
        column.damaged[reason] += 1


def _texts(places: ColumnPlaces, identity: Sequence[Any]) -> tuple[list[str] | None, str]:
    """Canonical texts of a row's identity; or ``None`` and the reason."""
    try:
        return places.texts(identity), "no-identity"
    except UnknownIdentityError as error:
        return None, error.reason or "identity-form"


def _count_message(
    column: ColumnCensus, places: ColumnPlaces, texts: Sequence[str], header: Header
) -> None:
    place = places.find(texts, header.context)
    if header.context == place.context:
        if header.key_id == place.key_id:
            column.versions.add(header)
        elif header.is_under(place.key_ids):
            column.former_key.add(header)
        else:
            column.other_key.add(header)
            keep_example(column, "other_key", Example(place.row, "key-id"))
        return
    try:
        belongs_to = deserialize(header.context)
    except MalformedMessageError:
        column.damaged["context"] += 1
        keep_example(column, "damaged", Example(place.row, "context"))
        return
    column.misplaced.add(header)
    count_name(column.bound_to, belongs_to.get(COLUMN_KEY, "no column"))
    keep_example(column, "misplaced", Example(place.row, "misplaced", belongs_to))


@leaves_no_trace
@raises_no_drivers_errors
def _exact_census(
    bind: Engine | Connection,
    spec: TableSpecBase,
    key_ids: Collection[str],
    version: str | None,
) -> Census:
    """A census of every row with exact counts for some keys, however many other key names appear.

    :param version: one of the keys' versions; ``None`` for any.
    :raises ConfigurationError: it is a view.
    """
    source = RowSource(bind)
    with source.connection() as connection:
        reflected = spec.reflect(connection)
        refuse_view(reflected.table, connection)
    count = _Count(reflected, source, COUNTED_AT_ONCE)
    for column in count.columns:
        ask_for(column, key_ids, version)
    for rows in count.scan.batches():
        count.add(rows)
    return count.census(None)


def count_under(
    bind: Engine | Connection, spec: TableSpecBase, key_id: str, version: str | None = None
) -> tuple[str, list[ValuesUnder]]:
    """The columns of a table that hold values under a key. Reads every row once, and uses no key.
    Misplaced values count too: moved back, they would open.

    :param bind: as for :func:`encfields.bulk.survey.census.census`.
    :param version: only those under this version.
    :returns: the table's name, and the columns with values under the key.
    """
    counted = _exact_census(bind, spec, (key_id,), version)
    places = [
        ValuesUnder(counted.table, column.column, values)
        for column in counted.columns
        if (values := column.under(key_id, version))
    ]
    return counted.table, places


def count_under_each(
    bind: Engine | Connection, spec: TableSpecBase, key_ids: Collection[str]
) -> tuple[str, dict[str, list[ValuesUnder]]]:
    """:func:`count_under` for many keys, reading every row once.

    :returns: the table's name, and the columns with values under each key that has any.
    """
    counted = _exact_census(bind, spec, key_ids, None)
    by_key: dict[str, list[ValuesUnder]] = {}
    for column in counted.columns:
        for key_id, values in under_each(column).items():
            by_key.setdefault(key_id, []).append(ValuesUnder(counted.table, column.column, values))
    return counted.table, by_key
