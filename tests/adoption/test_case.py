"""A plaintext column that ignores the case of letters: an index that does is proposed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, text

from encfields import BlindIndex, EncryptedType, Plaintext
from encfields.adopt.letter_case import ignored_case
from encfields.index import casefold
from tests.alembic.project import Project
from tests.database import Database

COLUMNS = {
    "sqlite": {
        "VARCHAR(40) COLLATE NOCASE": "its collation NOCASE",
        "VARCHAR(40)": None,
    },
    "postgresql": {
        "citext": "its type citext",
        'VARCHAR(40) COLLATE "No Case"': 'its collation public."No Case"',
        "VARCHAR(40)": None,
    },
    "mariadb": {
        "VARCHAR(40) COLLATE utf8mb4_general_ci": "its collation utf8mb4_general_ci",
        "VARCHAR(40) COLLATE utf8mb4_bin": None,
    },
}
NO_CASE = """CREATE COLLATION IF NOT EXISTS "No Case"
(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"""


def person(*indexes: Any) -> Table:
    type_ = EncryptedType(
        String(40),
        name="person.mail",
        index=indexes,
        adopts=Plaintext("mail", phase="write-both"),
    )
    return Table("person", MetaData(), Column("id", Integer, primary_key=True), Column("m", type_))


def make(db: Database, kind: str, *statements: str) -> None:
    if db.name == "postgresql":
        db.execute_plain("CREATE EXTENSION IF NOT EXISTS citext")
        db.execute_plain(NO_CASE)
    db.execute_plain(f"CREATE TABLE person (id INTEGER NOT NULL PRIMARY KEY, mail {kind})")
    for statement in statements:
        db.execute_plain(statement)


@pytest.mark.parametrize("unique", ["UNIQUE ", ""])
def test_the_column_tells_whether_it_ignores_the_case(db: Database, unique: str) -> None:
    for kind, expected in COLUMNS[db.backend.family].items():
        make(db, kind, f"CREATE {unique}INDEX person_mail ON person (mail)")
        with db.plain.connect() as connection:
            found = ignored_case(connection, "person", None, "mail")
        assert (found and (found.by, found.is_unique)) == (expected and (expected, bool(unique)))
        db.execute_plain("DROP TABLE person")


def test_an_index_over_lower_ignores_it_too(db: Database) -> None:
    if db.backend.family == "mariadb":
        pytest.skip("MariaDB has no indexes over expressions")
    make(db, "VARCHAR(40)", "CREATE UNIQUE INDEX person_lower ON person (lower(mail))")
    with db.plain.connect() as connection:
        found = ignored_case(connection, "person", None, "mail")
    assert found
    assert (found.by, found.is_unique) == ("its index person_lower", True)


def test_autogenerate_proposes_casefold(db: Database, tmp_path: Path) -> None:
    kind = next(iter(COLUMNS[db.backend.family]))
    make(db, kind, "CREATE UNIQUE INDEX person_mail ON person (mail)")
    project = Project(tmp_path, db.backend)

    code = project.autogenerate(person(BlindIndex()).metadata, keep=False)
    told = " ".join(code.replace("#", " ").split())
    assert "person.mail ignores the case of letters (its" in told
    assert "declare BlindIndex(casefold, unique=True)" in told
    assert "op.begin_adoption(" in code

    for indexes in ((), (BlindIndex(casefold, unique=True),)):
        code = project.autogenerate(person(*indexes).metadata, keep=False)
        assert "ignores the case" not in code
    with db.plain.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM person")) == 0
