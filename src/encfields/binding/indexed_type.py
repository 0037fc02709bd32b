"""Which Python type a blind index sees, whatever SQLAlchemy's type says of it."""

from __future__ import annotations

import enum
from typing import Any

from sqlalchemy import Enum
from sqlalchemy.types import TypeDecorator, TypeEngine


def indexed_type(inner: TypeEngine[Any]) -> type[Any]:
    """The Python type of a column's values; an enumeration of strings is an enumeration."""
    stored: Any = inner
    while isinstance(stored, TypeDecorator):
        stored = stored.impl_instance
    if isinstance(stored, Enum):
        return enum.Enum
    try:
        return inner.python_type
    except NotImplementedError:
        return object


def has_few_values(python_type: type[Any]) -> bool:
    """Whether a column of that type has so few values that counting rows tells them."""
    return issubclass(python_type, bool | enum.Enum)
