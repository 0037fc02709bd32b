"""The application goes on writing while a run is at work: nothing of it is undone or left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, event, select, text
from sqlalchemy.orm import Session

from encfields.engine import engine_encryption
from tests.bulk.application import Application
from tests.bulk.support import ROWS, VALUES, Patient
from tests.turns import databases_by_turns, on_each_database
from tests.waiting import until

pytestmark = databases_by_turns


@on_each_database
@pytest.mark.parametrize("rows_at_once", [1, 6])
def test_no_update_of_a_concurrent_writer_is_lost_and_none_is_a_deadlock_victim(
    clinic, rows_at_once
):
    clinic.fill(300, first=ROWS + 1)  # a run long enough to meet writers
    before = clinic.values()
    version = clinic.rotate()
    with Application(clinic, threads=3, rows_at_once=rows_at_once) as application:
        until(lambda: application.commits or application.errors)
        report = clinic.run(batch_rows=100).run()
    assert not application.errors
    assert report.finished
    expected = {
        key: (row[0], application.written.get(row[0], row[1]), *row[2:])
        for key, row in before.items()
    }
    assert clinic.values() == expected
    assert clinic.versions() == {("default", version): 834}


def in_the_middle(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> Callable[..., None]:
    """A progress callback that does `work` once, when some rows are done and some are not."""
    monkeypatch.setattr("encfields.bulk.runs.progress.REPORT_SECONDS", 0.0)
    done: list[Any] = []

    def progress(state: Any) -> None:
        if not done and 40 <= state.rows_done <= 160 and not state.sweep:
            done.append(state)
            work()
        if state.sweep:
            assert done

    return progress


def test_rows_deleted_during_the_run_do_not_come_back(clinic, monkeypatch):
    clinic.rotate()

    def work() -> None:
        with clinic.engine.begin() as connection:
            connection.execute(delete(Patient).where(Patient.id % 5 == 0))

    report = clinic.run().run(progress=in_the_middle(monkeypatch, work))
    assert report.finished
    assert len(clinic.values()) == ROWS - ROWS // 5


@on_each_database
def test_rows_deleted_between_reading_and_writing_do_not_come_back(clinic):
    """The run has read them and sealed them anew when they go."""
    newest = clinic.rotate()
    sealed: list[int] = []

    def removed(*arguments: Any) -> None:
        if not sealed:
            sealed.append(1)
            with clinic.backend.create_engine().begin() as connection:
                connection.execute(text("DELETE FROM patient WHERE id <= 10"))

    original = engine_encryption(clinic.encryption).find_key

    def find_key(key_id: str, version: str) -> Any:
        if version != newest:  # the run's own job is sealed under the new one
            removed()
        return original(key_id, version)

    engine_encryption(clinic.encryption).find_key = find_key
    report = clinic.run().run()
    engine_encryption(clinic.encryption).find_key = original
    assert report.rows_skipped_locked >= 10
    assert sorted(clinic.values())[0] == (11,)
    assert report.finished
    assert clinic.versions() == {("default", newest): VALUES - 10 - 7}


def test_rows_inserted_behind_the_cursor_under_the_old_version_are_found(clinic, monkeypatch):
    """An application process seals under the version before until its cache expires."""
    engine, encryption = clinic.setup()
    engine_encryption(encryption).active_key("default")
    version = clinic.rotate()

    def work() -> None:
        with Session(engine) as session:
            session.add_all([Patient(id=-i, ssn=f"late {i}") for i in range(1, 20)])
            session.add_all([Patient(id=1000 + i, ssn=f"late {i}") for i in range(1, 20)])
            session.commit()

    report = clinic.run().run(progress=in_the_middle(monkeypatch, work))
    engine.dispose()
    assert report.finished
    assert report.rows_written == ROWS + 38
    assert clinic.versions() == {("default", version): VALUES + 38}
    assert clinic.values()[(-7,)][1] == "late 7"


def test_a_row_whose_key_moves_behind_the_cursor_is_found(clinic, monkeypatch):
    engine, encryption = clinic.setup()
    engine_encryption(encryption).active_key("default")
    version = clinic.rotate()

    def work() -> None:
        with Session(engine) as session:
            patient = session.scalars(select(Patient).where(Patient.id == 190)).one()
            patient.id = -190
            session.commit()

    report = clinic.run().run(progress=in_the_middle(monkeypatch, work))
    engine.dispose()
    assert report.finished
    assert clinic.values()[(-190,)][1] == "ssn 190"
    assert clinic.versions() == {("default", version): VALUES}


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)
def test_a_row_that_the_application_holds_locked_is_not_waited_for(clinic, monkeypatch):
    version = clinic.rotate()
    holder = clinic.backend.create_engine()
    connection = holder.connect()
    connection.execute(text("SELECT id FROM patient WHERE id IN (3, 77) FOR UPDATE"))
    release: list[int] = []

    def progress(state: Any) -> None:
        if state.sweep and not release:  # every other row is done by now
            release.append(state.rows_written)
            connection.close()

    monkeypatch.setattr("encfields.bulk.runs.progress.REPORT_SECONDS", 0.0)
    report = clinic.run().run(progress=progress)
    assert release == [ROWS - 2]
    assert report.finished
    assert report.rows_skipped_locked >= 2
    assert clinic.versions() == {("default", version): VALUES}


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)
def test_a_run_that_the_application_never_lets_finish_says_so(clinic):
    clinic.rotate()
    holder = clinic.backend.create_engine()
    with holder.connect() as connection:
        connection.execute(text("SELECT id FROM patient WHERE id = 3 FOR UPDATE"))
        report = clinic.run(max_sweeps=2).run()
    assert not report.finished
    assert "holds rows locked" in (report.error or "")
    assert clinic.run().run().finished


def test_the_runs_transactions_are_its_own_and_see_none_of_the_applications_listeners(clinic):
    clinic.rotate()
    seen = []
    event.listen(clinic.engine, "before_cursor_execute", lambda *a: seen.append(a[2]))
    clinic.run().run()
    assert not [statement for statement in seen if "patient" in statement]
