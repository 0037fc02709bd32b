"""What a bulk run's own statements take, when nothing but the driver executes them.

A run that can be taken up again, and undoes no update of an application, cannot be one UPDATE: it
reads batches, and compares and swaps each. These statements are recorded, with their parameters,
and then executed batch by batch on the driver's cursors: the reads, and each batch's write in a
transaction of its own. Only that is timed. The values that they store are the run's, made before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, event

from encfields.bulk.connections import Connections
from encfields.bulk.options import Options
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.runs.worker import row_work_of
from encfields.bulk.writers import unverified_writer_for

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from encfields import Encryption
    from encfields.bulk.rows.spec import TableSpec

BATCHES_AT_ONCE = 20
"""Recorded, and then executed: what they hold of the table is kept in memory."""


class Statement(NamedTuple):
    """What the driver is given."""

    text: str
    parameters: Any


class Batch(NamedTuple):
    """The statements of one batch."""

    rows: int
    read: list[Statement]
    write: list[Statement]


class Recorder:
    """Stands for the connection that a writer is given: asks what it asks, and changes nothing.

    :param connection: a real one.
    :ivar statements: what was to be executed.
    """

    def __init__(self, connection: Connection) -> None:
        self._asked = connection
        self.connection = connection.connection
        self.rowcount = -1
        self.statements: list[Statement] = []

    def exec_driver_sql(self, text: str, parameters: Any = None, **options: Any) -> Any:
        self.statements.append(Statement(text, parameters))
        if text.startswith("SELECT"):
            return self._asked.exec_driver_sql(text, parameters, **options)
        return self


def seconds_of_statements(engine: Engine, encryption: Encryption, spec: TableSpec) -> float:
    """Seconds of all statements that rewrite a table's values, as one worker has them.

    :param engine: of a database where the run is the only one. The values are left rewritten.
    """
    connections = Connections(engine)
    seconds, missed = 0.0, 0
    try:
        with engine.connect() as connection:
            prepared = PreparedJob(Job(spec), connection)
        if prepared.is_ordinary:
            connections.read_binary()
        batches = _recorded(prepared, encryption, connections)
        while some := list(islice(batches, BATCHES_AT_ONCE)):
            began = time.perf_counter()
            written = sum(_execute(connections, batch) for batch in some)
            seconds += time.perf_counter() - began
            missed += sum(batch.rows for batch in some) - written
    finally:
        connections.close()
    if missed:
        raise RuntimeError(f"{missed} rows were not written")
    return seconds


def _recorded(
    prepared: PreparedJob, encryption: Encryption, connections: Connections
) -> Iterator[Batch]:
    """The batches of the whole table, one after the other."""
    reader, writer = BatchReader(prepared), unverified_writer_for(prepared)
    values = row_work_of(prepared, encryption)
    part = Bounds(None, None)
    while True:
        with _recording(connections.reading()) as read:
            rows = reader.read(connections.reading(), part, Options().batch_rows)
        if not rows:
            return
        part = Bounds(reader.key_of(rows[-1]), None)
        with connections.writing().begin() as begun:
            recorder: Any = Recorder(begun.connection)
            writer.write(recorder, values.outcome_of(rows, reader).changes)
        yield Batch(len(rows), read, recorder.statements)


@contextmanager
def _recording(connection: Connection) -> Iterator[list[Statement]]:
    """What is executed on a connection meanwhile."""
    statements: list[Statement] = []

    def record(_: Connection, cursor: Any, text: str, parameters: Any, *more: Any) -> None:
        statements.append(Statement(text, parameters))

    event.listen(connection, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", record)


def _execute(connections: Connections, batch: Batch) -> int:
    """Execute a batch's statements, past SQLAlchemy.

    :returns: how many rows were written.
    """
    reading: Any = connections.reading().connection.dbapi_connection
    with reading.cursor() as cursor:
        for statement in batch.read:
            cursor.execute(*statement)
            cursor.fetchall()
    written, connection = 0, connections.writing()
    with connection.begin():
        writing: Any = connection.connection.dbapi_connection
        with writing.cursor() as cursor:
            for statement in batch.write:
                cursor.execute(*statement)
                if not statement.text.startswith("SELECT"):
                    written += cursor.rowcount
    return written
