"""Sweeps: is anything left to do in a part of the table? Judged by the values' first bytes alone.

Where SQL can tell it, the database does, and sends two numbers. It makes the same comparison as
:meth:`encfields.message.reseal.Resealer.is_current`, for identities whose canonical text it can
write. SQLite is not among them: there the values need not travel anyway. Elsewhere the heads of the
values are read and looked at here.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy import (
    BINARY,
    ColumnElement,
    Connection,
    LargeBinary,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.mysql import CHAR as MYSQL_CHAR

from encfields.bulk.rows.key_order import Bounds, key_after, key_upto, part_parameters
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader, key_at
from encfields.bulk.rows.stored_keys import Key
from encfields.bulk.survey.index_check import is_unindexed
from encfields.databases import MYSQL_NAMES
from encfields.engine import engine_encryption
from encfields.errors import DeclarationError
from encfields.identity import IdentityKind
from encfields.message.header import CONTEXT_OFFSET, MAGIC
from encfields.message.keys import Wrapping
from encfields.orm.declare.column_rules import stores_bytes
from encfields.orm.declare.row_keys import kind_of

if TYPE_CHECKING:
    from sqlalchemy import Column

    from encfields.branch_key import BranchKey
    from encfields.bulk.rows.places import SealedCell
    from encfields.bulk.rows.row_work import RowWork
    from encfields.engine import Encryption

_FIRST = CONTEXT_OFFSET - 1
"""Position of the context's length, counted from 1 as in SQL."""

_VERSION_OFFSET = 28
"""Offset of the branch key version, after salt (16 bytes) and IV (12)."""


_OF_DIVISION = 8
"""SQLAlchemy's precedence of ``/``, so that a sum gets parentheses before it is divided."""

_ASCII = frozenset(IdentityKind) - {IdentityKind.TEXT, IdentityKind.CHAR}
"""Kinds whose canonical text has the same length in any encoding."""


