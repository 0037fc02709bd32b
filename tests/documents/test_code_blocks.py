"""The Python code in README and docs/ runs, in its pages' order, against SQLite and a KMS.

A block that configures Alembic becomes an ``env.py``, operations of Alembic become revisions, and
everything else is application code. What a page takes for granted, such as a mapped class or a
row, is made here. :mod:`tests.documents.test_blind_indexes`, :mod:`tests.format`,
:mod:`tests.adoption`, :mod:`tests.frameworks` and :mod:`tests.testing_plugin` run
their pages by themselves.
"""

from __future__ import annotations

import ast
import re
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient
from sqlalchemy import (
    JSON,
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import encfields
from encfields import (
    BlindIndex,
    EncryptedType,
    SqlKeyStore,
    attach,
    encryption_of,
    keyrings,
)
from encfields.bulk import TableSpec
from encfields.errors import NotAttachedError
from tests.alembic.project import Project
from tests.documents.pages import PAGES, ROOT, Block, blocks, name_of
from tests.servers.backends import Backend
from tests.servers.moto import Kms

RUN_ELSEWHERE = {
    "docs/adopting.md",
    "docs/blind-indexes.md",
    "docs/format.md",
    "docs/testing.md",
}
WITH_CODE = [
    page
    for page in PAGES
    if blocks(page, "python")
    and name_of(page) not in RUN_ELSEWHERE
    and page.parent.name != "frameworks"
]

WITH_MIGRATIONS = [ROOT / "README.md", ROOT / "docs" / "alembic.md"]

ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
"""What pages abbreviate as ``ARN``."""

TTL = 0.01
"""Seconds for which the pages' applications use a key; retiring and destroying waits so long."""

ARN_IN_TEXT = re.compile(r"arn:aws:kms:([a-z0-9-]+):\d{12}:key/[0-9a-f-]{36}")
ENVIRONMENT = """
from alembic import context
from sqlalchemy import MetaData, create_engine, pool

target_metadata = MetaData()
ARN = {arn!r}
with create_engine({url!r}, poolclass=pool.NullPool).connect() as connection:
{block}
    with context.begin_transaction():
        context.run_migrations()
"""


class World:
    """What the code of one page finds: a database, KMS keys in the place of AWS's, names.

    :ivar names: globals of the page's application code.
    """

    def __init__(self, backend: Backend, kms: Kms, directory: Path) -> None:
        self.backend = backend
        self.directory = directory
        self._kms = kms
        self._arns: dict[str, str] = {}
        self.arn = self.with_real_keys(ARN)
        self.engine = backend.create_engine()
        self.names: dict[str, Any] = {"__name__": "the_page", "ARN": self.arn}
        self.names["engine"] = self.engine

    def with_real_keys(self, code: str) -> str:
        """The code, with a key of our KMS for each one that it names."""

        def real(found: re.Match[str]) -> str:
            arn = found[0]
            if arn not in self._arns:
                self._arns[arn] = self._kms.create_key(found[1])
            return self._arns[arn]

        return ARN_IN_TEXT.sub(real, code)

    def run(self, block: Block) -> None:
        """Run application code; the engine is attached anew by each block that attaches one.

        Caches look at the key table at once: destroying and retiring keys waits for them.
        """
        code = self.with_real_keys(block.code)
        code = re.sub(r"\battach\(engine, (.+)\)$", _hasty, code, flags=re.M)
        if "attach(" in code:
            detach(self.names["engine"])
        exec(compile(code, block.place, "exec", dont_inherit=True), self.names)


def _hasty(call: re.Match[str]) -> str:
    return f"attach(engine, {call[1]}, cache_ttl={TTL}, cache_check={TTL})"


def detach(engine: Engine) -> None:
    try:
        encryption_of(engine).detach()
    except NotAttachedError:
        return


# --- what pages take for granted ---


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType())


class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]
    diagnosis: Mapped[str] = mapped_column(EncryptedType(key="tenant/{tenant_id}"))


def local_store() -> SqlKeyStore:
    return SqlKeyStore(keyrings.local(bytes(range(32))))


def attached(world: World) -> None:
    """An engine with encryption on it, and a patient."""
    encryption = attach(world.engine, local_store(), create=True)
    Base.metadata.create_all(world.engine)
    with Session(world.engine) as session:
        session.add(Patient(id=42, ssn="123-45-6789"))
        session.commit()
    world.names |= {"encryption": encryption, "Patient": Patient, "Visit": Visit}


def for_declaring(world: World) -> None:
    attached(world)
    world.names["JSON"] = JSON


def for_queries(world: World) -> None:
    attach(world.engine, local_store(), create=True)
    world.names["session"] = Session(world.engine)


def for_keys(world: World) -> None:
    Base.metadata.create_all(world.engine)
    public = {"attach": attach, "SqlKeyStore": SqlKeyStore, "keyrings": keyrings}
    world.names |= {**public, "TableSpec": TableSpec, "Patient": Patient, "Visit": Visit}


def for_interoperability(world: World) -> None:
    attached(world)
    policy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    with world.engine.connect() as connection:
        stored = connection.scalar(text("SELECT ssn FROM patient"))
    world.names |= {name: getattr(encfields, name) for name in encfields.__all__}
    world.names |= {
        "key_store": SqlKeyStore(keyrings.local(bytes(range(32))), engine=world.engine),
        "client": EncryptionSDKClient(commitment_policy=policy),
        "stored": stored,
    }


