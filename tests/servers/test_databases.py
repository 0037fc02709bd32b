"""What tests are given as a database is a real server's, and empty."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    insert,
    inspect,
    make_url,
    select,
    text,
)

from tests.servers import mariadb, postgresql
from tests.servers.backends import AsyncBackend, Backend
from tests.servers.process import ServerError, free_port
from tests.servers.provision import WAYS, existing, servers

VERSION = {
    "sqlite": "SELECT 'SQLite ' || sqlite_version()",
    "postgresql": "SELECT version()",
    "mariadb": "SELECT version()",
    "mysql": "SELECT IF(version() LIKE '%MariaDB%', 'MariaDB', 'MySQL')",
}
PRODUCT = {
    "sqlite": "SQLite",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
    "mysql": "MySQL",
}
BYTES = Table(
    "bytes", MetaData(), Column("id", Integer, primary_key=True), Column("value", LargeBinary)
)


def test_a_backend_is_the_server_it_is_named_after(backend: Backend) -> None:
    with backend.create_engine().connect() as connection:
        version = connection.scalar(text(VERSION[backend.name]))
    assert PRODUCT[backend.name] in version


async def test_an_async_backend_is_the_server_it_is_named_after(
    async_backend: AsyncBackend,
) -> None:
    async with async_backend.create_engine().connect() as connection:
        version = await connection.scalar(text(VERSION[async_backend.name]))
    assert PRODUCT[async_backend.name] in version


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_an_empty_database(backend: Backend, turn: int) -> None:
    engine = backend.create_engine()
    assert inspect(engine).get_table_names() == []
    BYTES.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(BYTES), {"id": turn, "value": bytes(range(256))})
        assert connection.execute(select(BYTES)).one() == (turn, bytes(range(256)))


@pytest.mark.parametrize("turn", [1, 2])
def test_a_transaction_left_open_does_not_hold_up_the_next_test(
    backend: Backend, turn: int
) -> None:
    engine = backend.create_engine()
    BYTES.metadata.create_all(engine)
    connection = engine.connect()
    connection.execute(insert(BYTES), {"id": turn, "value": b""})
    assert connection.in_transaction()


async def test_an_async_backend_sees_what_its_sync_side_stores(async_backend: AsyncBackend) -> None:
    engine = async_backend.sync.create_engine()
    BYTES.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(BYTES), {"id": 1, "value": b"\x00\xff"})
    async with async_backend.create_engine().connect() as async_connection:
        row = (await async_connection.execute(select(BYTES))).one()
    assert row == (1, b"\x00\xff")


@pytest.mark.parametrize("kind", [postgresql, mariadb], ids=["postgresql", "mariadb"])
def test_a_named_server_that_is_not_there_is_an_error_and_not_replaced_by_another(
    kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_there = make_url(kind.EXAMPLE_URL).set(port=free_port())
    monkeypatch.setenv(kind.VARIABLE, nobody_there.render_as_string(hide_password=False))
    with pytest.raises(ServerError) as caught:
        existing(kind)
    assert "not usable" in str(caught.value)
    assert ":password@" not in str(caught.value)


def test_servers_that_are_not_available_are_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ServerError) as caught, servers(ways=[]):
        pass
    for word in (postgresql.PACKAGE, postgresql.VARIABLE, "apt-get install"):
        assert word in str(caught.value)


@pytest.mark.skipif(
    not (postgresql.installed() and mariadb.installed()),
    reason="this run's servers were named by URL: there are no binaries to start private ones from",
)
def test_private_servers_start_answer_and_leave_nothing_behind() -> None:
    """From the binaries alone, as where no server runs."""
    script = (
        "import os, sys\n"
        "from sqlalchemy import make_url\n"
        "from tests.servers import mariadb, postgresql\n"
        "for kind in (postgresql, mariadb):\n"
        "    url = make_url(os.environ[kind.VARIABLE])\n"
        "    kind.check(url)\n"
        "    print('answers at', url.port)\n"
    )
    command = [sys.executable, "-m", "tests.servers", "--ways", "private", "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", script],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ports = [int(line.split()[-1]) for line in done.stdout.splitlines() if "answers at" in line]
    assert len(ports) == 2
    assert done.stdout.count("private, from") == 2
    for kind, port in zip((postgresql, mariadb), ports, strict=True):
        with pytest.raises(ServerError):
            kind.check(kind._LOCAL.set(port=port))


def test_every_way_is_a_known_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.servers", "--ways", "magic", "--", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert all(way in done.stderr for way in WAYS)
