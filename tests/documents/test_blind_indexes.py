"""docs/blind-indexes.md: its code runs on each database, and its figures are what is printed."""

from __future__ import annotations

import datetime as dt
import re
import secrets
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from encfields import BlindIndex, EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.cli.main import main
from encfields.errors import KeyDestroyedError, UnsupportedOperationError
from tests.alembic.project import SECRET, Clinic, Project, declared
from tests.documents.patients import PATIENTS, patients
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "blind-indexes.md"


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", DOCUMENT.read_text(), re.S | re.M)
    return [textwrap.dedent(block) for _, block in found]


OPERATIONS = [block.strip() for block in blocks("python") if block.startswith("op.")]
"""What stands in migrations."""

CODE = [block for block in blocks("python") if not block.startswith("op.")]
"""What stands in the application."""


def run_block(number: int, names: dict[str, Any]) -> None:
    where = f"{DOCUMENT.name}, block {number}"
    exec(compile(CODE[number], where, "exec", dont_inherit=True), names)


class Ran(NamedTuple):
    """What the document's code left: its names, and where it ran."""

    names: dict[str, Any]
    engine: Engine
    encryption: Encryption


@pytest.fixture
def ran(backend: Backend) -> Ran:
    """All of the document's code, in its order, on one database."""
    engine = backend.create_engine()
    store = SqlKeyStore(keyrings.local(secrets.token_bytes(32)))
    encryption = attach(engine, store, create=True)
    names: dict[str, Any] = {"engine": engine, "__name__": "the_document"}
    run_block(0, names)
    names["Base"].metadata.create_all(engine)
    for number in range(1, len(CODE)):
        run_block(number, names)
    names["Base"].metadata.create_all(engine)
    return Ran(names, engine, encryption)


@on_each_database
def test_the_examples_find_what_they_say(ran):
    names = ran.names
    assert names["one"].last_name == "Lovelace"
    assert {patient.id for patient in names["both"]} == {1, 2}
    assert names["others"] == 1
    for found in ("by_end", "by_name", "by_both"):
        assert [patient.id for patient in names[found]] == [1]


def test_the_columns_are_called_as_it_says(ran):
    columns = ran.names["Patient"].__table__.c.keys()
    said = re.findall(r"`(\w+_bidx)`", DOCUMENT.read_text())[:4]
    assert said == ["ssn_bidx", "ssn_last4_bidx", "last_name_casefold_bidx", "who_bidx"]
    assert set(said) < set(columns)
    assert not any(name in dir(ran.names["Patient"]) for name in said)


def test_what_the_table_calls_refused_is_refused(ran):
    patient = ran.names["Patient"]
    short = patient.last_name == "Lovelace"
    with Session(ran.engine) as session:
        for statement in (
            select(patient).where(patient.last_name != "Lovelace"),
            select(patient).where(patient.last_name.not_in(["Lovelace"])),
            select(func.count()).select_from(patient).where(short),
            select(patient).where(short).limit(1),
            select(patient).where(short | (patient.id == 1)),
            select(select(patient.id).where(short).exists()),
        ):
            with pytest.raises(UnsupportedOperationError):
                session.execute(statement).all()
        for operation in (
            lambda: patient.ssn.like("123%"),
            lambda: patient.ssn < "5",
            lambda: select(patient).order_by(patient.ssn.desc()),
        ):
            with pytest.raises(UnsupportedOperationError):
                session.execute(operation())


def test_what_the_table_allows_a_full_length_index_works(ran):
    patient = ran.names["Patient"]
    full = patient.ssn == "123-45-6789"
    with Session(ran.engine) as session:
        assert session.scalar(select(func.count()).select_from(patient).where(full)) == 1
        assert session.scalar(select(select(patient.id).where(full).exists())) == 1
        assert len(session.scalars(select(patient).where(full).limit(1)).all()) == 1
        for view in (patient.ssn.blind("exact"), patient.last_name.blind("casefold")):
            assert len(session.execute(select(view, func.count()).group_by(view)).all()) == 2
        either = session.scalars(select(patient).where(full | (patient.id == 2))).all()
        assert {one.id for one in either} == {1, 2}


def test_without_a_name_only_the_very_value_is_found(ran):
    patient = ran.names["Patient"]
    with Session(ran.engine) as session:
        for value, ids in (("Lovelace", [1]), ("LOVELACE", [])):
            found = session.scalars(select(patient).where(patient.last_name == value)).all()
            assert [one.id for one in found] == ids


@on_each_database
def test_a_second_row_of_a_unique_value_is_refused(ran):
    patient = ran.names["Patient"]
    row = patient(id=3, ssn="123-45-6789", last_name="x", born=dt.date(2000, 1, 1))
    with Session(ran.engine) as session:
        session.add(row)
        with pytest.raises(IntegrityError):
            session.commit()


def test_each_tenant_has_hashes_of_its_own(ran):
    customer = ran.names["Customer"]
    for tenant in (42, 43):
        ran.encryption.keys.create(f"tenant/{tenant}")
    with Session(ran.engine) as session:
        for number, tenant in ((1, 42), (2, 43)):
            session.add(customer(id=number, tenant_id=tenant, email="ada@example.org"))
        session.commit()
        found = session.scalars(ran.names["in_the_tenant"]).all()
        assert [one.id for one in found] == [1]
        stored = session.scalars(text("SELECT email_casefold_bidx FROM customer")).all()
        assert len(set(stored)) == 2
        with pytest.raises(UnsupportedOperationError, match="tenant_id"):
            session.scalars(select(customer).where(customer.email.blind("casefold") == "x")).all()


