"""Dry run, throttle, pauses, batch sizes, and the shapes of the statements' plans."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import event, insert, text

from encfields.bulk.connections import Connections
from encfields.bulk.reencryption import Options, ProgressBar
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.row_work import RowChange
from encfields.bulk.writers import writer_for
from encfields.engine import engine_encryption
from encfields.errors import ConfigurationError
from tests.bulk.support import PATIENT, ROWS, VALUES, Clinic, Patient
from tests.turns import databases_by_turns, on_each_database
from tests.waiting import until

pytestmark = databases_by_turns


@on_each_database
def test_a_dry_run_tells_what_a_run_would_do_and_changes_nothing(clinic):
    old = engine_encryption(clinic.encryption).active_key("default").version
    clinic.rotate()
    stored = clinic.stored()
    dry = clinic.run().dry_run()
    assert (dry.rows, dry.rows_to_rewrite, dry.values_to_rewrite) == (ROWS, ROWS, VALUES)
    assert dry.bytes_to_rewrite == sum(len(data) for _, data in stored)
    assert dry.versions == {("default", old): VALUES}
    assert dry.unreadable == 0
    assert dry.kms_calls == 3  # the old version, and the active one for each of two passes
    assert 0 < dry.seconds < 3600
    assert clinic.stored() == stored


def test_a_dry_run_after_a_run_finds_nothing_to_do(clinic):
    clinic.rotate()
    clinic.run().run()
    dry = clinic.run().dry_run()
    assert (dry.rows, dry.rows_to_rewrite, dry.bytes_to_rewrite) == (ROWS, 0, 0)


def test_a_run_records_works_and_reports_on_two_connections(clinic, monkeypatch):
    opened: list[object] = []
    own = Connections._own

    def noting(application):
        made = own(application)
        event.listen(made, "connect", lambda connection, record: opened.append(connection))
        return made

    monkeypatch.setattr(Connections, "_own", staticmethod(noting))
    clinic.rotate()
    assert clinic.run().run().finished
    assert len(opened) == 2


def test_a_dry_run_asks_kms_for_no_key(sqlite, kms, kms_proxy):
    from encfields import SqlKeyStore, attach, keyrings
    from encfields.bulk.reencryption import Reencryption
    from tests.bulk.support import Base

    engine = sqlite.create_engine()
    keyring = keyrings.aws_kms(kms.create_key(), endpoint_url=kms_proxy.url)
    encryption = attach(engine, SqlKeyStore(keyring), create=True)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Patient), {"id": 1, "ssn": "1", "notes": None, "seen": 0})
    encryption.keys.rotate("default")
    kms_proxy.reset()
    assert Reencryption(engine, encryption, PATIENT).dry_run().values_to_rewrite == 1
    assert kms_proxy.calls == []


@pytest.fixture
def small(sqlite) -> Clinic:
    made = Clinic(sqlite)
    made.fill(120)
    made.rotate()
    return made


def test_no_more_rows_per_second_are_rewritten_than_allowed(small):
    report = small.run(rows_per_second=120, batch_rows=12).run()
    assert report.finished
    assert report.seconds >= 0.9


def test_a_worker_sleeps_through_the_rest_of_its_duty_cycle(small):
    began, cpu = time.monotonic(), time.thread_time()
    small.run(duty_cycle=0.2).run()
    busy = (time.thread_time() - cpu) / (time.monotonic() - began)
    assert busy < 0.5


def test_a_run_pauses_while_replicas_lag_and_says_so(small, told):
    with small.engine.begin() as connection:
        connection.execute(text("CREATE TABLE lag (seconds FLOAT)"))
        connection.execute(text("INSERT INTO lag VALUES (7.5)"))
    reasons = []

    def progress(state: Any) -> None:
        if state.paused:
            reasons.append(state.paused)
            with small.engine.begin() as connection:
                connection.execute(text("UPDATE lag SET seconds = 0"))

    report = small.run(max_lag_query="SELECT seconds FROM lag", max_lag=2, check_seconds=0.05).run(
        progress=progress
    )
    assert report.finished
    assert reasons == ["replicas are 7.5 s behind (at most 2 s)"]


def test_postgresql_tells_its_replicas_lag_itself(postgresql):
    """There is no replica here, so nothing is behind."""
    clinic = Clinic(postgresql)
    clinic.fill(100)
    assert clinic.run(max_lag=2, check_seconds=0).run().finished


def test_a_run_pauses_while_postgresql_vacuums_the_table(postgresql, told):
    clinic = Clinic(postgresql)
    clinic.fill(300)
    clinic.rotate()
    vacuuming, reading, looking = (
        postgresql.create_engine(isolation_level=level).connect()
        for level in ("AUTOCOMMIT", "READ COMMITTED", "AUTOCOMMIT")
    )
    pid = vacuuming.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    waits = f"SELECT wait_event FROM pg_stat_activity WHERE pid = {pid}"
    vacuums: list[threading.Thread] = []

    def vacuum_waits() -> bool:
        """A cursor stands on a page, and a freezing VACUUM waits until it may clean that up.

        It ends at once if it may freeze nothing: if a transaction, of any database, that is older
        than the rows was under way when the cursor was declared.
        """
        if not (vacuums and vacuums[-1].is_alive()):
            reading.rollback()
            reading.exec_driver_sql("DECLARE standing CURSOR FOR SELECT * FROM patient")
            reading.exec_driver_sql("FETCH 1 FROM standing")
            vacuum = "VACUUM (FREEZE) patient"
            vacuums.append(threading.Thread(target=vacuuming.exec_driver_sql, args=(vacuum,)))
            vacuums[-1].start()
        return bool(looking.exec_driver_sql(waits).scalar() == "BufferPin")

    until(vacuum_waits)
    # The server's own may be under way in another database.
    query = f"SELECT count(*) FROM pg_stat_progress_vacuum WHERE pid = {pid}"
    reasons: list[str | None] = []

    def progress(state: Any) -> None:
        reasons.append(state.paused)
        if state.paused:
            reading.rollback()

    assert clinic.run(pause_for_vacuum=True, check_seconds=0.05).run(progress=progress).finished
    assert "the table is being vacuumed" in reasons
    assert not looking.exec_driver_sql(query).scalar()
    vacuums[-1].join()
    for connection in (vacuuming, reading, looking):
        connection.close()
        connection.engine.dispose()


@pytest.mark.parametrize("backend", ["sqlite", "mariadb"], indirect=True)
@pytest.mark.parametrize(
    "options", [{"max_lag": 2}, {"pause_for_vacuum": True}], ids=["lag", "vacuum"]
)
def test_what_the_database_does_not_tell_is_refused(backend, options):
    clinic = Clinic(backend)
    clinic.fill(10)
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        clinic.run(**options).run()


def test_a_run_pauses_while_a_query_says_so(small, told):
    with small.engine.begin() as connection:
        connection.execute(text("CREATE TABLE busy (hour INTEGER)"))
        connection.execute(text("INSERT INTO busy VALUES (9)"))
    reasons = []

    def progress(state: Any) -> None:
        if state.paused:
            reasons.append(state.paused)
            with small.engine.begin() as connection:
                connection.execute(text("DELETE FROM busy"))

    query = "SELECT 1 FROM busy WHERE hour LIKE '9%'"
    assert small.run(pause_query=query, check_seconds=0.05).run(progress=progress).finished
    assert reasons == ["the pause query says so"]


def test_a_paused_run_can_be_stopped(small, told):
    stop = threading.Event()

    def progress(state: Any) -> None:
        if state.paused:
            stop.set()

    report = small.run(pause_query="SELECT 1").run(progress=progress, stop=stop)
    assert report.state == "running"


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_rows": 0},
        {"duty_cycle": 0},
        {"duty_cycle": 1.5},
        {"rows_per_second": 0},
        {"max_lag_query": "SELECT 1"},
        {"workers": 0},
        {"outage_seconds": -1},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Options(**wrong)


def test_large_values_make_small_batches(sqlite):
    clinic = Clinic(sqlite)
    rows = [{"id": i, "ssn": "x" * 20_000, "notes": None, "seen": 0} for i in range(1, 201)]
    with clinic.engine.begin() as connection:
        connection.execute(insert(Patient), rows)
    clinic.rotate()
    sizes: list[int] = []
    original = BatchReader.size_of

    def size_of(self: Any, batch: Any) -> int:
        sizes.append(original(self, batch))
        return sizes[-1]

    BatchReader.size_of = size_of  # type: ignore[method-assign,assignment]
    try:
        report = clinic.run(batch_rows=1000, range_rows=1000, batch_bytes=200_000).run()
    finally:
        BatchReader.size_of = original  # type: ignore[method-assign]
    assert report.finished
    assert max(sizes[1:]) <= 220_000  # the first batch has 50 rows, whatever they hold


def test_the_bar_shows_rate_and_what_is_left(small, told):
    console = Console(force_terminal=True, width=160, record=True)
    with ProgressBar(console) as bar:
        small.run().run(progress=bar)
    shown = console.export_text()
    assert "patient" in shown
    assert "120/120" in shown
    assert "rows/s" in shown
    assert "left" in shown


BIG = 6000


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)
def test_a_batch_costs_the_same_wherever_it_lies(backend):
    """A plan that reads the table from its start makes a run's time grow with the square."""
    clinic = Clinic(backend)
    fill_unread(clinic, BIG)
    own = Connections(backend.create_engine())
    prepared = PreparedJob(Job(PATIENT), own.reading())
    reader, writer = BatchReader(prepared), writer_for(prepared)
    touched = [
        rows_touched(clinic, own, reader, writer, after)
        for after in ((0,), (BIG // 2,), (BIG - 300,))
    ]
    own.close()
    assert max(touched) <= 1.5 * min(touched) + 100, touched
    assert max(touched) <= 200 * 8, touched


def fill_unread(clinic: Clinic, rows: int) -> None:
    """Patients, all but one with a value that nobody will open."""
    statement = text("INSERT INTO patient (id, ssn, seen) VALUES (:id, :ssn, 0)")
    clinic.fill(1)
    ssn = clinic.stored()[0][1]
    with clinic.engine.begin() as connection:
        connection.execute(statement, [{"id": i, "ssn": ssn} for i in range(2, rows + 1)])


def rows_touched(clinic: Clinic, own: Any, reader: Any, writer: Any, after: Any) -> int:
    """Rows that the database reads to read and to write one batch of 200."""
    if clinic.backend.name == "mariadb":
        for connection in (own.reading(), own.writing()):
            connection.execute(text("FLUSH STATUS"))
        batch(own, reader, writer, after)
        query = text(
            "SELECT SUM(variable_value) FROM information_schema.session_status"
            " WHERE variable_name IN ('HANDLER_READ_KEY', 'HANDLER_READ_NEXT',"
            " 'HANDLER_READ_FIRST', 'HANDLER_READ_RND_NEXT', 'HANDLER_READ_RND')"
        )
        counted = [c.execute(query).scalar_one() for c in (own.reading(), own.writing())]
        return int(sum(counted))
    plans: list[Any] = []
    busy = itertools.count()

    def explain(conn, cursor, statement, parameters, context, executemany):
        if "patient" in statement and "EXPLAIN" not in statement and next(busy) < 10:
            rows = conn.exec_driver_sql(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
            ).scalar_one()
            plans.append(rows[0]["Plan"])

    event.listen(own.engine, "before_cursor_execute", explain)
    batch(own, reader, writer, after)
    event.remove(own.engine, "before_cursor_execute", explain)
    assert len(plans) == 2
    return sum(scanned(plan) for plan in plans)


def batch(own: Any, reader: Any, writer: Any, after: Any) -> None:
    rows = reader.read(own.reading(), Bounds(after, None), 200)
    assert len(rows) == 200
    changes = [RowChange(reader.key_of(row), (row[1], None), (row[1], None)) for row in rows]
    with own.writing().begin() as begun:
        writer.write(begun.connection, changes)


def scanned(plan: Any) -> int:
    """Rows that a plan's scans of tables read, those that a filter threw away included."""
    here = 0
    if "Relation Name" in plan and "Scan" in plan["Node Type"]:
        rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        here = round(rows * plan["Actual Loops"])
    return here + sum(scanned(child) for child in plan.get("Plans", ()))
