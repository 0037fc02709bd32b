"""Values of other places are put into a column, so that autogenerate proposes to rebind them.

A rebinding opens a value where it came from and seals it for the row that it stands in. Proposed
for a value that somebody copied there, it would hand him what he could not read.
"""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, insert, inspect, text

from encfields import BlindIndex, EncryptedType
from encfields.alembic import MigrationError
from tests.alembic.project import SECRET, Clinic, Project, body_of, patient_table
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

PIN = "the PIN that he is after"
PLANTED = range(101, 104)


@pytest.fixture
def project(tmp_path: Path, backend: Backend) -> Project:
    return Project(tmp_path, backend)


@pytest.fixture
def clinic(backend: Backend) -> Clinic:
    return Clinic(backend)


def account_table(metadata: MetaData, *more: Column[Any], **options: Any) -> Table:
    return Table(
        "account",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("pin", EncryptedType(String, **options)),
        *more,
    )


def open_accounts(clinic: Clinic, ids: Any = PLANTED, **options: Any) -> None:
    """Values of another column, for rows of the same keys that he is going to insert."""
    table = account_table(MetaData(), **options)
    table.create(clinic.engine)
    with clinic.engine.begin() as connection:
        connection.execute(insert(table), [{"id": i, "pin": PIN} for i in ids])


def plant(attacker: Engine) -> None:
    with attacker.begin() as connection:
        connection.execute(text("INSERT INTO patient (id, ssn) SELECT id, pin FROM account"))


def declared(*, accounts: bool = False, **options: Any) -> MetaData:
    metadata = MetaData()
    patient_table(metadata, **options)
    if accounts:
        account_table(metadata)
    return metadata


def operations_on_values(code: str) -> list[str]:
    lines = [line.strip() for line in body_of(code).splitlines()]
    return [line for line in lines if line.startswith(("op.rebind(", "raise "))]


def altered(message: bytes) -> bytes:
    """A message whose header is kept, and that nothing opens."""
    return message[:-1] + bytes([message[-1] ^ 1])


