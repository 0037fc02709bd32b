"""``encfields doctor``: each thing that would fail is found, and nothing is alarmed about."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from encfields import keyrings
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.cli import exits
from encfields.doctor.database import check_columns
from encfields.doctor.engine import check_hazards
from encfields.doctor.key_table import check_fork
from encfields.doctor.row_keys import check_row_keys
from encfields.errors import KeyUnavailableError
from encfields.keys.cache.renewal import renewer
from tests.cli.conftest import on_sqlite
from tests.database import CANARY
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

TABLE = ("--table", "patient", "--column", "ssn", "--column", "notes")


def verdicts(result) -> dict[str, str]:
    return {one["check"]: one["verdict"] for one in result.json["findings"]}


def told(result, check: str) -> str:
    return next(one["detail"] for one in result.json["findings"] if one["check"] == check)


@pytest.fixture
def doctor(on_database):
    return lambda *arguments: on_database("doctor", "--json", *arguments)


def test_a_healthy_setup(doctor, patients, local_key):
    result = doctor("--keyring", local_key, *TABLE)

    assert result.code == exits.OK
    assert result.json["healthy"] is True
    found = verdicts(result)
    assert "problem" not in found.values()
    assert found["active keys"] == found["key table encfields_keys"] == "ok"
    assert found["forked child"] == "ok"
    assert found["material providers"] == found["SQLAlchemy"] == "ok"
    assert found["column patient.ssn"] == found["column patient.notes"] == "ok"
    assert found["keyring"] == "warning"  # a local key
    assert doctor("--keyring", local_key, *TABLE, "--strict").code == exits.FAULTS


def test_a_key_store_named_only_in_the_database_is_a_warning(doctor, patients, local_key):
    """Whoever writes to the key table can change the name there."""
    result = doctor("--keyring", local_key, *TABLE)
    assert verdicts(result)["key store name"] == "warning"
    name = told(result, "key store name").partition("'")[2].partition("'")[0]
    assert f"SqlKeyStore(..., name={name!r})" in told(result, "key store name")

    result = doctor("--keyring", local_key, "--key-store", name, *TABLE)
    assert verdicts(result)["key store name"] == "ok"
    result = doctor("--keyring", local_key, "--key-store", "staging", *TABLE)
    assert verdicts(result)["key store name"] == "problem"
    assert result.code == exits.FAULTS


@on_sqlite
def test_people_get_a_table(on_database, patients, local_key):
    result = on_database("doctor", "--keyring", local_key, *TABLE)
    assert result.code == exits.OK
    assert "0 problems" in result.out
    assert "1 keys, 1 versions, 0 destroyed" in result.out


@on_each_database
def test_the_clock_is_compared_with_the_databases(doctor, backend: Backend, patients, local_key):
    found = verdicts(doctor("--keyring", local_key))
    assert found["clock"] == ("skipped" if backend.name == "sqlite" else "ok")


def test_without_a_keyring_what_needs_none_is_looked_at(doctor, patients):
    found = verdicts(doctor(*TABLE))
    assert found["keyring"] == found["active keys"] == "skipped"
    assert found["key table encfields_keys"] == found["column patient.ssn"] == "ok"


@on_each_database
def test_a_missing_key_table(doctor, local_key):
    result = doctor("--keyring", local_key)
    assert result.code == exits.FAULTS
    assert verdicts(result)["key table encfields_keys"] == "problem"
    assert "is missing" in told(result, "key table encfields_keys")


def test_no_key_yet(doctor, encryption, engine, local_key):
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM encfields_keys")
    result = doctor("--keyring", local_key)
    assert verdicts(result)["key table encfields_keys"] == "problem"


def test_keys_that_another_keyring_wrapped(doctor, encryption, tmp_path):
    keyrings.generate_local_key(tmp_path / "other.key")
    result = doctor("--keyring", f"local:{tmp_path / 'other.key'}")
    assert result.code == exits.FAULTS
    assert "none of the keyring's wrapping keys opens this key" in told(result, "active keys")


@on_each_database
def test_columns_that_cannot_hold_messages(doctor, engine, encryption, local_key, backend):
    binary = {"sqlite": "BLOB", "postgresql": "BYTEA", "mariadb": "VARBINARY(400)"}[backend.family]
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE patient (id INTEGER PRIMARY KEY, ssn VARCHAR(400), notes {binary})"
        )
    result = doctor("--keyring", local_key, *TABLE, "--column", "gone")
    found = verdicts(result)
    assert found["column patient.ssn"] == found["column patient.gone"] == "problem"
    assert found["column patient.notes"] == ("warning" if backend.family == "mariadb" else "ok")
    assert result.code == exits.FAULTS
    result = doctor("--keyring", local_key, "--table", "nothing", "--column", "x")
    assert verdicts(result)["table nothing"] == "problem"


def test_plaintext_in_an_encrypted_column(doctor, engine, patients, local_key):
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO patient (id, name, ssn) VALUES (1, 'a', :v), (2, 'b', :v)"),
            {"v": CANARY.encode()},
        )
    result = doctor("--keyring", local_key, *TABLE)
    assert result.code == exits.FAULTS
    assert verdicts(result)["values of patient"] == "problem"
    assert "ssn: 2 values are plaintext" in told(result, "values of patient")
    assert CANARY not in result.out


@pytest.mark.parametrize("kind", ["out of reach", "no database"])
def test_a_database_that_cannot_be_asked_is_told_of_and_raises_no_drivers_error(tmp_path, kind):
    file = tmp_path / "x.db"
    file.write_text("no database" * 100)
    url = "mysql+pymysql://127.0.0.1:1/x" if kind == "out of reach" else f"sqlite:///{file}"
    spec = TableSpec.of("person", [SealedColumn("ssn")])
    (columns,) = check_columns(create_engine(url), [spec])
    (row_keys,) = check_row_keys(create_engine(url), [spec])
    assert (columns.verdict, row_keys.verdict) == ("problem", "skipped")
    assert ("out of reach" in columns.detail) == (kind == "out of reach")


@on_each_database
def test_a_key_that_the_database_alone_changes(doctor, engine, encryption, local_key, backend):
    """The declaration says nothing of it: it would be refused."""
    binary = {"sqlite": "BLOB", "postgresql": "BYTEA", "mariadb": "LONGBLOB"}[backend.family]
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE person (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql(
            "CREATE TABLE patient (id INTEGER PRIMARY KEY, ward INTEGER, number INTEGER, "
            f"twice INTEGER GENERATED ALWAYS AS (number * 2) STORED, ssn {binary}, notes {binary}, "
            "FOREIGN KEY (id) REFERENCES person (id) ON UPDATE CASCADE ON DELETE CASCADE, "
            "FOREIGN KEY (ward) REFERENCES person (id) ON UPDATE SET NULL)"
        )
    result = doctor("--keyring", local_key, *TABLE)
    assert result.code == exits.FAULTS
    assert verdicts(result)["row key of patient"] == "problem"
    cascade = "the database changes id by itself, by ON UPDATE CASCADE of a foreign key to person"
    assert told(result, "row key of patient").startswith(cascade)

    elsewhere = TableSpec.of("patient", [SealedColumn("ssn", bind_to=("twice",), key="t/{ward}")])
    found = [finding.detail for finding in check_row_keys(engine, [elsewhere])]
    assert [detail.partition(" by itself, ")[0] for detail in found] == [
        "the database changes twice",
        "the database changes ward",
    ]
    of_nothing_else = TableSpec.of("person", [SealedColumn("ssn")])
    assert [finding.verdict for finding in check_row_keys(engine, [of_nothing_else])] == ["ok"]


def test_an_alias_in_place_of_an_arn(doctor, encryption):
    result = doctor("--keyring", "kms:alias/clinic")
    assert result.code == exits.FAULTS
    assert "is not the full ARN" in told(result, "keyring")
    assert verdicts(result)["key table encfields_keys"] == "ok"


# -- KMS -------------------------------------------------------------------------------------------


@pytest.fixture
def kms_doctor(command, kms, kms_proxy, sqlite: Backend, monkeypatch):
    """The doctor, with two KMS keys that hold one branch key; and their ARNs."""
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", sqlite.url_text)
    arns = kms.create_key(), kms.create_key("eu-central-1")
    monkeypatch.setenv("ENCFIELDS_KEYRING", "kms:" + ",".join(arns))
    assert command("keys", "create", "default", "--create-table").code == exits.OK
    kms_proxy.reset()
    return (lambda *arguments: command("doctor", "--json", *arguments)), arns


def test_every_action_on_every_key_is_tried(kms_doctor, kms_proxy):
    doctor, arns = kms_doctor
    result = doctor("--key-id", "tenant/1")

    assert result.code == exits.OK
    found = verdicts(result)
    for arn in arns:
        for action in ("GenerateDataKey", "Encrypt", "Decrypt"):
            assert found[f"kms:{action} {arn}"] == "ok"
    asked = [call.request for call in kms_proxy.calls if "EncryptionContext" in call.request]
    ids = [one["EncryptionContext"]["enc:key-id"] for one in asked]
    # The key in the table is opened in a thread, here, and in a forked child.
    assert ids == 6 * ["tenant/1"] + 3 * ["default"]
    assert found["forked child"] == "ok"


def test_an_applications_role_may_only_decrypt_and_that_is_right(kms_doctor, kms_proxy):
    doctor, arns = kms_doctor
    kms_proxy.fail("deny", actions={"GenerateDataKey", "Encrypt"})
    result = doctor()

    assert result.code == exits.OK
    found = verdicts(result)
    assert found[f"kms:GenerateDataKey {arns[0]}"] == "warning"
    assert "right for an application" in told(result, f"kms:GenerateDataKey {arns[0]}")
    assert found[f"kms:Decrypt {arns[0]}"] == "skipped"
    assert found["active keys"] == "ok"


def test_a_role_that_may_not_decrypt(kms_doctor, kms_proxy):
    doctor, arns = kms_doctor
    kms_proxy.fail("deny", actions={"Decrypt"})
    result = doctor()

    assert result.code == exits.FAULTS
    found = verdicts(result)
    assert found[f"kms:Decrypt {arns[0]}"] == found["active keys"] == "problem"
    denied = told(result, f"kms:Decrypt {arns[0]}")
    assert denied.startswith(f"denied: Decrypt by {arns[0]}: AccessDenied")


@pytest.mark.parametrize(
    "failure, reason", [("refuse", "unreachable"), ("disabled", "disabled"), ("error", "error")]
)
def test_an_outage_and_a_disabled_key_are_told_apart(kms_doctor, kms_proxy, failure, reason):
    doctor, arns = kms_doctor
    kms_proxy.fail(failure)
    result = doctor()

    assert result.code == exits.FAULTS
    assert told(result, f"kms:GenerateDataKey {arns[0]}").startswith(f"{reason}: ")


def test_one_region_only_is_worth_a_word(command, kms, sqlite: Backend, monkeypatch):
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", sqlite.url_text)
    keyring = f"kms:{kms.create_key()},{kms.create_key()}"
    result = command("doctor", "--json", "--keyring", keyring)
    assert "while that region is out of reach" in told(result, "keyring")


# -- the application's engine ----------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_renewal_of_others() -> None:
    """Caches that other tests left keep a thread, which an application's state is told by."""
    for cache in list(renewer._caches):
        renewer.forget(cache)
    while renewer.is_running:
        time.sleep(0.005)


