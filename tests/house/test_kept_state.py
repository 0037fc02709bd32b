"""What is kept on SQLAlchemy's objects, and beside them, is named in one module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from encfields import kept_state

PACKAGE = Path(__file__).parents[2] / "src" / "encfields"

NAMES = {name for name in vars(kept_state) if name.isupper()}

OF_OURS = {"impl"}
"""An attribute of a type of this library, which is looked for without its property."""


def keeps(node: ast.expr) -> bool:
    """Whether an expression is ``vars(x)`` of another object, or ``x.info``."""
    match node:
        case ast.Call(func=ast.Name(id="vars"), args=[ast.Name(id="self")]):
            return False
        case ast.Call(func=ast.Name(id="vars"), args=[_]) | ast.Attribute(attr="info"):
            return True
    return False


def kept(tree: ast.AST) -> Iterator[ast.expr]:
    """The keys under which code keeps something, or asks for it."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=value, slice=key) if keeps(value):
                yield key
            case ast.Call(
                func=ast.Attribute(value=value, attr="get" | "setdefault" | "pop"), args=[key, *_]
            ) if keeps(value):
                yield key


def is_named(key: ast.expr) -> bool:
    match key:
        case ast.Name(id=name):
            return name in NAMES
        case ast.Constant(value=name):
            return name in OF_OURS
    return False


def test_what_is_kept_on_objects_has_a_name_of_that_module():
    strange = {
        f"{path.relative_to(PACKAGE)}:{key.lineno}"
        for path in (PACKAGE / "orm").rglob("*.py")
        for key in kept(ast.parse(path.read_text()))
        if not is_named(key)
    }

    assert strange == set()


def test_every_name_is_used():
    used = {
        key.id
        for path in PACKAGE.rglob("*.py")
        for key in kept(ast.parse(path.read_text()))
        if isinstance(key, ast.Name)
    }

    assert used == NAMES


def weak_maps() -> Iterator[str]:
    """The weak maps that modules have, as ``module.name``."""
    for path in (PACKAGE / "orm").rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE / "orm").with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.AnnAssign) and "weakref.Weak" in ast.unparse(node.annotation):
                yield f"{module}.{ast.unparse(node.target)}"


def test_the_weak_maps_of_modules_are_listed():
    found = set(weak_maps())

    assert found
    assert {name for name in found if f"``{name}``" not in (kept_state.__doc__ or "")} == set()
