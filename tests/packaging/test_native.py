"""The compiled core's own distribution: of one version with encfields, and whole."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from encfields.version import VERSION
from tests.packaging.test_distribution import PROJECT, ROOT

NATIVE = ROOT / "native"
CRATE = tomllib.loads((NATIVE / "Cargo.toml").read_text("utf-8"))["package"]


def test_both_distributions_are_of_one_version():
    assert CRATE["version"] == VERSION
    assert PROJECT["optional-dependencies"]["native"] == [f"{CRATE['name']}=={VERSION}"]


def test_every_package_that_it_is_built_from_is_locked():
    locked = tomllib.loads((NATIVE / "Cargo.lock").read_text("utf-8"))["package"]
    others = [one for one in locked if one["name"] != CRATE["name"]]

    assert others
    assert all(re.fullmatch("[0-9a-f]{64}", one["checksum"]) for one in others)
    assert {one["source"] for one in others} == {
        "registry+https://github.com/rust-lang/crates.io-index"
    }


def test_its_license_is_the_project_s():
    assert (NATIVE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_source_distribution_holds_what_is_built(tmp_path):
    pytest.importorskip("maturin", reason="what builds the compiled core is not installed")
    command = [Path(sys.prefix) / "bin" / "maturin", "sdist", "--out", tmp_path]
    done = subprocess.run(command, cwd=NATIVE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}

    kept = (path for path in NATIVE.rglob("*") if path.is_file() and "target" not in path.parts)
    assert held >= {str(path.relative_to(NATIVE)) for path in kept}


def test_the_wheel_holds_the_core_and_its_types(native_files):
    assert {"__init__.pyi", "py.typed"} <= {path.name for path in native_files}
    assert any(path.name.endswith((".abi3.so", ".pyd")) for path in native_files)


@pytest.fixture
def native_files() -> list[importlib.metadata.PackagePath]:
    try:
        found = importlib.metadata.files("encfields-native")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the compiled core is not built here")
    assert found is not None
    return found