@pytest.fixture
def application(command, sqlite: Backend, local_key, tmp_path: Path, monkeypatch):
    """Run the doctor on an application whose module holds the given lines."""
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", sqlite.url_text)

    def run(options: str = "", *lines: str):
        name = f"application_{secrets.token_hex(4)}"
        source = [
            "from sqlalchemy import create_engine, pool",
            "from encfields import SqlKeyStore, attach, keyrings",
            f"engine = create_engine({sqlite.url_text!r}, {options})",
            *lines,
        ]
        (tmp_path / f"{name}.py").write_text("\n".join(source))
        return command("doctor", "--json", "--engine", f"{name}:engine")

    return run


ATTACH = "attach(engine, SqlKeyStore(keyrings.local(bytes(32))))"


def test_an_engine_in_order(application):
    found = verdicts(application("hide_parameters=True", ATTACH))
    for check in ("attach()", "echo", "hide_parameters", "pool", "threads", "fork", "preload"):
        assert found[check] == "ok"
    assert found["multiprocessing"] == "ok"


def test_the_name_that_an_application_gives_its_key_store_is_the_one_checked(application):
    named = ATTACH.replace("bytes(32))", "bytes(32)), name='production'")
    makes = f"keys = {named}.keys", "keys.create_table()", "keys.create('default')"
    assert verdicts(application("", *makes))["key store name"] == "ok"
    assert verdicts(application("", ATTACH))["key store name"] == "warning"
    other = named.replace("production", "staging")
    assert verdicts(application("", other))["key store name"] == "problem"


