"""Celery's prefork pool: a worker whose parent used the engine before it forked."""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from encfields.bulk import Reencryption, Report, TableSpec
from encfields.bulk.reencryption import report_of
from encfields.errors import UnsupportedOperationError
from tests.frameworks.processes import PATIENCE, running, wait_for
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import Backend

# It starts processes, on a machine that may be busy with other things.
pytestmark = pytest.mark.timeout(600)

BULK_RUN = """
@app.task(acks_late=True, reject_on_worker_lost=True, time_limit=None)
def reencrypt():
    reports = work(engine, encryption, options=Options(rows_per_second=2000))
    return [report.state for report in reports]
"""
"""As docs/many-hosts.md has it."""

APPLICATION = """
import os

from celery import Celery
from celery.signals import worker_process_init
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.bulk import Options, work

HERE = os.environ["CELERY_FOLDER"]
app = Celery("application", broker="filesystem://", backend=f"file://{HERE}/results")
app.conf.update(
    broker_transport_options={
        "data_folder_in": f"{HERE}/queue",
        "data_folder_out": f"{HERE}/queue",
        "control_folder": f"{HERE}/control",
    },
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
)


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))


DATABASE = os.environ["DATABASE"]
# Two processes write to SQLite at once, perhaps on a busy machine.
patience = {"timeout": 60} if DATABASE.startswith("sqlite") else {}
engine = create_engine(DATABASE, connect_args=patience)
encryption = attach(
    engine,
    SqlKeyStore(keyrings.local(bytes.fromhex(os.environ["WRAPPING_KEY"]))),
    create=True,
    cache_renewal=0,
)
Base.metadata.create_all(engine)
with Session(engine) as session:
    # The parent reads and writes before it forks, and the process that sends tasks does as well.
    session.add(Patient(ssn=f"of {os.getpid()}"))
    session.commit()


@worker_process_init.connect
def forget_connections(**named):
    engine.dispose(close=False)


@app.task
def register(ssn):
    with Session(engine) as session:
        patient = Patient(ssn=ssn)
        session.add(patient)
        session.commit()
        return patient.id, os.getpid(), os.getppid()


@app.task
def find(ssn):
    with Session(engine) as session:
        return session.scalars(select(Patient.id).where(Patient.ssn == ssn)).all()


@app.task
def find_like(ssn):
    with Session(engine) as session:
        return session.scalars(select(Patient.id).where(Patient.ssn.like(ssn))).all()


@app.task
def whoami():
    return os.getpid()
"""


ROWS, SLOWLY = 400, 100


@pytest.fixture
def application(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that the worker imports, imported here as well, to send tasks."""
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    file = tmp_path / "application.py"
    file.write_text(APPLICATION + BULK_RUN.replace("2000", f"{SLOWLY}, lease_seconds=5"))
    monkeypatch.setenv("CELERY_FOLDER", str(tmp_path))
    monkeypatch.setenv("DATABASE", backend.url_text)
    monkeypatch.setenv("WRAPPING_KEY", secrets.token_hex(32))
    spec = importlib.util.spec_from_file_location("application", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "application", module)
    spec.loader.exec_module(module)
    yield module
    module.engine.dispose()
    module.app.close()


def test_tasks_in_forked_processes_write_and_look_up(
    application: Any, backend: Backend, tmp_path: Path
) -> None:
    values = [f"123-45-678{number}" for number in range(4)]
    sent = [application.register.delay(value) for value in values]
    worker = ["celery", "-A", "application", "worker", "--pool=prefork", "--concurrency=2"]
    with running([*worker, "--loglevel=INFO"], tmp_path) as output:
        wait_for(lambda: all(task.ready() for task in sent), output)
        answers = [task.get(timeout=PATIENCE) for task in sent]
        found = [application.find.delay(value) for value in values]
        wait_for(lambda: all(task.ready() for task in found), output)
        numbers = [task.get(timeout=PATIENCE) for task in found]
        refused = application.find_like.delay("123%")
        wait_for(refused.ready, output)
        with pytest.raises(UnsupportedOperationError, match=r"^patient\.ssn: "):
            refused.get(timeout=PATIENCE)
    assert numbers == [[number] for number, _, _ in answers]
    assert all(child != parent for _, child, parent in answers)
    parents = [f"of {number}" for number in range(2)]
    assert_sealed(backend.create_engine(), "patient", "ssn", *values, *parents)
    # Task arguments are the application's: it sent the values in clear, and the worker logs none.
    assert not any(value in output.read_text() for value in values)


def test_a_run_whose_process_is_killed_is_delivered_again_and_goes_on(
    application: Any, tmp_path: Path
) -> None:
    with Session(application.engine) as session:
        session.add_all(application.Patient(ssn=f"{number}") for number in range(ROWS))
        session.commit()
    application.encryption.keys.rotate("default")
    table = TableSpec.from_table(application.Patient.__table__)
    run_id = Reencryption(application.engine, application.encryption, table).record()
    worker = ["celery", "-A", "application", "worker", "--pool=prefork", "--concurrency=1"]

    def progress() -> Report:
        return report_of(application.engine, run_id)

    with running([*worker, "--loglevel=INFO"], tmp_path) as output:
        first = application.whoami.delay()
        wait_for(first.ready, output)
        task = application.reencrypt.delay()
        wait_for(lambda: progress().rows_written > 0, output)
        os.kill(first.get(timeout=PATIENCE), signal.SIGKILL)
        wait_for(lambda: progress().finished, output)
        wait_for(task.ready, output)
        again = application.whoami.delay()
        wait_for(again.ready, output)
        # Nothing is left for it, if this machine was so busy that the kill came late.
        assert task.get(timeout=PATIENCE) in (["finished"], [])
        assert again.get(timeout=PATIENCE) != first.get(timeout=PATIENCE)
    assert progress().rows_seen >= ROWS


def test_the_page_on_many_hosts_shows_this_task() -> None:
    page = Path(__file__).parents[2] / "docs" / "many-hosts.md"
    assert BULK_RUN.strip() in page.read_text()
