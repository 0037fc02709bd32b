"""Where ``pickle`` finds the classes of the twins, as long as they are used."""

from __future__ import annotations

from itertools import count
from typing import Any
from weakref import WeakValueDictionary

_numbers = count()
_classes: WeakValueDictionary[str, Any] = WeakValueDictionary()


def body() -> dict[str, Any]:
    """What has a class be found here."""
    return {"__module__": __name__, "__qualname__": f"class_{next(_numbers)}"}


def show(made: Any) -> Any:
    """Have a class found here."""
    _classes[made.__qualname__] = made
    return made


def __getattr__(name: str) -> Any:
    try:
        return _classes[name]
    except KeyError:
        raise AttributeError(name) from None
