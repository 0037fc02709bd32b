"""Registers what Alembic calls for an operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from alembic.operations import MigrateOperation, Operations

from encfields.bulk.failures import raises_no_drivers_errors

_Function = TypeVar("_Function", bound=Callable[..., Any])


def implements(operation: type[MigrateOperation]) -> Callable[[_Function], _Function]:
    """Decorator of the function that does an operation. No driver's error leaves it: its text and
    its parameters can hold values of a row.

    :param operation: the operation's class.
    """

    def register(function: _Function) -> _Function:
        Operations.implementation_for(operation)(raises_no_drivers_errors(function))
        return function

    return register
