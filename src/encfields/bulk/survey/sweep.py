"""Sweeps: is anything left to do in a part of the table? Judged by the values' first bytes alone.

Where SQL can tell it, the database does, and sends two numbers. Elsewhere the heads of the values
are read and looked at here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy import ColumnElement, Connection, case, func, or_, select

from encfields.bulk.rows.key_order import Bounds, key_after, key_upto, part_parameters
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader, key_at
from encfields.bulk.rows.stored_keys import Key
from encfields.bulk.survey.current_sql import CurrentSql
from encfields.bulk.survey.index_check import is_unindexed
from encfields.engine import engine_encryption

if TYPE_CHECKING:
    from encfields.bulk.rows.row_work import RowWork
    from encfields.engine import Encryption

_COUNTED_BATCHES = 20
"""Batches' worth of rows that the database looks at in one statement."""


class SweepOutcome(NamedTuple):
    """What a look found.

    :param rows: how many there were. :param is_clean: whether all of them are current.
    :param upto: the last key that was looked at; ``None`` if it went to the end of the part.
    """

    rows: int
    is_clean: bool
    upto: Key | None


class Sweep(Protocol):
    """Looks at a part of the table, from its start on."""

    def look(self, connection: Connection, bounds: Bounds, limit: int) -> SweepOutcome:
        """Look at some rows of a part.

        :param limit: rows of a batch.
        """
        ...


class HeadSweep:
    """Reads the heads of the values.

    :param prepared: the job. :param values: tells what is current.
    """

    def __init__(self, prepared: PreparedJob, values: RowWork) -> None:
        self._values = values
        self._reader = BatchReader(prepared, heads=True)

    def look(self, connection: Connection, bounds: Bounds, limit: int) -> SweepOutcome:
        rows = self._reader.read(connection, bounds, limit)
        if not rows:
            return SweepOutcome(0, True, None)
        is_clean = not self._values.needs_work(rows, self._reader)
        return SweepOutcome(len(rows), is_clean, self._reader.key_of(rows[-1]))


class CountingSweep:
    """Lets the database count the rows that are not current.

    :param prepared: the job. :param conditions: for each encrypted column.
    :param range_rows: rows of a part that has an end, about.
    """

    def __init__(
        self,
        prepared: PreparedJob,
        encryption: Encryption,
        conditions: list[CurrentSql],
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
    """How the job's table is swept.

    :param range_rows: rows of a range, about.
    """
    conditions = [CurrentSql.of(target, prepared) for target, _ in prepared.cells()]
    if all(conditions):
        known = [condition for condition in conditions if condition]
        return CountingSweep(prepared, encryption, known, range_rows)
    return HeadSweep(prepared, values)
