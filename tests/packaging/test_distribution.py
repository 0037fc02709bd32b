"""What is uploaded to a package index: whole, testable, and without dead links."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
from packaging.metadata import Metadata

from encfields.version import VERSION
from scripts.bill_of_materials import version_of, with_version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
INFO = f"encfields-{VERSION}.dist-info"
FILES = f"{PROJECT['urls']['Source']}/blob/main/"


def run(*arguments: Any, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The source distribution, built and unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    run("-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        archive.extractall(folder, filter="data")
    return folder / built.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built."""
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        yield archive


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel):
    held = {name for name in wheel.namelist() if not name.startswith(INFO)}

    assert held == {f"encfields/{name}" for name in files_in(ROOT / "src" / "encfields")}
    assert "encfields/py.typed" in held


def test_its_metadata_is_valid_and_of_the_one_version(wheel):
    told = wheel.read(f"{INFO}/METADATA")
    metadata = Metadata.from_email(told, validate=True)

    assert str(metadata.version) == VERSION
    assert metadata.license_expression == "Apache-2.0"
    assert f"{INFO}/licenses/LICENSE" in wheel.namelist()
    assert "encfields.cli" in wheel.read(f"{INFO}/entry_points.txt").decode()


def test_the_version_stands_in_one_place():
    """But for the compiled core, which is held to it: see test_native.py."""
    assert "version" in PROJECT["dynamic"]
    said = [
        path.name
        for path in (ROOT / "src").rglob("*.py")
        if re.search(rf"[\"']{re.escape(VERSION)}[\"']", path.read_text("utf-8"))
    ]
    assert said == ["version.py"]
    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_bill_of_materials_is_made_for_this_version():
    project = tomllib.loads(with_version((ROOT / "pyproject.toml").read_text("utf-8"), VERSION))

    assert version_of(ROOT) == VERSION
    assert project["project"]["version"] == VERSION
    assert "version" not in project["project"]["dynamic"]


def test_the_readme_on_the_package_index_has_no_relative_link(unpacked):
    shown = Parser().parsestr((unpacked / "PKG-INFO").read_text("utf-8"))
    links = LINK.findall(str(shown.get_payload()))
    of_files = [
        link.removeprefix(FILES).partition("#")[0] for link in links if link.startswith(FILES)
    ]

    assert shown["Description-Content-Type"] == "text/markdown"
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert of_files
    assert [file for file in of_files if not (unpacked / file).exists()] == []


@pytest.mark.parametrize("readme", ["native/README.md"])
def test_the_other_readme_shown_there_has_no_relative_links_either(readme):
    links = LINK.findall((ROOT / readme).read_text("utf-8"))
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_its_addresses_are_told(unpacked):
    shown = Parser().parsestr((unpacked / "PKG-INFO").read_text("utf-8"))
    told = shown.get_all("Project-URL") or []

    assert {line.partition(", ")[0] for line in told} >= {"Source", "Documentation", "Changelog"}
    assert all(", https://" in line for line in told)


@pytest.mark.parametrize("folder", ["tests", "docs", "examples", "migrations", "requirements"])
def test_it_holds_every_file_that_tests_read(unpacked, folder):
    assert files_in(unpacked / folder) == files_in(ROOT / folder)


def test_tests_run_from_the_source_distribution(unpacked):
    few = ["tests/documents/test_threat_model.py", "tests/format"]

    run("-m", "pytest", "-q", "-p", "no:cacheprovider", *few, cwd=unpacked)


def files_in(folder: Path) -> set[str]:
    """What is no by-product."""
    passing = {".pyc", ".key", ".db"}
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in passing)
    return {str(path.relative_to(folder)) for path in found}