def test_an_engine_that_tells_too_much(application):
    assert verdicts(application("echo='debug'"))["echo"] == "problem"
    found = verdicts(application("echo=True"))
    assert found["echo"] == found["hide_parameters"] == found["attach()"] == "warning"


def test_a_pool_whose_connection_is_shared_between_threads(application):
    result = application("poolclass=pool.StaticPool")
    assert verdicts(result)["pool"] == "warning"
    assert "one connection for all threads" in told(result, "pool")


def test_a_pool_that_closes_connections_in_use(application):
    result = application("poolclass=pool.SingletonThreadPool, pool_size=3")
    assert verdicts(result)["pool"] == "warning"
    assert "its size of 3" in told(result, "pool")


@pytest.mark.parametrize("use", ["engine.connect().close()", "connection = engine.connect()"])
def test_connections_that_a_fork_would_share(application, use):
    result = application("", use)
    assert verdicts(result)["fork"] == "problem"
    assert "leaves 1 database connection(s) open" in told(result, "fork")
    assert "dispose(close=False)" in told(result, "fork")


def test_connections_that_are_given_up_before_a_fork(application):
    result = application("", "engine.connect().close()", "engine.dispose()")
    assert verdicts(result)["fork"] == "ok"


def test_keys_that_are_fetched_before_a_fork(application):
    """From Python 3.12 on a thread of ours, which renews them, would make the fork warn."""
    result = application("", ATTACH.replace("))))", "))), create=True)"))
    assert verdicts(result)["fork"] == ("ok" if sys.version_info < (3, 12) else "warning")
    assert "cache_renewal=0" in told(result, "fork")


