"""The error of an operator: within a hybrid, that of an attribute that a class lacks."""

from __future__ import annotations

import inspect
from typing import Any

from encfields.errors import UnsupportedOperationError


class OperatorRefusal(UnsupportedOperationError, AttributeError):
    """An :class:`~encfields.errors.UnsupportedOperationError` for who asks a class for a hybrid.

    ``Patient.full_name``, with ``self.first + self.last``, has no expression: SQLAlchemy's own
    answer is an AttributeError, as with ``self.name.upper()``. So ``hasattr()`` is false, and a
    bulk INSERT or UPDATE of SQLAlchemy 2.1, which asks for each hybrid, goes on without it.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Elsewhere it is nothing but what it is called."""
        return (UnsupportedOperationError, *BaseException.__reduce__(self)[1:])


for _name in ("__name__", "__qualname__", "__module__"):
    # Whoever reads an error looks for its class in the documentation.
    setattr(OperatorRefusal, _name, getattr(UnsupportedOperationError, _name))


def operator_refusal(message: str, **where: Any) -> UnsupportedOperationError:
    """The error of an operator; an AttributeError only in a hybrid that its class is asked for.

    Elsewhere libraries take an AttributeError for a fault of their own. Nor for who states the
    hybrid in a condition: ``filter_by(full_name="x")`` of SQLAlchemy would say that there is no
    such attribute, and no more, since it takes an AttributeError for that.
    """
    asked: set[str] = set()
    frame = inspect.currentframe()
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module == "sqlalchemy.ext.hybrid":
            asked.add("hybrid")
        elif module.startswith("sqlalchemy.") and frame.f_code.co_name == "filter_by":
            asked.add("filter_by")
        frame = frame.f_back
    of = OperatorRefusal if asked == {"hybrid"} else UnsupportedOperationError
    return of(message, **where)
