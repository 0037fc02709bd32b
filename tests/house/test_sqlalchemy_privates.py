"""Private names of SQLAlchemy are known in one folder and Alembic's in one file, which list them.

Anywhere else, nobody reads a private name of another object at all, ours included: so no list of
SQLAlchemy's names is needed to find one.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import pytest
import sqlalchemy
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, create_engine
from sqlalchemy.dialects.postgresql import ExcludeConstraint

import encfields.alembic.internals
import encfields.orm.internals

PACKAGE = Path(__file__).parents[2] / "src" / "encfields"

INTERNALS = [
    *(
        importlib.import_module(f"encfields.orm.internals.{file.name}")
        for file in pkgutil.iter_modules(encfields.orm.internals.__path__)
    ),
    encfields.alembic.internals,
]
"""The modules that know private names of SQLAlchemy and of Alembic."""

OTHERS = {
    "keys/aws/deadline.py": {"_endpoint", "_pool_classes_by_scheme", "_new_conn"},
    "keys/sql/event_loops.py": {"_loop"},
    "testing/plugin.py": {"_report_sections", "_excinfo"},
    "testing/channels.py": {"_getframe"},
    "orm/adoption/unsealed.py": {"_getframe"},
    "cli/terminal.py": {"_exit"},
    "doctor/key_table.py": {"_exit"},
}
"""Private names of botocore, urllib3, async drivers and pytest, and documented ones of the standard
library."""

EVERYWHERE = {"_replace", "_asdict", "_fields"}
"""Documented names of named tuples."""


def migration_context() -> MigrationContext:
    return MigrationContext.configure(dialect_name="sqlite")


INSTANCES: dict[str, Callable[[], Any]] = {
    "sqlalchemy.engine.base.OptionEngine": lambda: create_engine("sqlite://").execution_options(),
    "sqlalchemy.dialects.sqlite.base.SQLiteDialect": lambda: create_engine("sqlite://").dialect,
    "sqlalchemy.dialects.postgresql.ExcludeConstraint": lambda: ExcludeConstraint(("c", "=")),
    "sqlalchemy.schema.CheckConstraint": lambda: CheckConstraint("1 = 1"),
    "alembic.runtime.migration.MigrationContext": migration_context,
    "alembic.autogenerate.api.AutogenContext": lambda: AutogenContext(migration_context()),
}
"""Of classes whose objects have the name, and the class has not."""


NAMING = (
    ast.Attribute,
    ast.Call,
    ast.keyword,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Name,
)
"""What :func:`uses` and :func:`defined_in` look at."""


class Use(NamedTuple):
    """A private name, as a piece of code uses it.

    :ivar owner: ``self``, ``super`` or ``other``: whose name it is.
    """

    name: str
    owner: str
    is_written: bool
    line: int


def is_private(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def owner_of(node: ast.expr) -> str:
    match node:
        case ast.Name(id="self" | "cls"):
            return "self"
        case ast.Call(func=ast.Name(id="super")):
            return "super"
    return "other"


@functools.cache
def nodes(tree: ast.AST) -> list[ast.AST]:
    """Those of a piece of code that can have a name: to look at all takes most of the time."""
    return [node for node in ast.walk(tree) if isinstance(node, NAMING)]


def uses(tree: ast.AST) -> Iterator[Use]:
    """The private names that code takes of objects and modules."""
    for node in nodes(tree):
        match node:
            case ast.Attribute(value=value, attr=name, ctx=ctx) if is_private(name):
                yield Use(name, owner_of(value), not isinstance(ctx, ast.Load), node.lineno)
            case ast.Call(
                func=ast.Name(id="getattr" | "hasattr" | "setattr" | "delattr" as verb),
                args=[value, ast.Constant(value=name), *_],
            ) if is_private(name):
                yield Use(name, owner_of(value), verb in ("setattr", "delattr"), node.lineno)
            case ast.keyword(arg=str(name)) if is_private(name):
                yield Use(name, "other", False, node.lineno)
            case ast.ImportFrom(names=names):
                for one in names:
                    if is_private(one.name):
                        yield Use(one.name, "other", False, node.lineno)


@functools.cache
def defined_in(tree: ast.AST) -> set[str]:
    """The private names that code defines itself: of modules, classes and their objects."""
    found: set[str] = set()
    for node in nodes(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                found.add(name)
    return {name for name in found if is_private(name)}


@functools.cache
def files() -> dict[str, ast.Module]:
    """Every file of the package, parsed: by tests, and not by each worker that collects them."""
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text())
        for path in PACKAGE.rglob("*.py")
    }


KNOWING = {str(Path(module.__file__ or "").relative_to(PACKAGE)) for module in INTERNALS}


def elsewhere() -> list[str]:
    """The files that know no private name."""
    return sorted(files().keys() - KNOWING - {"__init__.py", "__main__.py", "reencrypt.py"})


@functools.cache
def ours() -> set[str]:
    """The private names that the package defines itself."""
    return {name for tree in files().values() for name in defined_in(tree)}


def foreign_to(file: str) -> set[str]:
    """Private names that a file takes of objects which are neither its own nor the library's.

    A file's classes may know one another; and a class those of ours that it derives from.
    """
    of_its_own = defined_in(files()[file])
    return {
        f"{file}:{use.line} {use.name}"
        for use in uses(files()[file])
        if use.name not in OTHERS.get(file, set()) | EVERYWHERE
        and use.name not in (of_its_own if use.owner == "other" else ours())
    }


def test_no_other_file_takes_a_private_name_of_another_object():
    assert {found for file in elsewhere() for found in foreign_to(file)} == set()


def overridden_in(file: str) -> Iterator[str]:
    """Private names of SQLAlchemy or Alembic under which a file's classes have something else."""
    module = importlib.import_module(f"encfields.{file.removesuffix('.py').replace('/', '.')}")
    for node in ast.walk(files()[file]):
        cls = getattr(module, node.name, None) if isinstance(node, ast.ClassDef) else None
        if isinstance(cls, type):
            theirs = {name for base in foreign_bases(cls) for name in vars(base)}
            yield from (f"{file} {cls.__name__}.{n}" for n in defined_in(node) & theirs)


