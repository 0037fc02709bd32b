"""Settings: options before the environment before ``encfields.toml``; faults are named."""

from __future__ import annotations

import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from encfields import keyrings
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.cli import exits
from encfields.cli.key_store import NoKeyring, parse_keyring
from encfields.cli.main import parser
from encfields.cli.targets import specs_from_file, specs_from_models, specs_from_options
from encfields.errors import ConfigurationError
from encfields.keys.keyrings.aws_kms import AwsKmsKeyring, DiscoveryKeyring
from encfields.keys.keyrings.local import LocalKeyring
from encfields.testing import assert_absent
from tests.census.clinic import fill
from tests.servers.backends import Backend

ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

MODELS = """
from sqlalchemy import JSON, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from encfields import EncryptedType

class Base(DeclarativeBase):
    pass

class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))
    ssn: Mapped[str] = mapped_column(EncryptedType())
    notes: Mapped[str | None] = mapped_column(EncryptedType(Text))

class Plain(Base):
    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)

class Account(Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    iban: Mapped[str] = mapped_column(EncryptedType(key="tenant/{tenant}", name="bank.iban"))
"""


@pytest.fixture
def models(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Models in a module of the working directory, under a name of the test's own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"models_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(MODELS)
    return f"{name}:Base"


def test_options_in_their_order_make_specs():
    events = [
        ("table", "patient"), ("schema", "app"), ("column", "ssn=person.ssn"), ("key", "clinical"),
        ("bind-to", "tenant,id"), ("column", "notes"), ("table", "card"), ("column", "pin"),
    ]  # fmt: skip
    assert specs_from_options(events) == [
        TableSpec(
            "patient",
            (
                SealedColumn("ssn", "person.ssn", "clinical", ("tenant", "id")),
                SealedColumn("notes"),
            ),
            "app",
        ),
        TableSpec("card", (SealedColumn("pin"),)),
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--column", "ssn"), "--column has no --table before it"),
        (("--table", "patient", "--key", "x"), "--key has no --column before it"),
        (("--table", "patient"), "no --column follows --table patient"),
        ((), "no table is named"),
    ],
)
def test_options_that_name_no_column_are_refused(command, arguments, message):
    told = command("status", "--database", "sqlite://", *arguments)
    assert told.code == exits.FAILED
    assert message in told.err


def test_models_make_specs(models):
    account, patient = specs_from_models(models)
    assert account == TableSpec(
        "account", (SealedColumn("iban", "bank.iban", "tenant/{tenant}", None),)
    )
    assert [column.logical_name for column in patient.columns] == ["patient.ssn", "patient.notes"]
    assert specs_from_models(models.replace("Base", "Base.metadata")) == [account, patient]
    assert specs_from_models(models, [TableSpec("account", ())]) == [account]


@pytest.mark.parametrize(
    "place, message",
    [
        ("nowhere_at_all:Base", "No module named"),
        ("os:nothing", "has no attribute"),
        ("os:path", "not a MetaData"),
        ("os", "package.module:NAME"),
        ("antigravity_that_raises:Base", "raised RuntimeError"),
        ("antigravity_that_exits:Base", "raised SystemExit"),
    ],
)
def test_models_that_cannot_be_had_are_refused(place, message, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "antigravity_that_raises.py").write_text("raise RuntimeError('secret-in-here')")
    (tmp_path / "antigravity_that_exits.py").write_text("raise SystemExit(0)")
    with pytest.raises(ConfigurationError, match=message) as caught:
        specs_from_models(place)
    assert_absent("secret-in-here", str(caught.value))


def test_a_table_that_the_models_do_not_encrypt_is_refused(models):
    with pytest.raises(ConfigurationError, match="no encrypted columns in plain"):
        specs_from_models(models, [TableSpec("plain", ())])


def test_models_on_a_database(on_database, engine, patients, models):
    fill(engine, patients, range(1, 4))
    told = on_database("status", "--json", "--models", models, "--table", "patient")
    assert told.code == exits.OK
    assert [c["column"] for c in told.json["tables"][0]["columns"]] == ["ssn", "notes"]


