"""``import encfields`` is light: what is heavy waits until a key must be wrapped."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "aws_encryption_sdk",
    "aws_cryptographic_material_providers",
    "_dafny",
    "boto3",
    "botocore",
    "sqlalchemy.dialects.mysql",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.orm",
    "sqlalchemy.ext.asyncio",
    "alembic",
    "rich",
)


def _loaded_after(code: str) -> set[str]:
    (loaded,) = _loaded_after_each(code)
    return loaded


def _loaded_after_each(*parts: str) -> list[set[str]]:
    """What one program has loaded after each of its parts."""
    script = "import sys\n" + "".join(f"{part}\nprint(*sys.modules)\n" for part in parts)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=240,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
    )  # fmt: skip
    return [set(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("module", HEAVY)
def test_importing_the_package_does_not_load(module: str, loaded_by_import: set[str]) -> None:
    loaded = sorted(m for m in loaded_by_import if m == module or m.startswith(f"{module}."))
    assert loaded == []


@pytest.fixture(scope="module")
def loaded_by_import() -> set[str]:
    return _loaded_after("from encfields import *")


def test_a_keyring_of_aws_is_loaded_when_it_is_named() -> None:
    keyring = "encfields.keys.keyrings.aws_kms"

    before, after = _loaded_after_each(
        "from encfields import EncryptedType, SqlKeyStore, attach, keyrings\nkeyrings.local",
        "from encfields.keyrings import aws_kms_mrk",
    )
    assert keyring not in before
    assert keyring in after


def test_declaring_a_column_loads_neither_the_aws_library_nor_boto3() -> None:
    loaded = _loaded_after(
        "from sqlalchemy import Column, Integer, MetaData, Table\n"
        "from encfields import EncryptedType, keyrings, SqlKeyStore\n"
        "Table('t', MetaData(), Column('id', Integer, primary_key=True), "
        "Column('x', EncryptedType()))\n"
        "SqlKeyStore(keyrings.local(bytes(range(32))))\n"
        "SqlKeyStore(keyrings.aws_kms('arn:aws:kms:eu-west-1:111122223333:key/abc'))\n"
    )
    assert not loaded & {"boto3", "botocore", "aws_encryption_sdk", "_dafny"}
    assert "aws_cryptographic_material_providers" not in loaded


STATEMENTS = (
    "encfields.orm.listeners",
    "encfields.orm.query.comparator",
    "encfields.orm.read.packed",
)
"""Of what statements go through, and a program that only declares its tables does not need."""

DECLARED = """
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, insert, select
from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
t = Table("t", MetaData(), Column("id", Integer, primary_key=True),
          Column("x", EncryptedType(String, index=BlindIndex())))
"""

ATTACHED = """
engine = create_engine("sqlite://")
attach(engine, SqlKeyStore(keyrings.local(bytes(range(32)))), create=True)
"""

USED = """
with engine.begin() as connection:
    t.metadata.create_all(connection)
    connection.execute(insert(t), {"id": 1, "x": "one"})
    assert connection.execute(select(t.c.x).where(t.c.x == "one")).scalars().all() == ["one"]
"""


@pytest.fixture(scope="module")
def loaded_in_turn() -> list[set[str]]:
    return _loaded_after_each(DECLARED, ATTACHED, USED)


def test_declaring_loads_nothing_that_statements_go_through(loaded_in_turn: list[set[str]]) -> None:
    assert not loaded_in_turn[0] & {*STATEMENTS}


def test_attach_loads_all_that_the_first_statement_needs(loaded_in_turn: list[set[str]]) -> None:
    _, attached, used = loaded_in_turn
    of_statements = used - attached

    assert attached >= {*STATEMENTS}
    assert {name for name in of_statements if name.startswith("encfields")} == set()


def test_a_system_without_fork_imports_it() -> None:
    """Windows has none of these names."""
    missing = ("register_at_fork", "fork", "forkpty", "geteuid", "fchmod", "killpg")
    loaded = _loaded_after(
        f"import os\nfor name in {missing!r}:\n    vars(os).pop(name, None)\n"
        "from encfields import *\nimport encfields.alembic, encfields.interop, encfields.cli.main\n"
        "import encfields.bulk.reencryption"
    )
    assert "encfields.bulk.reencryption" in loaded
