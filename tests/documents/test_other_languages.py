"""What the documents show in other languages is the code that is run, in the versions that are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.languages import FOLDER
from tests.documents.pages import ROOT, blocks

PAGE = ROOT / "docs" / "interoperability.md"
SOURCES = {
    "javascript": ("demanding.mjs", "driver.mjs"),
    "java": ("src/main/java/Driver.java",),
    "rust": ("src/main.rs",),
    "go": ("main.go",),
}
PINS = {
    "javascript": ("package.json", r'"@aws-crypto/client-node": "([^"]+)"'),
    "java": ("pom.xml", r"<esdk.version>([^<]+)<"),
    "rust": ("Cargo.toml", r'aws-esdk = "=([^"]+)"'),
    "go": ("go.mod", r"releases/go/encryption-sdk v(\S+)"),
}


def lines(text: str) -> str:
    """Without indentation and empty lines, which a page may have otherwise."""
    stripped = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in stripped if line)


@pytest.mark.parametrize("language", SOURCES)
def test_code_on_the_page_is_a_part_of_the_program_that_is_run(language: str) -> None:
    programs = [lines((FOLDER / language / name).read_text()) for name in SOURCES[language]]
    shown = blocks(PAGE, language)
    assert shown
    for block in shown:
        for part in block.code.split("\n\n"):
            assert any(lines(part) in program for program in programs)


@pytest.mark.parametrize("language", PINS)
def test_the_table_of_programs_names_the_version_that_is_pinned(language: str) -> None:
    file, pattern = PINS[language]
    pinned = re.search(pattern, (FOLDER / language / file).read_text())
    assert pinned is not None
    row = re.search(rf"^\| `{language}` \|.*$", Path(FOLDER, "README.md").read_text(), re.M)
    assert row is not None
    assert f" {pinned[1]} |" in row[0]