PREPARE: dict[str, Callable[[World], None]] = {
    "docs/declaring.md": for_declaring,
    "docs/interoperability.md": for_interoperability,
    "docs/keys.md": for_keys,
    "docs/queries.md": for_queries,
    "docs/many-hosts.md": attached,
    "docs/reencrypting.md": attached,
}


# --- how pages run ---


@pytest.fixture
def world(sqlite: Backend, kms: Kms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World(sqlite, kms, tmp_path)


def is_environment(block: Block) -> bool:
    return "context.configure(" in block.code


def operations(block: Block) -> list[str]:
    """The statements of a block that consists of Alembic's operations."""
    statements = ast.parse(block.code).body
    lines = [ast.unparse(statement) for statement in statements]
    return lines if all(line.startswith("op.") for line in lines) else []


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_application_code_runs(page, world):
    PREPARE.get(name_of(page), lambda world: None)(world)
    for block in blocks(page, "python"):
        if is_environment(block) or operations(block):
            continue
        before_block(page, block, world)
        world.run(block)


def before_block(page: Path, block: Block, world: World) -> None:
    """What happened between two blocks of a page, by its own account."""
    if "session." in block.code and "Base" in world.names:
        world.names["Base"].metadata.create_all(world.engine)
    if "keys.retire(" in block.code:
        time.sleep(2 * TTL)
        encryption = world.names["encryption"]
        world.names["version"] = next(v.version for v in encryption.keys.list() if not v.active)
    if "keys.destroy(" in block.code and name_of(page) == "docs/keys.md":
        world.names["encryption"].keys.create("tenant/42")
    if name_of(page) == "README.md" and "encryption.prefetch()" in block.code:
        in_production(world)


def in_production(world: World) -> None:
    """The key table and the key that the page's revisions make."""
    store = SqlKeyStore(keyrings.aws_kms(world.arn), name="production")
    world.engine = world.names["engine"] = world.backend.create_engine()
    encryption = attach(world.engine, store)
    encryption.keys.create_table()
    encryption.keys.create("default")
    world.names["key_store"] = store


def clinic(world: World) -> None:
    """Tables as they are before the operations of docs/alembic.md on values."""
    engine = world.backend.create_engine()
    encryption = attach(engine, SqlKeyStore(keyrings.aws_kms(world.arn), name="production"))
    encryption.keys.create("default")
    metadata = MetaData()
    social = EncryptedType(String, name="patient.ssn", index=BlindIndex())
    patient = Table(
        "patient", metadata, Column("id", Integer, primary_key=True), Column("ssn", EncryptedType())
    )
    person = Table(
        "person", metadata, Column("id", Integer, primary_key=True), Column("social", social),
        Column("social_plain", String(11)),
    )  # fmt: skip
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(patient), {"id": 1, "ssn": "123-45-6789"})
        connection.execute(insert(person), {"id": 1, "social": "123-45-6789"})
        connection.execute(text("UPDATE person SET social_bidx = NULL"))


@pytest.mark.parametrize("page", WITH_MIGRATIONS, ids=name_of)
def test_migrations_run(page, world):
    (environment,) = filter(is_environment, blocks(page, "python"))
    project = Project(world.directory, world.backend)
    code = textwrap.indent(world.with_real_keys(environment.code), "    ")
    code = ENVIRONMENT.format(arn=world.arn, url=world.backend.url_text, block=code)
    (world.directory / "scripts" / "env.py").write_text(code)

    statements = [line for block in blocks(page, "python") for line in operations(block)]
    assert statements
    for statement in statements:
        if statement.startswith("op.reencrypt("):
            clinic(world)
        revision = project.revision(statement)
        project.upgrade()
        assert project.version() == revision


def test_the_quick_start_prints_what_it_says_and_stores_what_the_table_shows(world, capsys):
    (block, *_) = blocks(ROOT / "README.md", "python")
    world.run(block)
    assert capsys.readouterr().out == "Ada {'blood': 'A+'}\n"

    engine = create_engine(f"sqlite:///{world.directory / 'clinic.db'}")
    columns = "id, name, ssn, notes, ssn_bidx"
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT {columns} FROM patient")).all()
    engine.dispose()
    (row,) = rows
    shown = re.search(r"^\| 1 \| Ada \|.*$", (ROOT / "README.md").read_text(), re.M)
    assert shown
    assert re.findall(r"\((\d+) bytes\)", shown[0]) == [str(len(value)) for value in row[2:]]
    assert f"| {' | '.join(columns.split(', '))} |" in (ROOT / "README.md").read_text()


def test_the_page_on_keys_shows_a_key_store_that_works(world):
    for_keys(world)
    (block,) = (b for b in blocks(ROOT / "docs" / "keys.md", "python") if "(KeyStore)" in b.code)
    world.run(block)
    encryption = attach(world.engine, world.names["MemoryKeyStore"]())
    assert [version.number for version in (encryption.keys.create("default"),)] == [1]
    with Session(world.engine) as session:
        session.add(Patient(id=1, ssn="123-45-6789"))
        session.commit()
        encryption.keys.rotate("default")
        session.add(Patient(id=2, ssn="987-65-4321"))
        session.commit()
    encryption.detach()
    attach(world.engine, encryption._store)
    with Session(world.engine) as session:
        assert session.get_one(Patient, 1).ssn == "123-45-6789"
        assert session.get_one(Patient, 2).ssn == "987-65-4321"


def test_every_name_that_pages_are_given_is_one_of_theirs():
    assert set(PREPARE) <= {name_of(page) for page in WITH_CODE}
