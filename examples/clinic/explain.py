"""What went wrong, for a person: what happened, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from encfields import errors


@dataclass(frozen=True)
class Trouble:
    """An error as the page shows it.

    :ivar title: in a few words. :ivar what: the library's own message; it never holds a value.
    :ivar todo: what a person does now.
    :ivar status: of the HTTP response.
    """

    title: str
    what: str
    todo: str
    status: int = 409


_KNOWN: list[tuple[type[Exception], str, str, int]] = [
    (
        errors.KeyUnavailableError,
        "The keys are out of reach",
        "Nothing is lost and nothing was written. Try again when the key service is back.",
        503,
    ),
    (
        errors.KeyDestroyedError,
        "Shredded",
        "The key was destroyed on purpose. Nobody can bring this value back.",
        410,
    ),
    (
        errors.KeyNotFoundError,
        "There is no such key",
        "Make the clinic's key first, or restore the key table from its backup.",
        503,
    ),
    (
        errors.ContextMismatchError,
        "This value belongs to another row",
        "Somebody moved it here. Look at who may write to the table; restore it from a backup.",
        409,
    ),
    (
        errors.TamperedError,
        "This value was altered",
        "Not a byte of it is believed. Restore it from a backup.",
        409,
    ),
    (
        errors.MalformedMessageError,
        "This is no encrypted value",
        "Something else was written here. Restore it from a backup.",
        409,
    ),
]


class NotNow(Exception):
    """What was asked for is under way, or done already: a button pressed twice."""


def explain(error: Exception) -> Trouble:
    """Put an error of the library into words."""
    for kind, title, todo, status in _KNOWN:
        if isinstance(error, kind):
            return Trouble(title, str(error), todo, status)
    if isinstance(error, NotNow):
        return Trouble("Not twice", str(error), "Look at the page as it is now.")
    if isinstance(error, errors.EncFieldsError):
        return Trouble("That did not work", str(error), "The message says what to do.")
    if isinstance(error, SQLAlchemyError):
        # Its text may hold what was to be written.
        return Trouble(
            "The database did not do it",
            f"It answered with {type(error).__name__}, and nothing was written.",
            "See whether it runs, and try again.",
            503,
        )
    return Trouble(
        "A fault of the application",
        f"{type(error).__name__}: nothing more is told here, since it may hold a value.",
        "Go on, and report it.",
        500,
    )