def test_threads_that_a_fork_would_lose(application):
    stop = threading.Event()
    monkey = threading.Thread(target=stop.wait, name="of-the-application")
    monkey.start()
    result = application()
    stop.set()
    monkey.join()
    assert verdicts(result)["fork"] == "warning"
    assert "of-the-application" in told(result, "fork")


PRELOADS = {
    "gunicorn.conf.py": ("preload_app = True", "# preload_app = True"),
    "uwsgi.ini": ("[uwsgi]\nmodule = app", "[uwsgi]\nlazy-apps = true\n"),
}


@pytest.mark.parametrize("server", PRELOADS)
def test_a_server_that_imports_first_and_forks_then(application, tmp_path, monkeypatch, server):
    monkeypatch.chdir(tmp_path)
    preloads, does_not = PRELOADS[server]
    file = tmp_path / server
    file.write_text(preloads)
    assert verdicts(application("", "engine.connect().close()"))["preload"] == "problem"
    result = application()
    assert verdicts(result)["preload"] == "ok"
    assert server in told(result, "preload")
    file.write_text(does_not)
    assert "no server was found" in told(application("", "engine.connect().close()"), "preload")


def test_gunicorn_that_is_told_so_in_the_environment(application, monkeypatch):
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 4 --preload")
    result = application("", "engine.connect().close()")
    assert verdicts(result)["preload"] == "problem"
    assert "post_fork" in told(result, "preload")


@pytest.mark.parametrize(
    "method, platform, verdict",
    [
        ("fork", "linux", "ok"),
        ("spawn", "linux", "ok"),
        ("fork", "darwin", "problem"),
        ("spawn", "darwin", "ok"),
    ],
)
def test_how_processes_are_started(monkeypatch, sqlite: Backend, method, platform, verdict):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: method)
    found = {one.check: one for one in check_hazards(sqlite.create_engine(), platform)}
    assert found["multiprocessing"].verdict == verdict


class Inherits:
    """A key store that works in the process that made it alone: what the probe is for."""

    def __init__(self, failure: str) -> None:
        self.failure = failure
        self.pid = os.getpid()

    def active(self, key_id: str) -> str:
        if os.getpid() == self.pid:
            return key_id
        if self.failure == "hangs":
            time.sleep(60)
        elif self.failure == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise KeyUnavailableError("the child's connection is the parent's", reason="error")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("failure", ["fails", "hangs", "dies"])
def test_a_store_that_does_not_survive_a_fork_is_found(monkeypatch, failure):
    monkeypatch.setattr("encfields.doctor.key_table.SECONDS", 1)
    store: Any = Inherits(failure)
    found = check_fork(store, "default")
    assert found.verdict == "problem"
    expected = "the child's connection is the parent's" if failure == "fails" else "an answer"
    assert expected in found.detail
    with suppress(ChildProcessError):  # there are no others
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)  # none is left to be reaped


def test_an_engine_that_is_none(command, sqlite: Backend, monkeypatch):
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", sqlite.url_text)
    for place in ("os:sep", "no.such:engine"):
        result = command("doctor", "--engine", place)
        assert result.code == exits.FAILED
        assert place in result.err
