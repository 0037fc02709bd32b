"""Which of Python's values a type stores as NULL."""

from __future__ import annotations

from typing import Any

from sqlalchemy.types import JSON, TypeDecorator, TypeEngine


def none_is_value(inner: TypeEngine[Any]) -> bool:
    """Whether ``None`` is a value to the type, JSON's ``null``, and not NULL.

    So it is to SQLAlchemy's JSON unless it has ``none_as_null=True``, and to what decorates it.
    """
    stored: Any = inner
    while isinstance(stored, TypeDecorator):
        stored = stored.impl_instance
    return isinstance(stored, JSON) and not stored.none_as_null
