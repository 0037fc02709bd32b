"""The package imports downward only: at run time, inside functions and for typing alike."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "encfields"

FLOORS = (
    ("databases", "errors", "kept_state", "traces", "version", "orm.internals"),
    (
        "arguments",
        "branch_key",
        "codecs",
        "context",
        "expected_arguments",
        "identity",
        "key_template",
    ),
    ("message", "message_header", "native_core"),
    ("keys", "keyrings"),
    ("index",),
    ("legacy", "orm", "sizes", "stats"),
    ("engine", "value_counter"),
    ("bulk", "reencrypt"),
    ("adopt",),
    ("interop", "telemetry", "testing"),
    ("alembic",),
    ("cli", "doctor", "planner"),
    ("__init__",),
)
"""The top-level modules and folders from the lowest floor up. A file may import what is on its own
floor or below. The module that knows SQLAlchemy's private names imports nothing of the package."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


FILES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(path: Path) -> Iterator[str]:
    """The files of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            if name.split(".")[0] == "encfields":
                yield file_of(name.removeprefix("encfields").lstrip("."))


def file_of(name: str) -> str:
    """The file in which a dotted name is: its module, or the one that it is a name in."""
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name or "__init__"


@functools.cache
def imports() -> dict[str, set[str]]:
    """What each file imports; read by the tests, and not by every worker that collects them."""
    return {name: set(imports_of(path)) for name, path in FILES.items()}


def floor(name: str) -> int:
    """The number of a file's floor: that of the innermost folder around it that has one."""
    here = (number for number, names in enumerate(FLOORS) if name in names)
    number = next(here, None)
    return floor(name.rpartition(".")[0]) if number is None else number


def reached_from(name: str) -> set[str]:
    """Every file that a file imports, and that those import, and so on."""
    reached: set[str] = set()
    left = set(imports()[name])
    while left:
        reached |= left
        left = {imported for one in left for imported in imports()[one]} - reached
    return reached


def test_every_file_has_its_floor():
    known = {top for tops in FLOORS for top in tops}

    assert {name.split(".")[0] for name in FILES} == {top.split(".")[0] for top in known}


def test_no_file_imports_from_a_floor_above():
    upward = {
        (name, imported)
        for name, imported_by_it in imports().items()
        for imported in imported_by_it
        if floor(imported) > floor(name)
    }

    assert upward == set()


def test_no_files_import_one_another():
    assert {name for name in FILES if name in reached_from(name)} == set()
