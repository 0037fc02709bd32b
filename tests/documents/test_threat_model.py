"""Each promise of the threat model names a test that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = sorted(
    set(re.findall(r"tests/[\w/]+\.py(?:::\w+)?", (ROOT / "docs/threat-model.md").read_text()))
)


@pytest.mark.parametrize("name", NAMED)
def test_it_is_there(name: str) -> None:
    file, _, function = name.partition("::")
    path = ROOT / file
    assert path.is_file()
    if function:
        tree = ast.parse(path.read_text())
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert function in {node.name for node in tree.body if isinstance(node, functions)}


def test_every_attack_is_in_it() -> None:
    model = (ROOT / "docs/threat-model.md").read_text()
    attacks = [path.name for path in (ROOT / "tests/attacks").glob("test_*.py")]
    assert [name for name in attacks if name not in model] == []
