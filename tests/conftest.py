"""Fixtures for every test: databases on three servers, and KMS.

``ENCFIELDS_TEST_BACKENDS=mysql`` has MySQL, or whichever are named, in the place of the three.
"""

from __future__ import annotations

import gc
import secrets
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
from sqlalchemy import URL

from tests.aws_sessions import remember_events
from tests.dafny_constants import remember_constants
from tests.known_data_keys import remember_data_keys
from tests.servers import localstack
from tests.servers import mariadb as mariadb_server
from tests.servers import mysql as mysql_server
from tests.servers import postgresql as postgresql_server
from tests.servers.backends import BACKENDS, AsyncBackend, Backend
from tests.servers.drivers import through_driver
from tests.servers.kms_proxy import KmsProxy
from tests.servers.localstack import LocalStackServer
from tests.servers.memory import folder_in_memory
from tests.servers.moto import ENVIRONMENT, Kms, MotoServer
from tests.servers.process import ServerError
from tests.servers.provision import existing, missing
from tests.servers.shared_tables import SharedFiles, SharedTables
from tests.turns import MARKERS, in_turn
from tests.waiting import PATIENCE

pytest_plugins = ["encfields.testing", "pytester", "tests.database"]

# A test run gives the same verdict twice, by the same examples, of which more would tell no more;
# `make fuzz` looks for what no run has seen yet.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, max_examples=40)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=20_000, print_blob=True)
hypothesis.settings.load_profile("suite")

remember_constants()
remember_data_keys()
remember_events()

_ASYNC_DRIVERS = {
    "sqlite": ["sqlite+aiosqlite"],
    "postgresql": ["postgresql+asyncpg", "postgresql+psycopg"],
    "mariadb": ["mysql+asyncmy"],
    "mysql": ["mysql+asyncmy"],
}
_ASYNC_NAMES = {
    f"{server}-{name.partition('+')[2]}": name
    for server, names in _ASYNC_DRIVERS.items()
    for name in names
}
_ASYNC_PARAMS = [name for name in _ASYNC_NAMES if name.partition("-")[0] in BACKENDS]


LONG = (
    "tests/bulk/test_kills.py",
    "tests/bulk/test_server_restart.py",
    "tests/bulk/test_disk_full.py",
    "tests/adoption/test_races.py",
    "tests/migrations/test_walk.py",
    "tests/bulk/test_outages.py",
    "tests/bulk/test_replica.py",
    "tests/bulk/test_live_table.py",
    "tests/bulk/test_workers_without_signals.py",
    "tests/differential/test_twins.py",
    "tests/testing_plugin/test_other_plugins.py",
    "tests/cli/test_process.py",
    "tests/keys/test_grace.py",
    "tests/keys/test_renewal.py",
    "tests/documents/test_code_blocks.py",
    "tests/documents/test_blind_indexes.py",
    "tests/tenants/test_processes.py",
    "tests/house/test_second_chance.py",
    "tests/backups/test_logical_replication.py",
    "tests/adoption/test_types.py",
    "tests/packaging/test_distribution.py",
    "tests/cli/test_reencrypt.py",
    "tests/tenants/test_no_mixing.py",
    "tests/alembic/test_killed.py",
    "tests/attach/test_fork.py",
    "tests/lazy/test_shows_nothing.py",
    "tests/lazy/test_writing.py",
    "tests/keys/test_kms_outages.py",
    "tests/house/test_sqlalchemy_privates.py",
    "tests/adoption/test_two_columns.py",
)
"""Files that take long though they have few tests, mostly because they wait."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the garbage collector leave the thousands of tests alone: they are there to stay.

    It would look through all of them time and again, to find nothing; and at what one test makes
    it need not look more than a few times.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)
        gc.enable()


def pytest_sessionfinish() -> None:
    """Pytest looks for garbage five times now. What the last tests made is not worth it."""
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have long files begin early: the last of them would leave the other workers idle.

    Each is followed by one that waits for nothing: several that wait at once leave idle cores.
    """
    items[:] = in_turn(items)
    sizes = Counter(item.nodeid.partition("::")[0] for item in items)
    busy = sorted(sizes.keys() - set(LONG), key=lambda file: (-sizes[file], file))
    waiting = [file for file in LONG if file in sizes]
    places = {file: 2 * number for number, file in enumerate(waiting)}
    places |= {file: 2 * number + 1 for number, file in enumerate(busy)}
    items.sort(key=lambda item: places[item.nodeid.partition("::")[0]])


@pytest.fixture(scope="session", autouse=True)
def _no_way_to_aws() -> Iterator[None]:
    """Dummy AWS credentials, and no endpoint but those that a fixture gives."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _patience_with_fetches() -> Iterator[None]:
    """An expired key's reader waits for its fetch for longer than half a second.

    On a busy machine the fetch's thread may not have begun by then.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("encfields.keys.cache.grace.PATIENCE", PATIENCE)
        yield


@pytest.fixture(scope="module")
def older_objects_stay() -> None:
    """``gc.collect()`` looks at what a file's own tests make.

    To look through what all tests before them have left takes most of a second, each time.
    """
    gc.freeze()


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """Endpoint URL of a moto server (KMS, DynamoDB), one for each pytest process."""
    server = MotoServer()
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def _kms_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Endpoint URL of KMS: moto's, or LocalStack's where that is asked for."""
    python = localstack.python()
    if python is None:
        yield request.getfixturevalue("moto_url")
        return
    server = LocalStackServer(python)
    yield server.url
    server.stop()


@pytest.fixture
def kms(_kms_url: str, moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Kms:
    """KMS with keys to be made; boto3 clients that are given no endpoint go to it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    if _kms_url != moto_url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", _kms_url)
    return Kms(_kms_url, dynamodb_url=moto_url)