def test_values_of_another_declared_column_are_reported_and_not_proposed(
    project: Project, clinic: Clinic, attacker: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    open_accounts(clinic)
    plant(attacker)
    with caplog.at_level(logging.WARNING, "encfields.alembic"):
        code = project.autogenerate(declared(accounts=True))
    assert "op." not in body_of(code)
    assert "patient.ssn: 30 of 33 values drawn are bound as declared" in caplog.text
    assert "id=101; id=102; id=103" in caplog.text


def test_values_of_a_column_that_is_no_longer_declared_are_not_proposed_either(
    project: Project, clinic: Clinic, attacker: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    open_accounts(clinic)
    plant(attacker)
    with attacker.begin() as connection:
        connection.execute(text("DROP TABLE account"))
    with caplog.at_level(logging.WARNING, "encfields.alembic"):
        code = project.autogenerate(declared())
    assert "op." not in body_of(code)
    assert "id=101; id=102; id=103" in caplog.text


def test_it_does_not_help_to_occupy_both_ends_of_the_table(
    project: Project, clinic: Clinic, attacker: Engine
) -> None:
    open_accounts(clinic, [*range(-60, 0), *range(1000, 1060), 2_000_000_000])
    plant(attacker)
    with attacker.begin() as connection:
        connection.execute(text("DROP TABLE account"))
    code = project.autogenerate(declared())
    assert operations_on_values(code) == []


def test_a_column_that_holds_nothing_but_values_of_another_is_refused(
    project: Project, clinic: Clinic, attacker: Engine
) -> None:
    open_accounts(clinic)
    with attacker.begin() as connection:
        connection.execute(text("DELETE FROM patient"))
    plant(attacker)
    code = project.autogenerate(declared(accounts=True))
    assert "which is declared for account.pin" in body_of(code)
    assert "op.rebind('" not in code
    with pytest.raises(NotImplementedError, match=r"declared for account\.pin"):
        project.upgrade()


def test_a_rename_is_proposed_though_some_values_do_not_belong_and_says_what_was_seen(
    project: Project, clinic: Clinic, attacker: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    open_accounts(clinic)
    plant(attacker)
    metadata = declared(accounts=True, name="people.ssn")
    with caplog.at_level(logging.WARNING, "encfields.alembic"):
        code = project.autogenerate(metadata)
    (operation,) = operations_on_values(code)
    assert "was=['ssn']" in operation
    said = " ".join(body_of(code).replace("#", "").split())
    assert "30 of 33 values drawn are bound, as patient.ssn, to id" in said
    assert "30 belong to their own rows and one key, and open" in said
    assert "id=101; id=102; id=103" in caplog.text


def test_a_run_moves_the_values_of_its_source_and_leaves_the_planted_ones(
    project: Project, clinic: Clinic, attacker: Engine
) -> None:
    open_accounts(clinic)
    plant(attacker)
    metadata = declared(accounts=True, name="people.ssn")
    project.autogenerate(metadata)
    with pytest.raises(MigrationError, match=r"3 values do not open.*id=101"):
        project.upgrade()
    with attacker.connect() as connection:
        planted = connection.execute(
            text("SELECT patient.ssn, account.pin FROM patient JOIN account USING (id)")
        ).all()
        assert [bytes(ssn) for ssn, _ in planted] == [bytes(pin) for _, pin in planted]
    with attacker.begin() as connection:
        connection.execute(text("DELETE FROM patient WHERE id > 100"))
    project.upgrade()
    rows = clinic.read(metadata.tables["patient"])
    assert [ssn for _, ssn, _ in rows] == [f"{SECRET} {i}" for i in range(1, 31)]


def test_a_name_of_his_choice_in_more_headers_than_there_are_genuine_ones_opens_nothing(
    project: Project, clinic: Clinic, attacker: Engine
) -> None:
    """Headers can be written by anybody; that they say so is not enough."""
    open_accounts(clinic, range(1, 31), name="made.up")
    with attacker.begin() as connection:
        made_up = connection.execute(text("SELECT id, pin FROM account")).all()
        for row_id, pin in made_up:
            clinic.overwrite(row_id, altered(bytes(pin)))
    code = project.autogenerate(declared())
    (refused,) = operations_on_values(code)
    assert "0 belong to their own rows and one key, and open" in refused


def test_without_keys_the_file_says_that_nothing_was_opened(
    tmp_path: Path, clinic: Clinic, backend: Backend
) -> None:
    project = Project(tmp_path, backend, settings="None")
    code = project.autogenerate(declared(name="people.ssn"))
    assert "no keys were available" in " ".join(body_of(code).replace("#", "").split())


def test_a_row_is_not_told_by_a_column_that_anybody_may_fill(
    project: Project, clinic: Clinic, attacker: Engine
) -> None:
    """He copies a value that was bound to a number, and gives his row that number."""
    likes = Column("likes", Integer)
    before = patient_table(MetaData(), "patient", likes, bind_to="likes", name="patient.ssn")
    with attacker.begin() as connection:
        connection.execute(text("ALTER TABLE patient ADD COLUMN likes INTEGER"))
        connection.execute(text("DELETE FROM patient"))
    with clinic.engine.begin() as connection:
        connection.execute(
            insert(before), [{"id": i, "likes": 7, "ssn": SECRET} for i in range(10)]
        )
    metadata = MetaData()
    patient_table(metadata, "patient", Column("likes", Integer))
    (refused,) = operations_on_values(project.autogenerate(metadata))
    assert "to likes, which may have the same values in several rows" in refused


def test_one_row_does_not_pass_for_a_renamed_key(
    project: Project, clinic: Clinic, attacker: Engine
) -> None:
    with attacker.begin() as connection:
        connection.execute(text("ALTER TABLE patient RENAME COLUMN id TO number"))
        connection.execute(text("UPDATE patient SET number = number + 1000 WHERE number <> 1"))
    metadata = MetaData()
    Table(
        "patient",
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("ssn", EncryptedType(String)),
        Column("notes", EncryptedType(String)),
    )
    code = project.autogenerate(metadata)
    assert "op.rebind('" not in body_of(code)
    assert "bound to id, which the table no longer has" in code


def test_a_name_in_a_header_writes_no_code(
    project: Project, clinic: Clinic, attacker: Engine
) -> None:
    name = "x\n    import os  # \u2028'''\r\x85:"
    open_accounts(clinic, name=name)
    with attacker.begin() as connection:
        connection.execute(text("DELETE FROM patient"))
    plant(attacker)
    code = project.autogenerate(declared(), keep=False)
    (upgrade,) = (
        node
        for node in ast.parse(code).body
        if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    )
    assert not [node for node in ast.walk(upgrade) if isinstance(node, ast.Import)]


@on_each_database
def test_a_refused_migration_has_changed_nothing(project: Project, attacker: Engine) -> None:
    """Where DDL is not transactional, a refusal at its end would leave the UNIQUE dropped."""
    with attacker.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE patient (id INTEGER NOT NULL PRIMARY KEY, ssn VARCHAR(90), "
                "notes TEXT, CONSTRAINT uq_ssn UNIQUE (ssn))"
            )
        )
    metadata = MetaData()
    patient_table(metadata, index=BlindIndex(unique=True))
    project.autogenerate(metadata)
    with pytest.raises(NotImplementedError, match="declared encrypted"):
        project.upgrade()
    found = inspect(attacker)
    assert [c["name"] for c in found.get_columns("patient")] == ["id", "ssn", "notes"]
    assert found.get_unique_constraints("patient")[0]["column_names"] == ["ssn"]
