"""Parked values on their way to the statement that will seal them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from sqlalchemy.sql.elements import Null

from encfields.errors import UnboundValueError

UNSEALED = "unsealed"
"""Error reason for a parked value that reached a driver."""


class Pending:
    """An opaque, redacted parcel: one value of one row, parked by a bind processor.

    :class:`encfields.orm.write.hook.WriteHook` exchanges it for bytes just before the driver sees
    the statement. It shows nothing, and refuses whatever a driver that does not
    know its type might try: being turned into text or pickled.
    """

    __slots__ = ("done", "sealed", "value")

    def __init__(self, value: object) -> None:
        self.value = value
        self.done = False
        self.sealed: bytes | None = None

    def settle(self, sealed: bytes | None) -> None:
        """Set what the driver gets instead of the value; ``None`` for NULL."""
        self.sealed = sealed
        self.done = True

    def __repr__(self) -> str:
        return "<encrypted value>"

    def __str__(self) -> str:
        raise _stray()

    def __format__(self, spec: str) -> str:
        raise _stray()

    def __bytes__(self) -> bytes:
        raise _stray()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a value that waits to be encrypted is never pickled")

    def __conform__(self, protocol: object) -> NoReturn:
        """Called by sqlite3 to adapt a value of unknown type."""
        raise _stray()

    def translate(self, table: object) -> NoReturn:
        """Called by PyMySQL, which escapes a value of unknown type like a string."""
        raise _stray()


class Carried:
    """The plaintext bytes of a value, or NULL, read to be resealed.

    They never become a Python value, so an application's type that stores a derived form, such as a
    hash, does not derive it a second time.
    """

    __slots__ = ("data",)

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def __repr__(self) -> str:
        return "<encrypted value>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a value that waits to be encrypted is never pickled")


def is_null(value: object, *, none_is_value: bool = False) -> bool:
    """Whether a parameter is NULL, given or read.

    :param none_is_value: ``None`` is a value, as for a JSON column.
    """
    if value is None:
        return not none_is_value
    return isinstance(value, Null) or (isinstance(value, Carried) and value.data is None)


class PendingIndex(Pending):
    """A placeholder for a row's blind index, computed from the value in the same row.

    :param value: a mark, or ``None`` if the statement gives none.
    """

    __slots__ = ()


class PendingLookup(Pending):
    """A look-up value, waiting to become a blind index.

    :param value: the value.
    :param token: of the bind's type, which identifies the index.
    """

    __slots__ = ("token",)

    def __init__(self, value: object, token: object) -> None:
        super().__init__(value)
        self.token = token


def _stray() -> UnboundValueError:
    return UnboundValueError(
        "a value that waits to be encrypted reached the database driver unsealed; it was not "
        "stored. Execute the statement on an engine that attach() was given",
        reason=UNSEALED,
    )


def exchanged(row: Any) -> Any:
    """A driver's parameter set with bytes in place of each parked value."""
    if isinstance(row, dict):
        return dict(zip(row, _sent(row.values()), strict=True))
    values = _sent(row)
    return tuple(values) if isinstance(row, tuple) else values


def _sent(row: Iterable[Any]) -> list[Any]:
    """What the driver gets of each value."""
    sent = []
    for value in row:
        if not isinstance(value, Pending):
            sent.append(value)
        elif value.done:
            sent.append(value.sealed)
        else:
            raise UnboundValueError(
                "the statement does not tell which row a value, or its blind index, is for; "
                "nothing was sent to the database",
                reason="unbound",
            )
    return sent