class _CurrentSql:
    """SQL that tells, from a value's first bytes, whether it is in its place and current: of one
    encrypted column under one branch key id.

    :ivar key_id: the branch key id.
    """

    def __init__(self, cell: SealedCell, prepared: PreparedJob) -> None:
        binding = cell.binding
        self.key_id = binding.key.template
        self._value: Column[Any] = prepared.table.c[binding.column_name]
        self._context = binding.context
        self._is_mysql = prepared.dialect.name in MYSQL_NAMES
        columns = [prepared.table.c[column.name] for column in binding.identity]
        kinds = [kind_of(column.type, prepared.dialect) for column in columns]
        text = _mysql_text if self._is_mysql else _postgresql_text
        texts = [text(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        self._texts = texts if self._is_mysql else [_utf8(text) for text in texts]
        # These kinds need no conversion, which costs PostgreSQL more than all the rest.
        self._sizes = [
            func.octet_length(plain if kind in _ASCII else utf8)
            for kind, plain, utf8 in zip(kinds, texts, self._texts, strict=True)
        ]

    @classmethod
    def of(cls, cell: SealedCell, prepared: PreparedJob) -> _CurrentSql | None:
        """The condition, if SQL can express it.

        Not for a branch key per row, for identities not stored in canonical spelling, or for a
        column that is not binary.
        """
        name = prepared.dialect.name
        if name != "postgresql" and name not in MYSQL_NAMES:
            return None
        if cell.binding.key.columns or not cell.is_exact:
            return None
        if not stores_bytes(prepared.table.c[cell.binding.column_name].type):
            return None
        try:
            return cls(cell, prepared)
        except DeclarationError:
            return None

    def is_undone(self, key: BranchKey) -> ColumnElement[bool]:
        """SQL for "not NULL, and not bound to its row under this key version"."""
        head = Wrapping.of(key).head
        context_bytes, context = self._context_sql()
        size = context_bytes + literal(2 + len(head))
        frame = self._joined([self._u16(context_bytes), *context, self._bytes(head)])
        is_current = and_(
            self._part(literal(1), literal(len(MAGIC))) == self._bytes(MAGIC),
            self._part(size + literal(_FIRST + _VERSION_OFFSET), literal(16))
            == self._bytes(key.version_bytes),
            self._part(literal(_FIRST), size) == frame,
        )
        # An identity that is NULL makes the comparison NULL, which is not true either.
        return and_(self._value.is_not(None), is_current.is_not(true()))

    def _context_sql(self) -> tuple[ColumnElement[int], list[ColumnElement[Any]]]:
        """The length of the serialised context, and its parts."""
        start, pairs = self._context.head, self._context.parts
        sizes = self._sizes
        fixed = len(start) + sum(len(name) + 2 for _, name in pairs)
        parts: list[ColumnElement[Any]] = []
        for index, name in pairs:
            parts += [self._bytes(start + name), self._u16(sizes[index]), self._texts[index]]
            start = b""
        return reduce(lambda total, size: total + size, sizes, literal(fixed)), parts

    def _part(self, start: ColumnElement[int], count: ColumnElement[int]) -> ColumnElement[Any]:
        return func.substr(self._value, start, count, type_=LargeBinary())

    def _bytes(self, data: bytes) -> ColumnElement[Any]:
        if self._is_mysql:
            # Drivers may send bytes as a string, which beside a text must be valid UTF-8.
            return literal_column(f"x'{data.hex()}'", LargeBinary())
        return literal(data, LargeBinary())

    def _u16(self, number: ColumnElement[int]) -> ColumnElement[Any]:
        if self._is_mysql:
            high = number.op("DIV", precedence=_OF_DIVISION)(256)
            return func.char(high, func.mod(number, 256), type_=LargeBinary())
        return func.substr(func.int4send(number), 3, type_=LargeBinary())

    def _joined(self, parts: list[ColumnElement[Any]]) -> ColumnElement[Any]:
        if self._is_mysql:
            return func.concat(*parts, type_=LargeBinary())
        return reduce(lambda left, right: left.op("||")(right), parts)


def _postgresql_text(column: Column[Any], kind: IdentityKind) -> ColumnElement[Any]:
    """The canonical text of an identity column."""
    if kind is IdentityKind.BINARY:
        return func.encode(column, "hex")
    if kind is IdentityKind.DATE:
        return func.to_char(column, "YYYY-MM-DD")
    return cast(column, Text)  # drops the blanks that pad a CHAR


def _utf8(text: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.convert_to(text, "UTF8", type_=LargeBinary())


def _mysql_text(column: Column[Any], kind: IdentityKind) -> ColumnElement[Any]:
    """The canonical text of an identity column, in UTF-8."""
    if kind is IdentityKind.INTEGER:
        return cast(column, BINARY())
    if kind is IdentityKind.BINARY:
        text: ColumnElement[Any] = func.lower(func.hex(column))
    elif kind is IdentityKind.CHAR:
        text = func.rtrim(column)
    elif kind is IdentityKind.TEXT:
        text = column
    else:
        text = cast(column, MYSQL_CHAR())
    utf8: ColumnElement[Any] = cast(text, MYSQL_CHAR(charset="utf8mb4"))
    # With a text, CONCAT decodes bytes, and turns what is not UTF-8 into question marks.
    return cast(utf8, BINARY())


_COUNTED_BATCHES = 20
"""Batches that the database checks in one statement."""


class SweepOutcome(NamedTuple):
    """What a sweep found.

    :param rows: number of rows. :param is_clean: whether all of them are current.
    :param upto: the last key checked; ``None`` at the end of the part.
    """

    rows: int
    is_clean: bool
    upto: Key | None


class Sweep(Protocol):
    """Checks a part of the table from its start."""

    def look(self, connection: Connection, bounds: Bounds, limit: int) -> SweepOutcome:
        """Check some rows of a part.

        :param limit: rows of a batch.
        """
        ...


class HeadSweep:
    """Reads and checks the values' heads.

    :param prepared: the job. :param values: tells what is current.
    """

    def __init__(self, prepared: PreparedJob, values: RowWork) -> None:
        self._row_work = values
        self._reader = BatchReader(prepared, heads=True)

    def look(self, connection: Connection, bounds: Bounds, limit: int) -> SweepOutcome:
        rows = self._reader.read(connection, bounds, limit)
        if not rows:
            return SweepOutcome(0, True, None)
        is_clean = not self._row_work.needs_work(rows, self._reader)
        return SweepOutcome(len(rows), is_clean, self._reader.key_of(rows[-1]))


class CountingSweep:
    """Lets the database count the rows that are not current.

    :param prepared: the job. :param conditions: for each encrypted column.
    :param range_rows: approximate rows of a part that has an end.
    """

    def __init__(
        self,
        prepared: PreparedJob,
        encryption: Encryption,
        conditions: list[_CurrentSql],
        range_rows: int,
    ) -> None:
        self._prepared = prepared
        self._encryption = encryption
        self._conditions = conditions
        self._range_rows = range_rows

    def look(self, connection: Connection, bounds: Bounds, limit: int) -> SweepOutcome:
        upto, at_once = None, limit * _COUNTED_BATCHES
        if bounds.upto is None or self._range_rows > at_once:
            upto = key_at(self._prepared, connection, bounds, at_once)
        part = Bounds(bounds.after, bounds.upto if upto is None else upto)
        rows, left = connection.execute(self._statement(part), part_parameters(part)).one()
        return SweepOutcome(int(rows), not left, upto)

    def _statement(self, part: Bounds) -> Any:
        prepared = self._prepared
        active = engine_encryption(self._encryption).active_key
        undone: ColumnElement[bool] = or_(
            *(condition.is_undone(active(condition.key_id)) for condition in self._conditions),
            *(is_unindexed(index, prepared.table.c) for index in prepared.job.spec.indexes),
        )
        statement = select(func.count(), func.sum(case((undone, 1), else_=0))).select_from(
            prepared.table
        )
        name = prepared.dialect.name
        if part.after is not None:
            statement = statement.where(key_after(prepared.key, "after", name))
        if part.upto is not None:
            statement = statement.where(key_upto(prepared.key, "upto", name))
        return statement


def sweep_of(
    prepared: PreparedJob, encryption: Encryption, values: RowWork, range_rows: int
) -> Sweep:
    """The sweep for the job's table.

    :param range_rows: approximate rows of a range.
    """
    conditions = [_CurrentSql.of(target, prepared) for target, _ in prepared.cells()]
    if all(conditions):
        known = [condition for condition in conditions if condition]
        return CountingSweep(prepared, encryption, known, range_rows)
    return HeadSweep(prepared, values)
