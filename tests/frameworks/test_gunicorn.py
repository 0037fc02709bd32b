"""gunicorn with ``--preload``: the application is imported once and forked into its workers."""

from __future__ import annotations

import http.client
import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.frameworks.processes import running, wait_for
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import Backend
from tests.servers.process import HOST, free_port

# It starts processes, on a machine that may be busy with other things.
pytestmark = pytest.mark.timeout(600)

WORKERS = 3

APPLICATION = """
import json
import os

from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, encryption_of, keyrings


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))


engine = create_engine(os.environ["DATABASE"])
Base.metadata.create_all(engine)
attach(
    engine,
    SqlKeyStore(keyrings.local(bytes.fromhex(os.environ["WRAPPING_KEY"]))),
    create=True,
    # No thread that renews keys before the fork.
    cache_renewal=0,
)
if os.environ["USED_BEFORE_THE_FORK"]:
    with Session(engine) as session:
        session.add(Patient(ssn="preloaded"))
        session.commit()
        assert session.scalars(select(Patient.ssn)).all() == ["preloaded"]


def application(environ, start_response):
    ssn = environ["QUERY_STRING"]
    with Session(engine) as session:
        if environ["REQUEST_METHOD"] == "POST":
            session.add(Patient(ssn=ssn))
            session.commit()
        found = session.scalars(select(Patient.ssn).where(Patient.ssn == ssn)).all()
        stats = encryption_of(session.get_bind()).stats
        body = {"worker": os.getpid(), "found": found, "fetched": stats.keys.store_calls}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
"""

CONFIGURATION = """
def post_fork(server, worker):
    from application import engine

    # What was connected before the fork belongs to the parent.
    engine.dispose(close=False)
"""


def _request(port: int, method: str, ssn: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request(method, f"/?{ssn}")
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return dict(json.loads(body))
    finally:
        connection.close()


def _answers(port: int) -> bool:
    try:
        _request(port, "GET", "nobody")
    except OSError:
        return False
    return True


@pytest.mark.parametrize("used", ["", "used before the fork"], ids=["attached", "used"])
def test_workers_that_are_forked_read_write_and_look_up(
    backend: Backend, tmp_path: Path, used: str
) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION)
    port = free_port()
    options = [f"--bind={HOST}:{port}", f"--workers={WORKERS}", "--preload", "--timeout=120"]
    environment = {
        "DATABASE": backend.url_text,
        "WRAPPING_KEY": secrets.token_hex(32),
        "USED_BEFORE_THE_FORK": used,
    }
    numbers: dict[int, int] = {}
    written = ["preloaded"] if used else []
    with running(["gunicorn", *options, "application:application"], tmp_path, **environment) as out:
        wait_for(lambda: _answers(port), out)

        def every_worker_wrote() -> bool:
            ssn = f"ssn-{len(written)}"
            answer = _request(port, "POST", ssn)
            written.append(ssn)
            assert answer["found"] == [ssn]
            numbers[answer["worker"]] = answer["fetched"]
            return len(numbers) == WORKERS

        wait_for(every_worker_wrote, out)
        for ssn in written:
            assert _request(port, "GET", ssn)["found"] == [ssn]
    # Each fetched its keys itself: none used a copy, or a KMS client, of the parent's.
    assert all(fetched >= 1 for fetched in numbers.values())
    assert_sealed(backend.create_engine(), "patient", "ssn", *written)
