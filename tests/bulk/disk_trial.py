"""A database whose disk is full for a while, under a run and an application."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg
from sqlalchemy import Engine, String, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from encfields.bulk.errors import DatabaseUnavailableError
from encfields.bulk.reencryption import Options, Reencryption, Report
from encfields.bulk.rows.spec import TableSpec
from tests.bulk.application import LONG_REST_SECONDS, Application, code_of
from tests.bulk.faults import rows_written
from tests.bulk.server_trial import private_server
from tests.bulk.support import Clinic
from tests.servers import postgresql
from tests.servers.small_disk import SmallDisk
from tests.waiting import until

LONG_NAME = "k" * 200
"""A key's name is part of each value: under this one, values grow, and do not fit in place."""

MEGABYTES = {"postgresql": 96, "mariadb": 96}

FULL = ("53100", 1021, 1114)
"""The databases' codes for a disk that is full: MariaDB tells of the file or of the table."""

MET = 3
"""Statements that fail for want of space before a disk counts as full."""


class Base(DeclarativeBase):
    pass


GROWING = EncryptedType(String, key=LONG_NAME, former_keys="default")


class GrowingPatient(Base):
    """The clinic's patients as they are to be: under a key with a long name."""

    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String, key=LONG_NAME, former_keys="default"))
    notes: Mapped[str | None] = mapped_column(
        EncryptedType(String, key=LONG_NAME, former_keys="default")
    )
    seen: Mapped[int] = mapped_column(default=0)


SPEC = TableSpec.from_table(GrowingPatient.__table__)  # type: ignore[arg-type]


