"""What a bulk run's own statements take, when nothing but the driver executes them.

A run that can be taken up again, and undoes no update of an application, cannot be one UPDATE: it
reads batches, and compares and swaps each. These statements are recorded, with their parameters,
and then executed batch by batch on the driver's cursors: the reads, and each batch's write in a
transaction of its own. Only that is timed. The values that they store are the run's, made before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, event

from encfields.bulk.connections import Connections
from encfields.bulk.options import Options
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.runs.worker import values_of
from encfields.bulk.writers import writer_for

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from encfields import Encryption
    from encfields.bulk.rows.spec import TableSpec

BATCHES_AT_ONCE = 20
"""Recorded, and then executed: what they hold of the table is kept in memory."""


class Statement(NamedTuple):
    text: str
    parameters: Any


class Batch(NamedTuple):
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

    def exec_driver_sql(self, text: str, parameters: Any = None) -> Any:
        self.statements.append(Statement(text, parameters))
        if text.startswith("SELECT"):
            return self._asked.exec_driver_sql(text, parameters)
        return self


def seconds_of_statements(engine: Engine, encryption: Encryption, spec: TableSpec) -> float:
    """Seconds of all statements that rewrite a table's values, as one worker has them.

    :param engine: of a database where the run is the only one. The values are left rewritten.
    """
    connections = Connections(engine)
    seconds = 0.0
    try:
        with engine.connect() as connection:
            prepared = PreparedJob(Job(spec), connection)
        if prepared.is_ordinary:
            connections.read_binary()
        batches = _recorded(prepared, encryption, connections)
        while some := list(islice(batches, BATCHES_AT_ONCE)):
            began = time.perf_counter()
            for batch in some:
                _execute(connections, batch)
            seconds += time.perf_counter() - began
    finally:
        connections.close()
    return seconds


def _recorded(
    prepared: PreparedJob, encryption: Encryption, connections: Connections
) -> Iterator[Batch]:
    reader, writer = BatchReader(prepared), writer_for(prepared)
    values = values_of(prepared, encryption)
    part = Bounds(None, None)
    while True:
        connection = connections.reading()
        read: list[Statement] = []

        def record(
            _: Any, cursor: Any, text: str, parameters: Any, *more: Any, to: Any = read
        ) -> None:
            to.append(Statement(text, parameters))

        event.listen(connection, "before_cursor_execute", record)
        rows = reader.read(connection, part, Options().batch_rows)
        event.remove(connection, "before_cursor_execute", record)
        if not rows:
            return
        part = Bounds(reader.key_of(rows[-1]), None)
        with connections.writing().begin() as begun:
            recorder: Any = Recorder(begun.connection)
            writer.write(recorder, values.outcome_of(rows, reader).changes)
        yield Batch(read, recorder.statements)


def _execute(connections: Connections, batch: Batch) -> None:
    reading: Any = connections.reading().connection.dbapi_connection
    with reading.cursor() as cursor:
        for statement in batch.read:
            cursor.execute(*statement)
            cursor.fetchall()
    connection = connections.writing()
    with connection.begin():
        writing: Any = connection.connection.dbapi_connection
        with writing.cursor() as cursor:
            for statement in batch.write:
                cursor.execute(*statement)
