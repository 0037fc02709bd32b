"""``--engine``: the application's own engine supplies the database, wherever one is asked for."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from sqlalchemy import text

from encfields.cli import exits
from encfields.cli.database import Database
from encfields.errors import ConfigurationError
from tests.census.clinic import fill
from tests.servers.backends import Backend

COLUMNS = ("--table", "patient", "--column", "ssn", "--column", "notes")


@pytest.fixture
def application(tmp_path: Path):
    """Make a module of an application; what is inside is named ``module:name``."""

    def make(*lines: str) -> str:
        name = f"application_{secrets.token_hex(4)}"
        (tmp_path / f"{name}.py").write_text("\n".join(lines))
        return name

    return make


def sync_engine(backend: Backend, options: str = "") -> tuple[str, ...]:
    return (
        "from sqlalchemy import create_engine",
        f"engine = create_engine({backend.url_text!r}, {options})",
    )


def test_each_command_takes_its_database(
    command, application, backend: Backend, engine, encryption, patients, local_key
):
    fill(engine, patients, range(1, 11))
    place = f"{application(*sync_engine(backend))}:engine"
    given = ("--engine", place)
    assert command("status", *given, *COLUMNS).code == exits.OK
    keyed = (*given, "--keyring", local_key)
    assert command("keys", "rotate", "default", *keyed).code == exits.OK
    assert command("reencrypt", "--start", *keyed, *COLUMNS).code == exits.OK
    assert command("verify", *keyed, *COLUMNS).code == exits.OK
    assert command("inspect", "patient.ssn", "1", *given).code == exits.OK
    found = {one["check"] for one in command("doctor", "--json", *keyed, *COLUMNS).json["findings"]}
    assert {"hide_parameters", "column patient.ssn"} <= found


def test_worker_processes_take_it_too(
    command, application, sqlite: Backend, local_key, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    place = f"{application(*sync_engine(sqlite))}:engine"
    assert "engine" in repr(Database(engine=place))
    made = Database(engine=place).new_engine()
    assert made.url.database == sqlite.create_engine().url.database


def test_a_file_names_it_and_a_url_outranks_it(command, application, sqlite: Backend, monkeypatch):
    place = f"{application(*sync_engine(sqlite))}:engine"
    Path("encfields.toml").write_text(f'engine = "{place}"')
    assert "the key table" in command("keys", "list").err
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", "sqlite:///from-the-environment.db")
    assert "from-the-environment.db" in command("keys", "list").err
    from_option = ("--database", "sqlite:///from-the-option.db")
    assert "from-the-option.db" in command("keys", "list", "--engine", place, *from_option).err


def test_it_connects_as_the_application_does(command, application, sqlite: Backend):
    module = application(
        "from sqlalchemy import create_engine, event",
        "connected, parameters = [], []",
        f"engine = create_engine({sqlite.url_text!r}, connect_args={{'timeout': 7}})",
        "@event.listens_for(engine, 'do_connect')",
        "def connecting(dialect, record, args, given): parameters.append(given['timeout'])",
        "@event.listens_for(engine, 'connect')",
        "def connect(connection, record): connected.append(connection)",
    )
    made = Database(engine=f"{module}:engine").new_engine()
    with made.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    made.dispose()
    application_module = __import__(module)
    assert application_module.parameters == [7]
    assert len(application_module.connected) == 1
    assert application_module.engine.pool.checkedin() == 0


@pytest.mark.parametrize(
    "name, driver", [("sqlite", "aiosqlite"), ("postgresql", "asyncpg"), ("mariadb", "asyncmy")]
)
def test_an_asyncio_engine_supplies_its_url(request, command, application, name, driver):
    backend: Backend = request.getfixturevalue(name)
    url = backend.create_engine().url
    kind = url.get_backend_name()
    async_url = url.set(drivername=f"{kind}+{driver}", query={})
    module = application(
        "from sqlalchemy.ext.asyncio import create_async_engine",
        f"engine = create_async_engine({async_url.render_as_string(hide_password=False)!r})",
    )
    told = command("keys", "list", "--engine", f"{module}:engine")
    assert told.code == exits.FAILED
    assert "the key table 'encfields_keys' is missing" in told.err


@pytest.mark.parametrize(
    "url, options, message",
    [
        ("postgresql+asyncpg://u@h/d?ssl=require", "", "no other driver understands ssl"),
        ("postgresql+asyncpg://u@h/d", "connect_args={'ssl': True}", "given its connect_args"),
    ],
)
def test_what_another_driver_does_not_know_is_refused_not_left_out(
    application, url, options, message
):
    module = application(
        "from sqlalchemy.ext.asyncio import create_async_engine",
        f"engine = create_async_engine({url!r}, {options})",
    )
    with pytest.raises(ConfigurationError, match=message):
        Database(engine=f"{module}:engine").new_engine()


@pytest.mark.parametrize(
    "lines, place, message",
    [
        ((), ":engine", "has no attribute 'engine'"),
        (("engine = 5",), ":engine", "is an int, not an engine"),
        (("raise RuntimeError('secret-in-here')",), ":engine", "raised RuntimeError"),
        ((), "", "engine is given as package.module:NAME"),
    ],
)
def test_what_is_no_engine_is_told_with_what_to_do(command, application, lines, place, message):
    told = command("keys", "list", "--engine", application(*lines) + place)
    assert told.code == exits.FAILED
    assert message in told.err
    assert "secret-in-here" not in told.err
