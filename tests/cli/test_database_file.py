"""No command creates the SQLite file of a mistyped path, but for those that create its tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine

from encfields.cli import exits
from encfields.cli.database import require_file

COLUMNS = ("--table", "patient", "--column", "ssn")


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", *COLUMNS),
        ("verify", *COLUMNS),
        ("inspect", "patient.ssn", "1"),
        ("reencrypt", "--start", *COLUMNS),
        ("reencrypt", "--show", "all"),
        ("index", "plan", *COLUMNS),
        ("keys", "list"),
        ("keys", "create", "default"),
        ("keys", "rotate", "default"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_file_that_is_not_there_is_an_error_and_is_not_created(command, local_key, arguments):
    given = ("--database", "sqlite:///mistyped.db", "--keyring", local_key)
    told = command(*arguments, *given)
    assert told.code == exits.FAILED
    assert "there is no SQLite file" in told.err
    assert "mistyped.db" in told.err
    assert not Path("mistyped.db").exists()


def test_doctor_tells_of_it_among_its_findings(command):
    told = command("doctor", "--database", "sqlite:///mistyped.db")
    assert told.code == exits.FAULTS
    assert "there is no SQLite file" in told.out
    assert "1 problem, " in told.out
    assert not Path("mistyped.db").exists()


@pytest.mark.parametrize(
    "arguments", [("keys", "create-table"), ("keys", "create", "default", "--create-table")]
)
def test_the_key_table_may_be_the_first_thing_in_it(command, local_key, arguments):
    told = command(*arguments, "--database", "sqlite:///new.db", "--keyring", local_key)
    assert told.code == exits.OK
    assert Path("new.db").exists()


@pytest.mark.parametrize("url", ["sqlite:///file:gone.db?uri=true", "sqlite:///gone.db?timeout=1"])
def test_a_url_with_parameters_names_a_file_too(command, url):
    assert "gone.db'" in command("keys", "list", "--database", url).err
    assert not Path("gone.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///file:shared?mode=memory&uri=true",
    ],
)
def test_a_database_in_memory_has_no_file(url):
    require_file(create_engine(url, poolclass=NullPool))


def test_an_application_that_connects_itself_is_asked_for_none():
    require_file(create_engine("sqlite:///elsewhere.db", creator=lambda: None))
