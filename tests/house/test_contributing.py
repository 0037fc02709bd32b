"""CONTRIBUTING.md leads whoever changes something to the place: it is whole, as are its links."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_directory_of_tests_is_in_the_table():
    table = PAGE.partition("## The tests, by concern")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    there = {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}

    assert sorted(listed) == sorted(there)


def test_every_link_leads_somewhere():
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", PAGE)

    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_folder_and_file_of_the_package_is_in_the_architecture():
    page = PAGE.partition("## The architecture on one page")[2].partition("\n## ")[0]
    told = set(re.findall(r"src/encfields/([\w.]+)", page))
    there = {
        path.name
        for path in (ROOT / "src" / "encfields").iterdir()
        if path.is_dir() != path.name.endswith(".py") and not path.name.startswith("_")
    }

    assert there - told == {"reencrypt.py", "message_header.py", "version.py"}


PACKAGE = ROOT / "src" / "encfields"
FOLDERS = sorted(
    path.parent
    for path in PACKAGE.rglob("__init__.py")
    if path.parent not in (PACKAGE, PACKAGE / "orm" / "internals")
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(PACKAGE)))
def test_a_folder_says_what_each_of_its_files_is_about(folder):
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    rows = [line.partition("  ")[0] for line in text.splitlines() if line.startswith("``")]
    listed = [name for row in rows for name in re.findall(r"``(\w+)``", row)]
    files = {path.stem for path in folder.glob("*.py") if not path.name.startswith("_")}
    files |= {path.parent.name for path in folder.glob("*/__init__.py")}

    assert sorted(listed) == sorted(files)
