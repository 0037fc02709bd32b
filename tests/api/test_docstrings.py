"""Each parameter of what users call is described where ``help()`` shows it."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encfields.keys.admin import KeyAdmin
from encfields.keys.many.many_keys import ManyKeys
from tests.api.test_public_names import PUBLIC

MADE_BY_OTHERS = {"Attach", "Canary", "EncfieldsMaterialsManager", "Encryption"}
"""Classes that users get, and do not make."""

WITH_METHODS = {
    "Adoption",
    "Canary",
    "ColumnCensus",
    "Encryption",
    "KeyStore",
    "Reencryption",
    "TableSpec",
    "Transform",
}
"""Classes whose methods users call, or write. What a key store's methods take is said once, in
``KeyStore``, and what SQLAlchemy calls in a type, in SQLAlchemy's documentation."""


def described() -> Iterator[Any]:
    """What takes parameters: public functions, constructors, and methods."""
    for module in PUBLIC:
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            thing = getattr(loaded, name)
            if inspect.isfunction(thing):
                yield pytest.param(thing, id=f"{module}.{name}")
            if not inspect.isclass(thing) or issubclass(thing, BaseException):
                continue
            if name not in MADE_BY_OTHERS:
                yield pytest.param(thing, id=f"{module}.{name}")
            if name in WITH_METHODS:
                yield from methods_of(thing)
    yield from methods_of(KeyAdmin)
    yield from methods_of(ManyKeys)


def methods_of(cls: type) -> Iterator[Any]:
    for name, method in inspect.getmembers(cls):
        is_twin = name.startswith("a") and hasattr(cls, name[1:])
        if not name.startswith("_") and inspect.isroutine(method) and not is_twin:
            yield pytest.param(method, id=f"{cls.__name__}.{name}")


@pytest.mark.parametrize("thing", list(described()))
def test_each_parameter_is_described(thing: Callable[..., Any]):
    parameters = set(inspect.signature(thing).parameters) - {"self"}
    told = set(re.findall(r":(?:param|ivar) (\w+):", inspect.getdoc(thing) or ""))

    assert parameters <= told