def test_a_file_in_the_working_directory(command, backend: Backend, engine, patients, local_key):
    fill(engine, patients, range(1, 4))
    Path("encfields.toml").write_text(
        f"database = '{backend.url_text}'\n"
        f"keyring = '{local_key}'\n"
        "[[tables]]\n"
        "name = 'patient'\n"
        "columns = ['ssn', {name = 'notes', logical_name = 'patient.notes', key = 'default', "
        "bind_to = ['id']}]\n"
    )
    assert command("status").code == exits.OK
    told = command("verify", "--json")
    assert told.code == exits.OK
    assert told.json["tables"][0]["opened"] == 6
    told = command("status", "--table", "patient", "--column", "name")
    assert told.code == exits.FAULTS


def test_an_option_outranks_the_environment_and_that_the_file(command, monkeypatch):
    Path("encfields.toml").write_text("database = 'sqlite:///from-the-file.db'")
    assert "from-the-file.db" in command("keys", "list").err
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", "sqlite:///from-the-environment.db")
    assert "from-the-environment.db" in command("keys", "list").err
    from_option = ("--database", "sqlite:///from-the-option.db")
    assert "from-the-option.db" in command("keys", "list", *from_option).err


@pytest.mark.parametrize(
    "content, happened, to_do",
    [
        ("databse = 'x'", "has no setting 'databse' (line 1)", "did you mean database? the file"),
        ("\n\nkeytable = 'x'", "has no setting 'keytable' (line 3)", "did you mean key_table?"),
        ("zzz = 1", "has no setting 'zzz' (line 1)", "the file takes database, engine, keyring"),
        ("database = [", "is not TOML: ", ""),
        ("database = 5", "has a number as database (line 1)", "given as a string in quotes"),
        ("keyring = ['kms:x']", "has a list as keyring (line 1)", "given as a string in quotes"),
        ("models = 2026-01-01", "has a date or time as models", "given as a string in quotes"),
        ("tables = 'patient'", "has a text as tables (line 1)", "given as [[tables]]"),
        ("tables = ['patient']", "gives no name to [[tables]] number 1", "needs a name"),
        ("[[tables]]\ncolumns = ['ssn']", "gives no name to [[tables]] number 1", "needs a name"),
        ("[[tables]]\nname = 't'", "names no columns of table 't'", "a list of names"),
        (
            "[[tables]]\nname = 't'\ncolumns = ['a']\nkey = 'x'",
            "has no setting 'key' (line 4, [[tables]] number 1 ('t'))",
            "takes name, schema, columns",
        ),
        (
            "[[tables]]\nname = 't'\ncolumns = ['a',\n{name = 'b', former_key = 'x'}]",
            "has no setting 'former_key' (line 4, column number 2 of table 't' ('b'))",
            "did you mean former_keys?",
        ),
        (
            "[[tables]]\nname = 't'\ncolumns = [{name = 'b', bind_to = 'id'}]",
            "has a text as bind_to (line 3, column number 1 of table 't' ('b'))",
            "given as a list of strings",
        ),
        ("[[tables]]\nname = 't'\ncolumns = [{key = 'b'}]", "gives no name to column", "a name"),
        ("models = 'a:b'\n[[tables]]\nname = 't'", "has models and tables", "leave one of them"),
        ("database = 'x'\nengine = 'a:b'", "has database and engine", "leave one of them out"),
    ],
)
def test_a_faulty_file_is_refused_by_line_or_name_and_told_the_nearest(
    command, content, happened, to_do
):
    Path("given.toml").write_text(content)
    told = command("status", "--config", "given.toml")
    assert told.code == exits.FAILED
    first, second = told.err.splitlines()
    assert f"encfields: given.toml {happened}" in first
    assert to_do in second


def test_a_faulty_file_repeats_no_value(command):
    Path("encfields.toml").write_text("database = ['postgresql://u:pass-word-here@db/clinic']")
    assert_absent("pass-word-here", command("keys", "list").err)


def test_the_file_that_the_help_shows_is_one():
    shown = parser().format_help()
    lines = [line.strip() for line in shown.splitlines()]
    models, tables = (
        "\n".join(line for line in lines if line.startswith(names))
        for names in (
            ("database =", "keyring =", "models ="),
            ("[[tables]]", "name =", "columns ="),
        )
    )
    assert set(tomllib.loads(models)) == {"database", "keyring", "models"}
    assert specs_from_file(tomllib.loads(tables)["tables"]) == [
        TableSpec(
            "patient",
            (SealedColumn("ssn"), SealedColumn("notes", key="clinical")),
        )
    ]