class RunInThread:
    """A run in a thread of its own.

    :ivar report: once it has ended. :ivar failure: why it did not go on.
    :ivar errors: what its statements met, by the databases' codes.
    """

    def __init__(self, clinic: Clinic, **options: Any) -> None:
        self.report: Report | None = None
        self.failure: BaseException | None = None
        self.errors: Counter[Any] = Counter()
        chosen = Options(**{"batch_rows": 50, "range_rows": 200, **options})
        self._run = Reencryption(clinic.engine, clinic.encryption, SPEC, options=chosen)
        self._run.record()  # which needs tables: they are there before the disk is full
        self._thread = threading.Thread(target=self._work, name="the run")

    @property
    def has_ended(self) -> bool:
        """Whether it has, well or not."""
        return self.report is not None or self.failure is not None

    def begin(self, enough: Callable[[], bool]) -> None:
        """Let it write some rows and stop."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run.run, kwargs={"stop": stop})
        thread.start()
        try:
            until(enough)
        finally:
            stop.set()
            thread.join()

    def _work(self) -> None:
        try:
            self.report = self._run.run()
        except BaseException as failure:
            self.failure = failure

    def _note(self, context: Any) -> None:
        # The run writes in a thread that it names so.
        if threading.current_thread().name.startswith(("the run", "encfields-write")):
            self.errors[code_of(context.sqlalchemy_exception)] += 1

    @property
    def full(self) -> int:
        """How often a statement of its own has failed for want of space."""
        return sum(self.errors[code] for code in FULL)

    def __enter__(self) -> RunInThread:
        event.listen(Engine, "handle_error", self._note)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join()
        event.remove(Engine, "handle_error", self._note)


class DiskTrial:
    """Runs that let values grow, while an application writes and the disk is full for a while.

    :param clinic: patients as they are. :param rows: how many. :param disk: the database's.
    """

    def __init__(self, clinic: Clinic, rows: int, disk: SmallDisk) -> None:
        self._clinic = clinic
        self._rows = rows
        self._disk = disk
        self._expected = {row[0]: row[1:3] for row in clinic.values().values()}
        clinic.encryption.keys.create(LONG_NAME)

    def gives_up(self) -> None:
        """Let the disk be full for longer than a run waits; free it, and the next one ends well."""
        # In the middle of a range, where the rows are what there is no space for.
        run = self._run(outage_seconds=0.5, range_rows=10 * self._rows)
        run.begin(lambda: rows_written(self._clinic) > 0)
        with self._application() as application:
            self._is_full_for(application)
            try:
                with run:
                    pass
            finally:
                self._disk.free()
        assert isinstance(run.failure, DatabaseUnavailableError), run.failure
        assert "continues where it stopped" in str(run.failure)
        assert run.full >= MET, run.errors
        self._compare(application)
        with self._run() as another:
            pass
        self._compare(application)
        self._is_done(another)

    def goes_on(self) -> None:
        """Let the disk be full until a run has met it; free it, and the run ends well."""
        run = self._run()
        with self._application() as application:
            self._is_full_for(application)
            with run:
                try:
                    until(lambda: run.full >= MET or run.has_ended)
                finally:
                    self._disk.free()
        assert run.full >= MET, run.errors
        self._compare(application)
        self._is_done(run)

    def server_ends(self, server: Any) -> None:
        """Let the disk be full until the server ends itself; free the disk and start it again."""
        application = self._application()
        with application, self._run() as run:
            before = rows_written(self._clinic)
            until(lambda: rows_written(self._clinic) > before and application.commits > 0)
            self._disk.fill()
            try:
                # It recovers by itself as long as there is space for that.
                until(lambda: _fill_log(server))
            finally:
                self._disk.free()
            server.start()
        self._clinic.engine.dispose()
        self._compare(application)
        self._is_done(run)

    def _application(self) -> Application:
        return Application(
            self._clinic,
            threads=2,
            rows_at_once=4,
            rows=self._rows,
            model=GrowingPatient,
            outlives=True,
            rest_seconds=LONG_REST_SECONDS,
        )

    def _run(self, **options: Any) -> RunInThread:
        return RunInThread(self._clinic, rows_per_second=self._rows / 3, **options)

    def _is_full_for(self, application: Application) -> None:
        """Fill the disk, and wait until what the database had in reserve is used up too."""
        until(lambda: application.commits > 0)
        self._disk.fill()
        # What the database has in reserve takes many writes.
        application.rest_seconds = 0.0
        until(lambda: sum(code_of(error) in FULL for error in application.failures) >= MET)
        application.rest_seconds = LONG_REST_SECONDS

    def _compare(self, application: Application) -> None:
        assert not application.errors, application.errors
        for i, ssn in application.written.items():
            self._expected[i] = (ssn, self._expected[i][1])
        found = {row[0]: row[1:3] for row in self._clinic.values(GrowingPatient).values()}
        assert found == self._expected, "an update was lost or a value changed"

    def _is_done(self, run: RunInThread) -> None:
        assert run.failure is None, run.failure
        assert run.report is not None
        assert run.report.finished
        assert run.report.quarantined == ()
        keys = {key for key, _ in self._clinic.versions()}
        assert keys == {LONG_NAME}, "values were left behind"


def _fill_log(server: Any) -> bool:
    """Write to PostgreSQL's log, and to nothing else, until the server does not answer."""
    with (
        suppress(psycopg.OperationalError),
        closing(postgresql.connect(server.url)) as connection,
    ):
        while True:
            connection.execute("SELECT pg_logical_emit_message(false, '', repeat('x', 100000))")
    return server.has_ended


@contextmanager
def disk_trial(
    name: str, rows: int, *, everything: bool = False
) -> Iterator[tuple[Any, DiskTrial]]:
    """A private server on a small disk, and a trial in it.

    :param everything: see :func:`~tests.bulk.server_trial.private_server`.
    """
    with (
        closing(SmallDisk(MEGABYTES[name])) as disk,
        private_server(name, disk, everything=everything) as (server, backend),
    ):
        clinic = Clinic(backend)
        clinic.fill(rows)
        yield server, DiskTrial(clinic, rows, disk)


def fill_many(name: str, times: int, rows: int) -> None:
    """Let the disk of a private server be full, again and again."""
    for number in range(times):
        for strike in (DiskTrial.gives_up, DiskTrial.goes_on):
            with disk_trial(name, rows) as (_, trial):
                strike(trial)
        print(f"{name}: full disk {number + 1}: all values are as committed", flush=True)
    if name == "postgresql":
        with disk_trial(name, rows, everything=True) as (server, trial):
            trial.server_ends(server)
        print(f"{name}: ended by a full disk under its log: all values are as committed")
