"""The documentation's pages, and the code blocks in them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(r"^(?P<margin> *)```(?P<language>\w*)\n(?P<code>.*?)^ *```$", re.S | re.M)


def name_of(page: Path) -> str:
    """A page as a person names it: ``docs/keys.md``."""
    return page.relative_to(ROOT).as_posix()


class Block(NamedTuple):
    """One block of code in a page."""

    page: Path
    line: int
    code: str

    @property
    def place(self) -> str:
        """Where it is, for tracebacks and the names of tests."""
        return f"{name_of(self.page)}:{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    """The blocks of one language in a page, in its order."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start("code")) + 1, textwrap.dedent(found["code"]))
        for found in _BLOCK.finditer(text)
        if found["language"] == language
    ]


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _BLOCK.sub("", page.read_text())