def test_a_named_file_has_to_be_there(command):
    told = command("status", "--config", "nowhere.toml")
    assert told.code == exits.FAILED
    assert "nowhere.toml cannot be read" in told.err


@pytest.mark.parametrize(
    "url, message",
    [
        ("no url, pass-word-here", "SQLAlchemy cannot use the database URL"),
        ("foodb://user:pass-word-here@host/db", "SQLAlchemy cannot use the database URL"),
        ("postgresql+asyncpg://user:pass-word-here@host/db", "asyncio driver"),
        ("mssql+pyodbc://user:pass-word-here@host/db", "driver is not installed: pyodbc"),
        ("postgresql+psycopg://u:pass-word-here@127.0.0.1:9/db", "out of reach"),
    ],
)
def test_a_database_out_of_reach_is_told_without_its_password(command, url, message):
    told = command("keys", "list", "--database", url)
    assert told.code == exits.FAILED
    assert message in told.err
    assert told.err.count("\n") == 2
    assert_absent("pass-word-here", told.out, told.err)


@pytest.mark.parametrize("before", [["adopt", "--database"], ["status"], []])
def test_a_url_in_the_wrong_place_is_told_without_its_password(before, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([*before, "postgresql://user:pass-word@here@host/db"])
    assert ended.value.code == exits.USAGE
    told = capsys.readouterr().err
    assert "host/db" in told
    assert_absent("pass-word", told)


def test_what_the_driver_says_is_told_with_what_to_do(command):
    url = "mysql+pymysql://u:pass-word-here@127.0.0.1:9/db"
    told = command("inspect", "patient.ssn", "1", "--json", "--database", url)
    assert told.code == exits.FAILED
    happened, to_do = told.err.splitlines()
    assert happened.startswith("encfields: the database says: ")
    assert to_do.startswith("encfields: what to do: check that the server runs")
    assert told.json["error"]["type"] == "OperationalError"
    assert_absent("pass-word-here", told.out, told.err)


def test_the_lock_of_sqlite_is_told_as_one(command, tmp_path, local_key):
    file = tmp_path / "clinic.db"
    with closing(sqlite3.connect(file)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        told = command("verify", "--database", f"sqlite:///{file}?timeout=0", "--table", "t",
                       "--column", "c", "--keyring", local_key)  # fmt: skip
    assert told.code == exits.FAILED
    assert "database is locked" in told.err
    assert "what to do: wait, and run it again" in told.err


def test_no_database_is_told_with_the_ways_to_give_one(command):
    told = command("keys", "list")
    assert told.code == exits.FAILED
    assert told.err.startswith(
        "encfields: no database is given\n"
        "encfields: what to do: give --database URL, $ENCFIELDS_DATABASE_URL, --engine MODULE:NAME"
    )


def test_keyrings(tmp_path):
    keyrings.generate_local_key(tmp_path / "key")
    assert isinstance(parse_keyring(f"local:{tmp_path / 'key'}"), LocalKeyring)
    one = parse_keyring(f"kms:{ARN},{ARN}")
    assert isinstance(one, AwsKmsKeyring)
    assert (one.arns, one.multi_region) == ((ARN, ARN), False)
    multi_region = parse_keyring(f"mrk:{ARN}")
    assert isinstance(multi_region, AwsKmsKeyring)
    assert multi_region.multi_region
    discovery = parse_keyring("discovery:111122223333,444455556666@eu-west-1,us-east-1")
    assert isinstance(discovery, DiscoveryKeyring)
    assert discovery.account_ids == ("111122223333", "444455556666")
    assert discovery.regions == ("eu-west-1", "us-east-1")
    assert isinstance(parse_keyring(None), NoKeyring)


@pytest.mark.parametrize(
    "text", ["", "kms", "kms:", "local:", "discovery:111122223333", "deadbeef" * 8, "vault:x"]
)
def test_a_keyring_of_no_known_form_is_refused_and_not_repeated(text):
    with pytest.raises(ConfigurationError, match="a keyring is one of kms:ARN") as caught:
        parse_keyring(text)
    if len(text) > 20:
        assert_absent(text, str(caught.value))
