"""Reads a table in short steps, or a random sample of it with a plain note of what was drawn."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Integer, func, select, tablesample, tuple_
from sqlalchemy import types as sqltypes

from encfields.bulk.rows.catalog import row_estimate
from encfields.bulk.rows.key_order import comes_after
from encfields.bulk.rows.walkable_keys import read_with_keys, require_later
from encfields.databases import MYSQL_NAMES

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause, Select, Table
    from sqlalchemy.engine import Dialect

    from encfields.bulk.rows.spec_base import ReflectedTable
    from encfields.orm.declare.columns import ColumnBinding

ScannedRows = Sequence[Any]
"""Rows of a result. (The type of a row differs between SQLAlchemy 2.0 and 2.1.)"""
Cells = Callable[["FromClause"], Sequence["ColumnElement[Any]"]]


class RowSource:
    """Reads rows from an engine, in one short transaction per step, or the caller's connection.

    :param bind: ``Engine`` or ``Connection`` of a synchronous driver; within
        ``AsyncConnection.run_sync``, the connection that it gives.
    """

    def __init__(self, bind: Engine | Connection) -> None:
        self._bind = bind
        self.dialect: Dialect = bind.dialect

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection; one from an engine is returned to it afterwards."""
        if isinstance(self._bind, Connection):
            yield self._bind
        else:
            with self._bind.connect() as connection:
                yield connection

    def fetch(self, statement: Select[Any]) -> ScannedRows:
        """All rows of a bounded statement."""
        with self.connection() as connection:
            return connection.execute(statement).all()

    def stream(self, statement: Select[Any], rows: int) -> Iterator[ScannedRows]:
        """The rows of an unbounded statement, `rows` at a time.

        From an engine they are streamed. From a caller's connection they are all held in memory, so
        that it stays free for other statements.
        """
        if not isinstance(self._bind, Connection):
            statement = statement.execution_options(yield_per=rows)
        with self.connection() as connection:
            yield from connection.execute(statement).partitions(rows)


class Scan:
    """The SELECT of a census or a verification.

    Each row holds the columns in :attr:`carried`, then the cells.

    :param reflected: the table.
    :param source: where to read it.
    :param cells: makes the expressions to select from the table or a sample of it.
    :param batch_rows: rows per step; may be changed between two steps.
    :ivar key: columns that distinguish rows: the primary key, or else what the encrypted columns
        are bound to.
    """

    def __init__(
        self, reflected: ReflectedTable, source: RowSource, cells: Cells, *, batch_rows: int
    ) -> None:
        self.table = reflected.table
        self.source = source
        self.batch_rows = batch_rows
        self._cells = cells
        identity = [c.name for binding in reflected.bindings for c in binding.identity]
        primary = [column.name for column in self.table.primary_key.columns]
        self.key = primary or list(dict.fromkeys(identity))
        self.has_primary_key = bool(primary)
        self.carried = list(dict.fromkeys([*primary, *identity]))

    def fetch(self, statement: Select[Any]) -> ScannedRows:
        """All rows of a bounded statement.

        :raises DeclarationError: the driver cannot read the key of one.
        """
        return read_with_keys(self.table, lambda: self.source.fetch(statement))

    def stream(self, statement: Select[Any]) -> Iterator[ScannedRows]:
        """The rows of an unbounded statement, in steps.

        :raises DeclarationError: the driver cannot read the key of one.
        """
        steps = self.source.stream(statement, self.batch_rows)
        while (rows := read_with_keys(self.table, lambda: next(steps, None))) is not None:
            yield rows

    def statement(self, table: FromClause | None = None) -> Select[Any]:
        """The SELECT, without an order or a bound.

        :param table: a sample of the table; by default the table.
        """
        place = self.table if table is None else table
        return select(*(place.c[name] for name in self.carried), *self._cells(place))

    def batches(self) -> Iterator[ScannedRows]:
        """Every row once, in primary key order; a table without one is streamed.

        Rows inserted behind the cursor are not seen.
        """
        if not self.has_primary_key:
            yield from self.stream(self.statement())
            return
        columns = [self.table.c[name] for name in self.key]
        ordered = self.statement().order_by(*columns)
        last: tuple[Any, ...] | None = None
        while True:
            limit = self.batch_rows
            statement = ordered.limit(limit)
            if last is not None:
                statement = statement.where(comes_after(columns, last, self.source.dialect.name))
            rows = self.fetch(statement)
            if rows:
                yield rows
                after, last = last, tuple(rows[-1])[: len(columns)]
            if len(rows) < limit or last is None:
                return
            require_later(self.table, last, after)

    def positions(self, binding: ColumnBinding) -> tuple[int, ...]:
        """Positions in a row of the identity columns of `binding`."""
        return tuple(self.carried.index(column.name) for column in binding.identity)

    def key_of(self, row: Sequence[Any]) -> tuple[Any, ...]:
        """The values of :attr:`key` in a row."""
        return tuple(row[self.carried.index(name)] for name in self.key)

    def whole_values(self, name: str, rows: ScannedRows) -> dict[tuple[Any, ...], Any]:
        """The values of one column of rows already read, by key; deleted rows are left out."""
        keys = [self.key_of(row) for row in rows]
        columns = [self.table.c[key] for key in self.key]
        if len(columns) == 1:
            condition = columns[0].in_([key[0] for key in keys])
        else:
            condition = tuple_(*columns).in_(keys)
        result = self.source.fetch(select(*columns, self.table.c[name]).where(condition))
        return {tuple(row[: len(columns)]): row[len(columns)] for row in result}


