"""The pages of ``docs/frameworks/``: their code is run, each page in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked
from tests.documents.pages import ROOT, blocks, name_of
from tests.frameworks import test_celery, test_gunicorn

PAGES = sorted((ROOT / "docs" / "frameworks").glob("*.md"))

PROGRAMS = {
    "fastapi": "import asyncio\n\nassert asyncio.run(names()) == ['Ada']\n",
    "flask": "",
    "litestar": "",
    "admin": "",
    "serialisers": "",
    "sharding": "",
}
"""Pages whose code is one program, with what shows that its last part works too."""

IMPORTED = ("fastapi.testclient", "flask", "litestar.testing", "sqladmin", "sqlalchemy.orm")
"""What most of them import, once."""

CLINIC = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType())
"""


def _page(name: str) -> Path:
    return ROOT / "docs" / "frameworks" / f"{name}.md"


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_page_is_a_program_that_runs(name: str, tmp_path: Path) -> None:
    found = [one.code for one in blocks(_page(name), "python")]
    code = [one for one in found if "context.configure" not in one]
    (tmp_path / "application.py").write_text("\n".join([*code, PROGRAMS[name]]))
    done = forked.run("application.py", folder=tmp_path, environment=os.environ, imported=IMPORTED)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_on_rolled_back_tests_passes_as_tests(tmp_path: Path) -> None:
    (tmp_path / "clinic.py").write_text(CLINIC)
    (block,) = blocks(_page("rolled-back-tests"), "python")
    (tmp_path / "test_clinic.py").write_text(block.code)
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_clinic.py"]
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_workers_do_after_a_fork_is_what_is_tested_with_them() -> None:
    forked = test_gunicorn.CONFIGURATION + test_celery.APPLICATION
    documented = "".join(one.code for one in blocks(_page("workers"), "python"))
    for line in ("def post_fork(server, worker):", "@worker_process_init.connect"):
        assert line in documented
        assert line in forked
    assert forked.count("engine.dispose(close=False)") == 2


def test_every_page_is_run_or_named_here() -> None:
    elsewhere = {"index", "workers", "rolled-back-tests"}
    assert {page.stem for page in PAGES} == PROGRAMS.keys() | elsewhere, [*map(name_of, PAGES)]
