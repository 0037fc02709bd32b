"""docs/adopting.md is run, block by block, as a team would follow it."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    select,
    text,
)
from sqlalchemy.orm import Session

import encfields
from encfields import SqlKeyStore, attach, keyrings
from encfields.bulk import TableSpec
from encfields.cli import exits
from encfields.cli.main import main
from encfields.doctor.database import check_columns
from tests.documents.pages import ROOT, blocks

PAGE = ROOT / "docs" / "adopting.md"


class Shop:
    """The application of the page, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = create_engine(f"sqlite:///{folder / 'shop.db'}")
        key = folder / "wrapping.key"
        keyrings.generate_local_key(key)
        attach(self.engine, SqlKeyStore(keyrings.local(key)), create=True)
        self.code = ""

    def deploy(self, code: str) -> Any:
        """Have the module ``shop`` hold this."""
        self.code = code
        (self.folder / "shop.py").write_text(code)
        sys.modules.pop("shop", None)
        importlib.invalidate_caches()
        return importlib.import_module("shop")

    def deploy_with_a_row(self, code: str) -> None:
        """Have it hold the version before the adoption, which has written a plaintext."""
        module = self.deploy(code)
        module.Base.metadata.create_all(self.engine)
        with Session(self.engine) as session:
            session.add(module.Customer(id=7, email="grace@example.org"))
            session.commit()

    def deploy_phase(self, phase: str) -> Any:
        return self.deploy(self.code.replace(self.phase, phase))

    @property
    def phase(self) -> str:
        return self.code.partition('phase="')[2].partition('"')[0]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", f"sqlite:///{tmp_path / 'shop.db'}")
    monkeypatch.setenv("ENCFIELDS_KEYRING", f"local:{tmp_path / 'wrapping.key'}")
    yield Shop(tmp_path)
    # Other tests have a module of this name too.
    sys.modules.pop("shop", None)


def test_the_page_leads_from_plaintext_to_encrypted_and_back(
    shop: Shop, capsys: pytest.CaptureFixture[str]
):
    old, new, use, _ = [block.code for block in blocks(PAGE, "python")]
    steps = [block.code.strip().splitlines() for block in blocks(PAGE, "sh")]
    shop.deploy_with_a_row(old)
    module = shop.deploy(new)

    run(steps[0])
    with Session(shop.engine) as session:
        exec(use, {"session": session, "select": select, "Customer": module.Customer})
        session.commit()
    run(steps[1])
    shop.deploy_phase("read-sealed")
    run(steps[2])
    shop.deploy_phase("write-sealed")
    run(steps[3])
    assert plaintexts(shop) == [None, None]
    run(steps[4])
    shop.deploy_phase("read-sealed")
    run(steps[5])
    assert plaintexts(shop) == ["ada@example.org", "grace@example.org"]
    last = shop.deploy_phase("write-sealed")
    run(steps[6])

    assert "plaintext remains in" in capsys.readouterr().out
    with Session(shop.engine) as session:
        found = session.scalars(select(last.Customer.id)).all()
    assert sorted(found) == [1, 7]


def test_a_refusal_counts_the_rows_and_says_what_to_do(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, *_ = [block.code for block in blocks(PAGE, "python")]
    shop.deploy_with_a_row(old)
    shop.deploy(new)
    run(["encfields adopt begin customer.email --models shop:Base"])
    assert main(["adopt", "ensure", "customer.email", "--models", "shop:Base"]) == exits.FAILED
    what, to_do = capsys.readouterr().err.splitlines()
    assert "pending 1" in what
    assert "id=7: its plaintext is not sealed yet" in what
    assert to_do.startswith("encfields: what to do: run `encfields adopt run` first")
    assert main(["adopt", "close", "customer.email", "--models", "shop:Base"]) == exits.FAILED
    told = " ".join(capsys.readouterr().err.split())
    assert "`encfields adopt close` cannot be done yet" in told
    assert "run `encfields adopt ensure` first" in told


def test_status_tells_of_rows_with_only_plaintext_and_names_the_next_step(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, *_ = [block.code for block in blocks(PAGE, "python")]
    shop.deploy_with_a_row(old)
    tables = shop.deploy(new).Base.metadata.tables
    (missing,) = check_columns(shop.engine, [TableSpec.from_table(tables["customer"])])
    assert missing.detail.endswith("run `encfields adopt begin`")
    of_column = "customer.email --models shop:Base"

    def status(code: int, told: str) -> None:
        assert main(["status", "--models", "shop:Base"]) == code
        output = capsys.readouterr()
        assert told in " ".join((output.out + output.err).split())

    def step(verb: str) -> str:
        return f"`encfields adopt {verb} customer.email`"

    status(exits.FAILED, f"what to do: run {step('begin')}")
    run([f"encfields adopt begin {of_column}"])
    status(exits.WORK_LEFT, f"1 row with only plaintext. Next: run {step('run')}")
    run([f"encfields adopt run {of_column}"])
    status(exits.OK, 'sealed. Next: deploy the phase "read-sealed".')
    shop.deploy_phase("read-sealed")
    status(exits.OK, f"no old process is left, run {step('ensure')}")
    run([f"encfields adopt ensure {of_column}", f"encfields adopt status {of_column}"])
    assert 'Next: deploy the phase "write-sealed"' in capsys.readouterr().out
    shop.deploy_phase("write-sealed")
    status(exits.OK, f"no process of another phase is left, run {step('close')}")
    run([f"encfields adopt close {of_column}"])
    status(exits.OK, f"without adopts=, run {step('end')}")
    run([f"encfields adopt end {of_column}"])
    status(exits.OK, "declare the encrypted one without adopts=")


def run(commands: list[str]) -> None:
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command


def plaintexts(shop: Shop) -> list[str | None]:
    with shop.engine.connect() as connection:
        return list(connection.scalars(text("SELECT email FROM customer ORDER BY id")))


def test_the_page_adopts_what_another_library_encrypted(shop: Shop) -> None:
    *_, legacy = [block.code for block in blocks(PAGE, "python")]
    names: dict[str, Any] = {"__name__": "shop", "String": String, **vars(encfields)}
    exec(legacy, names)
    columns = Column("id", Integer, primary_key=True), Column("token_enc", names["token"])
    table = Table("customer", MetaData(), *columns)
    table.create(shop.engine)
    with shop.engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "token_enc": "abc"})
        assert connection.scalars(select(table.c.token_enc)).all() == ["abc"]
        assert connection.scalars(text("SELECT token FROM customer")).all() == [b"cba"]