def test_of_a_destroyed_key_the_hashes_remain_and_answer_nothing(ran):
    ran.encryption.keys.destroy("default", confirm="default", specs=None, at_once=True)
    patient = ran.names["Patient"]
    with Session(ran.engine) as session:
        with pytest.raises(KeyDestroyedError):
            session.scalars(select(patient).where(patient.ssn == "123-45-6789")).all()
        stored = session.scalars(text("SELECT ssn_bidx FROM patient")).all()
    assert [len(bytes(one)) for one in stored] == [16, 16]


def test_a_hash_that_is_copied_misleads_only_who_does_not_select_the_value(ran):
    patient = ran.names["Patient"]
    with ran.engine.begin() as connection:
        copied = connection.scalar(text("SELECT ssn_bidx FROM patient WHERE id = 1"))
        connection.execute(text("UPDATE patient SET ssn_bidx = NULL WHERE id = 1"))
        moved = text("UPDATE patient SET ssn_bidx = :copied WHERE id = 2")
        connection.execute(moved, {"copied": bytes(copied)})
    with Session(ran.engine) as session:
        asked = patient.ssn == "123-45-6789"
        assert session.scalars(select(patient).where(asked)).all() == []
        assert session.scalars(select(patient.id).where(asked)).all() == [2]


def test_its_derivation_gives_what_is_stored(ran):
    """By the document's own function, which uses nothing of ours."""
    derive = ran.names["blind_index"]
    (beacon,) = ran.encryption.keys._store.beacons("default")
    who = b"\x00\x00\x00\x08lovelace" + b"\x00\x00\x00\x041815"
    expected = {
        "ssn_bidx": derive(beacon.material, "patient.ssn", "exact", b"123-45-6789", 128),
        "ssn_last4_bidx": derive(beacon.material, "patient.ssn", "digits.last4", b"6789", 128),
        "last_name_casefold_bidx": derive(
            beacon.material, "patient.last_name", "casefold", b"lovelace", 8
        ),
        "who_bidx": derive(beacon.material, "patient.who", "casefold+year", who, 128),
    }
    with ran.engine.connect() as connection:
        columns = ", ".join(expected)
        row = connection.execute(text(f"SELECT {columns} FROM patient WHERE id = 1")).one()
    assert {name: bytes(value) for name, value in row._mapping.items()} == expected


# --- its migrations ---


@on_each_database
def test_its_migrations_index_what_is_there_and_rotate_the_key(tmp_path, backend):
    """In its order, with the revisions in between that it leaves to autogenerate."""
    fill, rotate, fill_second, retire = OPERATIONS
    clinic = Clinic(backend)
    project = Project(tmp_path, backend)
    first, both, second = (
        declared(index=BlindIndex(versions=versions)) for versions in ((1,), (1, 2), (2,))
    )

    def finds(metadata: MetaData) -> bool:
        table = metadata.tables["patient"]
        with clinic.engine.connect() as connection:
            found = select(table.c.id).where(table.c.ssn == f"{SECRET} 7")
            return connection.execute(found).scalars().all() == [7]

    steps = [
        (lambda: project.autogenerate(first), None),
        (lambda: project.revision(fill), first),
        (lambda: project.revision(rotate), first),
        (lambda: project.autogenerate(both), both),
        (lambda: project.revision(fill_second), both),
        (lambda: project.autogenerate(second), second),
        (lambda: project.revision(retire), second),
    ]
    for revision, models in steps:
        revision()
        project.upgrade()
        clinic.deploy()
        assert models is None or finds(models)
    assert [one.version for one in clinic.encryption.keys.list_beacons("default")] == [2]


# --- the planner's output ---


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> dict[str, str]:
    """The environment of a shell in which the document's commands are given."""
    folder = tmp_path_factory.mktemp("clinic")
    key = folder / "local.key"
    keyrings.generate_local_key(key)
    url = f"sqlite:///{folder / 'clinic.db'}"
    engine = create_engine(url)
    attach(engine, SqlKeyStore(keyrings.local(key)), create=True)
    table = Table(
        "patient", MetaData(), Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String(11))),
        Column("last_name", EncryptedType(String(60))),
        Column("born", EncryptedType(Date)), Column("smoker", Boolean),
    )  # fmt: skip
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), list(patients()))
    engine.dispose()
    return {"ENCFIELDS_DATABASE_URL": url, "ENCFIELDS_KEYRING": f"local:{key}"}


CONSOLE = blocks("console")


@pytest.mark.parametrize("number", range(len(CONSOLE)))
def test_the_planner_says_what_the_document_says(number, clinic, monkeypatch, capsys, tmp_path):
    command, _, told = CONSOLE[number].partition("\n")
    assert command.startswith("$ encfields ")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    for name, value in clinic.items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()

    main(command.split()[2:])

    printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert printed == textwrap.dedent(told).strip("\n")


def test_the_figures_in_its_text_are_those_of_the_table():
    document = DOCUMENT.read_text()
    names = {row["last_name"] for row in patients()}
    assert f"{PATIENTS:,} patients with {len(names):,} different surnames" in document
