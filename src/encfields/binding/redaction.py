"""SQLAlchemy's own errors: their parameters are not shown before they are sealed.

A ``StatementError`` that is raised while parameters are still being prepared (a bad value of
another column, a missing bind) prints them as the application gave them. Once a statement has
reached the driver its parameters are ciphertext and stay visible.
"""

from __future__ import annotations

from typing import Any


def hide_unsealed_parameters(context: Any) -> None:
    """SQLAlchemy's ``handle_error`` event."""
    error = context.sqlalchemy_exception
    if error is not None and context.execution_context is None:
        error.hide_parameters = True
        error.params = None
