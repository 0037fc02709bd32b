"""Which Python type a blind index sees, whatever SQLAlchemy's type says of it."""

from __future__ import annotations

import enum
from typing import Any

from sqlalchemy import Enum
from sqlalchemy.types import TypeDecorator, TypeEngine


def indexed_type(inner: TypeEngine[Any]) -> type[Any]:
    """The Python type of what is stored, from which an index is made.

    Of a type of the user's own that is the type it decorates; an enumeration of strings is an
    enumeration.
    """
    stored: Any = inner
    while isinstance(stored, TypeDecorator):
        stored = stored.impl_instance
    if isinstance(stored, Enum):
        return enum.Enum
    try:
        python_type: type[Any] = stored.python_type
    except NotImplementedError:
        return object
    return python_type


def has_few_values(python_type: type[Any]) -> bool:
    """Whether a column of that type has so few values that counting rows tells them."""
    return issubclass(python_type, bool | enum.Enum)