ESTIMATE_FROM = 1_000_000
"""From this many rows on, use the database's estimate instead of counting."""

PAGES_FROM = 1_000_000
"""From this many rows on, PostgreSQL draws whole pages instead of rows, to read no others."""

BLOCKS = 64
"""Ranges of neighbouring keys in a sample by key ranges."""

_2_53 = 2**53
_random = secrets.SystemRandom()

_HOW = {
    "rows": "each row was drawn with the same probability",
    "pages": "whole pages of the table were drawn; neighbouring rows are often of the same age, "
    "so what is confined to a few pages may be missed or overcounted",
    "key-ranges": "ranges of neighbouring keys were drawn at random starts; rows of the same age "
    "lie together and rows after gaps are drawn more often, so what is confined to a range of keys "
    "may be missed or overcounted",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn.

    :param wanted: rows asked for.
    :param rows: rows drawn.
    :param total_rows: rows of the table.
    :param total_is_estimate: whether that is the database's estimate and not a count.
    :param method: ``"rows"``, ``"pages"`` or ``"key-ranges"``.
    """

    wanted: int
    rows: int
    total_rows: int
    total_is_estimate: bool
    method: str

    def extrapolate(self, count: int) -> int:
        """The estimate for the table, from a count in the sample.

        :param count: number found among the drawn rows.
        """
        return round(count * self.total_rows / self.rows) if self.rows else 0

    @property
    def caveat(self) -> str:
        """In plain words, how far the figures can be trusted."""
        about = "about " if self.total_is_estimate else ""
        drawn = (
            f"{self.rows:,} of {about}{self.total_rows:,} rows were looked at: "
            f"{_HOW[self.method]}. Totals are extrapolated."
        )
        if not self.rows:
            return drawn + " No row was drawn, so nothing is known."
        missed = math.ceil(3 * self.total_rows / self.rows)
        return (
            f"{drawn} A kind of value that was not found may still be in some {missed:,} rows or "
            "more; only a run without sampling shows that none is left."
        )

    def to_json(self) -> dict[str, Any]:
        """The sample as plain data, the caveat included."""
        return {**asdict(self), "caveat": self.caveat}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A sample about to be drawn; :meth:`sample` describes it afterwards."""

    scan: Scan
    wanted: int
    total_rows: int
    total_is_estimate: bool
    method: str

    def batches(self) -> Iterator[ScannedRows]:
        """The rows, in steps."""
        if self.method == "key-ranges":
            return _key_ranges(self.scan, self.wanted)
        return _by_chance(self.scan, min(1.0, self.wanted / self.total_rows), self.method)

    def sample(self, rows: int) -> Sample:
        """What was drawn, once its number of rows is known."""
        return Sample(self.wanted, rows, self.total_rows, self.total_is_estimate, self.method)


def draw(scan: Scan, wanted: int | None) -> Drawing | None:
    """How to draw about `wanted` rows; ``None`` to read the whole table.

    :raises ValueError: `wanted` is not positive.
    """
    if wanted is None:
        return None
    total, is_estimate = count_rows(scan.source, scan.table)
    if wanted >= total:
        return None
    return Drawing(scan, wanted, total, is_estimate, _method(scan, total))


def _method(scan: Scan, total: int) -> str:
    if scan.source.dialect.name == "postgresql":
        return "pages" if total >= PAGES_FROM else "rows"
    (*_, last) = columns = [scan.table.c[name] for name in scan.key]
    one_integer = len(columns) == 1 and isinstance(last.type, Integer)
    return "key-ranges" if one_integer and scan.has_primary_key else "rows"


def count_rows(source: RowSource, table: Table) -> tuple[int, bool]:
    """Rows of a table, and whether that is an estimate."""
    with source.connection() as connection:
        estimate = row_estimate(table, connection)
        if estimate >= ESTIMATE_FROM:
            return estimate, True
        return connection.scalar(select(func.count()).select_from(table)) or 0, False


def _by_chance(scan: Scan, share: float, method: str) -> Iterator[ScannedRows]:
    """Each row, or each page, with probability `share`."""
    if scan.source.dialect.name == "postgresql":
        draws = func.system if method == "pages" else func.bernoulli
        statement = scan.statement(tablesample(scan.table, draws(share * 100), name="drawn"))
    else:
        statement = scan.statement().where(_drawn(scan.source, share))
    return scan.stream(statement)


def _drawn(source: RowSource, share: float) -> ColumnElement[bool]:
    if source.dialect.name in MYSQL_NAMES:
        return func.rand(type_=sqltypes.Float()) < share
    # SQLite's random() is any 64-bit integer.
    lowest_53_bits = func.random(type_=sqltypes.Integer()).bitwise_and(_2_53 - 1)
    return lowest_53_bits < int(share * _2_53)


def _key_ranges(scan: Scan, wanted: int) -> Iterator[ScannedRows]:
    """Blocks of rows from random keys on; no row twice."""
    (name,) = scan.key
    key = scan.table.c[name]
    bounds = scan.source.fetch(select(func.min(key), func.max(key)))[0]
    blocks = min(BLOCKS, wanted)
    position = scan.carried.index(name)
    seen: set[Any] = set()
    for _ in range(blocks):
        start = _random.randint(bounds[0], bounds[1])
        statement = scan.statement().where(key >= start).order_by(key)
        rows = scan.fetch(statement.limit(math.ceil(wanted / blocks)))
        fresh = [row for row in rows if row[position] not in seen]
        seen.update(row[position] for row in fresh)
        if fresh:
            yield fresh