def foreign_bases(cls: type) -> list[type]:
    libraries = ("sqlalchemy", "alembic")
    return [base for base in cls.__mro__ if base.__module__.split(".")[0] in libraries]


def test_no_other_class_overrides_a_private_name():
    assert [found for file in elsewhere() for found in overridden_in(file)] == []


# -- what the modules say of themselves --------------------------------------------------------


class Listed(NamedTuple):
    """A private name in the list of a module.

    :ivar place: the class or module that has it.
    :ivar release: the only one of SQLAlchemy that has it; ``""`` for every one.
    """

    place: str
    name: str
    release: str


_LINE = re.compile(r"^    ([\w.]+) +((?:_\w+ ?)+)(?:\((\d\.\d)\))?$", re.M)


def listed(module: Any, heading: str = r"\w+") -> list[Listed]:
    """What a module's docstring lists under ``Read::``, ``Written::`` or ``Overridden::``, or all
    of it."""
    text = "".join(re.findall(rf"^{heading}::\n\n((?:    .+\n)+)", module.__doc__, re.M))
    return [
        Listed(place, name, release)
        for place, names, release in _LINE.findall(text)
        for name in names.split()
    ]


LISTED = [
    one
    for module in INTERNALS
    for one in listed(module)
    if sqlalchemy.__version__.startswith(one.release)
]


@pytest.mark.parametrize("one", LISTED, ids=lambda one: f"{one.place}.{one.name}")
def test_each_name_is_there(one):
    assert has(one.place, one.name)


def has(place: str, name: str) -> bool:
    if place in INSTANCES:
        return hasattr(INSTANCES[place](), name)
    thing = thing_at(place)
    if hasattr(thing, name):
        return True
    # An attribute that its class only declares, or one that it is made with.
    declares = any(name in vars(base).get("__annotations__", ()) for base in thing.__mro__)
    return declares or name in inspect.signature(thing).parameters


def thing_at(place: str) -> Any:
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module", INTERNALS, ids=lambda module: module.__name__)
def test_a_module_lists_what_it_uses_and_nothing_else(module):
    tree = files()[str(Path(module.__file__).relative_to(PACKAGE))]
    read, written, overridden = (
        {one.name for one in listed(module, heading)}
        for heading in ("Read", "Written", "Overridden")
    )
    used = [use for use in uses(tree) if use.name not in defined_in(tree) - listed_by(module)]

    assert {use.name for use in used if use.is_written} == written
    assert {use.name for use in used if not use.is_written} == read | overridden
    assert {name for name in methods_of_classes(tree) if is_private(name)} == overridden


def listed_by(module: Any) -> set[str]:
    return {one.name for one in listed(module)}


def methods_of_classes(tree: ast.AST) -> set[str]:
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {one.name for cls in classes for one in cls.body if isinstance(one, ast.FunctionDef)}


def test_a_name_that_vanished_would_be_noticed():
    assert not has("sqlalchemy.sql.dml.Insert", "_no_such_name")
    assert not has("sqlalchemy.engine.base.OptionEngine", "_no_such_name")