@pytest.fixture
def kms_proxy(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsProxy]:
    """A counting, failing proxy before :func:`kms`; KMS clients without an endpoint go to it."""
    proxy = KmsProxy(kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", proxy.url)
    yield proxy
    proxy.stop()


@pytest.fixture(scope="session")
def _postgresql_database() -> Iterator[postgresql_server.ServerDatabase]:
    database = postgresql_server.ServerDatabase(
        _server(postgresql_server), _database_name(), durable=False
    )
    yield database
    database.drop()


@pytest.fixture(scope="session")
def _mariadb_database() -> Iterator[mariadb_server.ServerDatabase]:
    database = mariadb_server.ServerDatabase(_server(mariadb_server), _database_name())
    yield database
    database.drop()


@pytest.fixture(scope="session")
def _mysql_database() -> Iterator[mysql_server.ServerDatabase]:
    if "mysql" not in BACKENDS and not _is_there(mysql_server):
        pytest.skip(f"no MySQL was found; {mysql_server.VARIABLE} names one")
    database = mysql_server.ServerDatabase(_server(mysql_server), _database_name())
    yield database
    database.drop()


@pytest.fixture(scope="session")
def _sqlite_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="encfields-", dir=folder_in_memory()) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def _sqlite_files(_sqlite_folder: Path) -> SharedFiles:
    return SharedFiles(_sqlite_folder)


@pytest.fixture(scope="session")
def _postgresql_tables(_postgresql_database: postgresql_server.ServerDatabase) -> SharedTables:
    return SharedTables(_postgresql_database)


@pytest.fixture(scope="session")
def _mariadb_tables(_mariadb_database: mariadb_server.ServerDatabase) -> SharedTables:
    return SharedTables(_mariadb_database)


@pytest.fixture(scope="session")
def _mysql_tables(_mysql_database: mysql_server.ServerDatabase) -> SharedTables:
    return SharedTables(_mysql_database)


@pytest.fixture
def shared_tables() -> None:
    """The test's databases are not empty: they may hold what the test before it has shared.

    For fixtures that then ask for the tables by name: see :mod:`tests.servers.shared_tables`.
    """


def _shares_tables(request: pytest.FixtureRequest) -> bool:
    return "shared_tables" in request.fixturenames


def _sharing(
    request: pytest.FixtureRequest, backend: Backend, tables: SharedTables
) -> Iterator[Backend]:
    """A server's database for a test, which is empty unless the test asks for shared tables."""
    if not _shares_tables(request):
        tables.remove()
    backend.shared = tables
    yield backend
    backend.dispose()
    tables.end_test()


@pytest.fixture
def sqlite(
    request: pytest.FixtureRequest, _sqlite_folder: Path, _sqlite_files: SharedFiles
) -> Iterator[Backend]:
    """An empty SQLite database in a file."""
    with tempfile.TemporaryDirectory(dir=_sqlite_folder) as folder:
        path = Path(folder, "test.sqlite")
        _sqlite_files.begin_test(path, may_hold=_shares_tables(request))
        url = URL.create("sqlite", database=str(path))
        backend = Backend("sqlite", url, shared=_sqlite_files)
        yield backend
        backend.dispose()


@pytest.fixture
def postgresql(
    request: pytest.FixtureRequest,
    _postgresql_database: postgresql_server.ServerDatabase,
    _postgresql_tables: SharedTables,
) -> Iterator[Backend]:
    """An empty PostgreSQL database, through psycopg 3 or the driver that is asked for."""
    url = through_driver(_postgresql_database.url)
    backend = Backend("postgresql", url, _postgresql_database.kept)
    yield from _sharing(request, backend, _postgresql_tables)


@pytest.fixture
def mariadb(
    request: pytest.FixtureRequest,
    _mariadb_database: mariadb_server.ServerDatabase,
    _mariadb_tables: SharedTables,
) -> Iterator[Backend]:
    """An empty MariaDB database, through PyMySQL or the driver that is asked for."""
    backend = Backend("mariadb", through_driver(_mariadb_database.url))
    yield from _sharing(request, backend, _mariadb_tables)


@pytest.fixture
def mysql(
    request: pytest.FixtureRequest,
    _mysql_database: mysql_server.ServerDatabase,
    _mysql_tables: SharedTables,
) -> Iterator[Backend]:
    """An empty MySQL database, through PyMySQL or the driver that is asked for."""
    backend = Backend("mysql", through_driver(_mysql_database.url))
    yield from _sharing(request, backend, _mysql_tables)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """An empty database, on each of the servers in turn."""
    backend: Backend = request.getfixturevalue(request.param)
    return backend


@pytest.fixture(params=_ASYNC_PARAMS)
async def async_backend(request: pytest.FixtureRequest) -> AsyncIterator[AsyncBackend]:
    """An empty database, through each asyncio driver in turn."""
    server: str = request.param.partition("-")[0]
    backend = AsyncBackend(request.getfixturevalue(server), _ASYNC_NAMES[request.param])
    yield backend
    await backend.dispose()


def _is_there(kind: ModuleType) -> bool:
    """Whether a server is found; one that is named and not usable is, and fails the tests."""
    try:
        return existing(kind) is not None
    except ServerError:
        return True


def _server(kind: ModuleType) -> URL:
    """The server's URL; a missing server fails the test, it never skips it."""
    try:
        url = existing(kind)
        if url is None:
            raise missing(kind)
    except ServerError as error:
        pytest.fail(str(error), pytrace=False)
    return url


def _database_name() -> str:
    # Told apart from those of other processes and machines at the same server.
    return f"encfields_test_{secrets.token_hex(6)}"
