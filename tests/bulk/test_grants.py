"""A database user who lacks what a run needs, or may write nothing, is told so at once."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import URL, text

from encfields.bulk import Options, Reencryption
from encfields.bulk.errors import DatabaseUnavailableError, ReencryptionError
from encfields.bulk.runs.store import create_run_tables
from tests.bulk.support import PATIENT, Clinic, attach_to

STATEMENTS = {
    "postgresql": (
        "CREATE ROLE {user} LOGIN PASSWORD 'worker'",
        "GRANT USAGE ON SCHEMA public TO {user}",
        "GRANT SELECT, UPDATE ON patient TO {user}",
        "GRANT SELECT ON encfields_keys TO {user}",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    ),
    "mariadb": (
        "CREATE USER {user}@'localhost' IDENTIFIED BY 'worker'",
        "GRANT SELECT, UPDATE ON patient TO {user}@'localhost'",
        "GRANT SELECT ON encfields_keys TO {user}@'localhost'",
        "CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'worker'",
        "GRANT SELECT, UPDATE ON patient TO {user}@'127.0.0.1'",
        "GRANT SELECT ON encfields_keys TO {user}@'127.0.0.1'",
    ),
}
END = {
    "postgresql": ("DROP OWNED BY {user}", "DROP ROLE {user}"),
    "mariadb": ("DROP USER {user}@'localhost', {user}@'127.0.0.1'",),
}


@contextmanager
def worker(clinic: Clinic) -> Iterator[str]:
    """The URL of a user who may read and change patients, and read keys."""
    user, family = f"worker_{secrets.token_hex(4)}", clinic.backend.family
    with clinic.engine.begin() as connection:
        for statement in STATEMENTS[family]:
            connection.execute(text(statement.format(user=user)))
    try:
        url = clinic.backend.url.set(username=user, password="worker")
        yield url.render_as_string(hide_password=False)
    finally:
        with clinic.engine.begin() as connection:
            for statement in END[family]:
                connection.execute(text(statement.format(user=user)))


@pytest.mark.parametrize("tables", ["missing", "not granted"])
def test_a_run_without_its_rights_names_them_and_waits_for_nothing(clinic, tables):
    if clinic.backend.name == "sqlite":
        pytest.skip("SQLite has no users")
    if tables == "not granted":
        create_run_tables(clinic.engine)
    with worker(clinic) as url:
        engine, encryption = attach_to(url, create=False)
        # Whoever waited for the right to come would wait for longer than a test may take.
        options = Options(outage_seconds=3600)
        with pytest.raises(ReencryptionError) as caught:
            Reencryption(engine, encryption, PATIENT, options=options).run()
        engine.dispose()

    assert caught.value.reason == "denied", str(caught.value)
    for word in ("GRANT SELECT, INSERT, UPDATE, DELETE", "encfields_runs", "CREATE"):
        assert word in str(caught.value)
    said = {"postgresql": "permission denied for", "mariadb": "command denied to user"}
    assert said[clinic.backend.family] in str(caught.value)


def read_only(clinic: Clinic) -> URL:
    """The database as a replica shows it, or a server during a failover."""
    url: URL = clinic.backend.url
    if clinic.backend.family == "sqlite":
        return url.set(database=f"file:{url.database}", query={"mode": "ro", "uri": "true"})
    options = {
        "postgresql": {"options": "-c default_transaction_read_only=on"},
        "mariadb": {"init_command": "SET SESSION TRANSACTION READ ONLY"},
    }
    return url.update_query_dict(options[clinic.backend.family])


def test_a_run_in_a_database_that_is_read_only_is_not_begun_and_waits_for_nothing(clinic):
    url = read_only(clinic).render_as_string(hide_password=False)
    engine, encryption = attach_to(url, create=False)
    options = Options(outage_seconds=3600)
    with pytest.raises(DatabaseUnavailableError, match="accepts no writes") as caught:
        Reencryption(engine, encryption, PATIENT, options=options).run()
    engine.dispose()
    assert caught.value.reason == "read-only"
