"""Every exception this library raises, as one tree.

::

    EncFieldsError
    ├── DeclarationError                the column cannot be protected as declared
    ├── ConfigurationError              the engine or key store is not set up for this
    │   └── NotAttachedError            an engine that attach() never saw
    ├── ValueEncodingError              the Python value has no encoding under the column's type
    ├── BindingError                    the statement does not say which row
    │   ├── UnboundValueError           a plaintext used where no row is known
    │   ├── UnknownIdentityError        the identity of a new row cannot be determined
    │   ├── AmbiguousRowError           an UPDATE that does not pin one row
    │   ├── IdentityChangeError         the identity would change under the ciphertext
    │   ├── CiphertextCopyError         an SQL expression assigned to an encrypted column
    │   ├── UnsupportedOperationError   an operator that ciphertext cannot answer
    │   └── UnreadableError             a result that cannot be traced to a row
    ├── BlindIndexError                 a row's blind index does not match its value
    ├── DecryptionError
    │   ├── ContextMismatchError        written for another row or column
    │   ├── TamperedError               authentication failed
    │   ├── MalformedMessageError       not a message of ours: truncated, plaintext, garbage
    │   └── ValueDecodingError          authentic, but not what the column's type writes
    └── KeyStoreError
        ├── KeyUnavailableError         KMS or store out of reach, throttled, denied
        ├── KeyNotFoundError
        ├── KeyExistsError
        ├── KeyAccessError              the keyring is not one that can open this key
        └── KeyDestroyedError

Each mixes in :class:`sqlalchemy.exc.DontWrapMixin`: SQLAlchemy would otherwise wrap it in a
``StatementError`` that prints the statement's bind parameters, that is, the plaintext.
No message, argument or attribute of these classes ever holds a plaintext or a key.
"""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

from sqlalchemy.exc import DontWrapMixin

__all__ = [
    "EncFieldsError",
    "DeclarationError",
    "ConfigurationError",
    "NotAttachedError",
    "ValueEncodingError",
    "BindingError",
    "UnboundValueError",
    "UnknownIdentityError",
    "AmbiguousRowError",
    "IdentityChangeError",
    "CiphertextCopyError",
    "UnsupportedOperationError",
    "UnreadableError",
    "BlindIndexError",
    "DecryptionError",
    "ContextMismatchError",
    "TamperedError",
    "MalformedMessageError",
    "ValueDecodingError",
    "KeyStoreError",
    "KeyUnavailableError",
    "KeyNotFoundError",
    "KeyExistsError",
    "KeyAccessError",
    "KeyDestroyedError",
]

MAX_PART_CHARS = 300
"""Most characters of a row's identity, or of a key id, in an error's text: they may come from the
database, at any length."""

MAX_MESSAGE_CHARS = 4_000
"""Most characters of the rest of the text."""


_CAUSE: Any = vars(BaseException)["__cause__"]
"""Where Python keeps what an exception was raised from."""

_ARGS: Any = vars(BaseException)["args"]


class ErrorDetails(TypedDict, total=False):
    """Keyword arguments of every error in the tree: where and why it happened."""

    table: str | None
    column: str | None
    key_id: str | None
    row: dict[str, str] | None
    reason: str | None


class EncFieldsError(DontWrapMixin, Exception):
    """Base of every exception of this library.

    :param message: what happened and what to do about it; never a value.
    :param table: table concerned, with its schema if it has one.
    :param column: column concerned.
    :param key_id: branch key id concerned.
    :param row: identity of the row, as ``{column: canonical text}``.
    :param reason: short, stable, machine-readable word (``"throttled"``, ``"truncated"``).
    """

    def __init__(
        self,
        message: str,
        *,
        table: str | None = None,
        column: str | None = None,
        key_id: str | None = None,
        row: dict[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(shortened(message, MAX_MESSAGE_CHARS))
        self.message = message
        self.table = table
        self.column = column
        self.key_id = key_id
        self.row = row
        self.reason = reason

    @property
    def __cause__(self) -> BaseException | None:
        """What it was raised from, and never itself.

        SQLAlchemy raises what it does not wrap from itself. Who follows causes to the first one
        would not come to an end.
        """
        cause: BaseException | None = _CAUSE.__get__(self)
        return None if cause is self else cause

    @__cause__.setter
    def __cause__(self, cause: BaseException | None) -> None:
        _CAUSE.__set__(self, cause)

    @property
    def args(self) -> tuple[Any, ...]:
        """The whole text: all that a task queue keeps of an error, beside its class, in JSON."""
        return (str(self),)

    @args.setter
    def args(self, args: tuple[Any, ...]) -> None:
        _ARGS.__set__(self, args)

    def __str__(self) -> str:
        place, message = self._place(), shortened(self.message, MAX_MESSAGE_CHARS)
        return f"{place}: {message}" if place else message

    def _place(self) -> str:
        """A readable prefix that says where it happened."""
        parts: list[str] = []
        if self.table and self.column:
            parts.append(f"{self.table}.{self.column}")
        elif self.column or self.table:
            parts.append(self.column or self.table or "")
        if self.row:
            row = (f"{name}={printable(text)}" for name, text in self.row.items())
            parts.append("row " + ", ".join(row))
        if self.key_id:
            parts.append(f"key {shortened(str(self.key_id))!r}")
        return ", ".join(parts)


def shortened(text: str, limit: int = MAX_PART_CHARS) -> str:
    """A text, cut to `limit` characters."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"


def printable(text: str) -> str:
    """A text from the database, shortened and escaped, so that it cannot forge log lines or control
    a terminal."""
    shown = shortened(text)
    if shown.isprintable():
        return shown
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in shown
    )


class DeclarationError(EncFieldsError):
    """The column cannot be protected as declared; raised when the model is defined."""


class ConfigurationError(EncFieldsError):
    """The engine, its options or the key store are not set up for what was asked."""


class NotAttachedError(ConfigurationError):
    """An encrypted value met an engine that :func:`encfields.attach` never saw."""


class ValueEncodingError(EncFieldsError):
    """The Python value has no encoding under the column's type; nothing was stored."""


class BindingError(EncFieldsError):
    """The statement does not say which row a value belongs to."""


class UnboundValueError(BindingError):
    """A plaintext is used where no row is known (WHERE, a function, a CTE)."""


class UnknownIdentityError(BindingError):
    """The identity of a new row cannot be determined before or after the INSERT."""


class AmbiguousRowError(BindingError):
    """An UPDATE or upsert that does not pin exactly one row."""


class IdentityChangeError(BindingError):
    """The row's identity would change under a ciphertext bound to the old one."""


class CiphertextCopyError(BindingError):
    """An SQL expression, another column or a value of another type is assigned to the column."""


class UnsupportedOperationError(BindingError):
    """An operator or function that ciphertext cannot answer."""


class UnreadableError(BindingError):
    """A result column that cannot be traced to the row it came from."""


class BlindIndexError(EncFieldsError):
    """A row's blind index does not match its value: a look-up misses the row, or finds it by
    another value. Verification reports it; ``reason`` is ``"index-missing"`` or
    ``"index-mismatch"``."""


class DecryptionError(EncFieldsError):
    """A stored value did not open. It is never returned."""


class ContextMismatchError(DecryptionError):
    """A genuine message, written for another row, column, table or tenant.

    :param expected: encryption context of the place it was read from.
    :param found: encryption context the message itself carries.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: dict[str, str] | None = None,
        found: dict[str, str] | None = None,
        **place: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **place)
        self.expected = expected or {}
        self.found = found or {}


class TamperedError(DecryptionError):
    """Authentication failed: the message was altered, or its key is not the one it names."""


class MalformedMessageError(DecryptionError):
    """Not a message of ours: truncated, plaintext, garbage, or another suite or keyring.

    :param offset: byte offset at which reading stopped, counted from the message's first byte.
    """

    def __init__(
        self,
        message: str,
        *,
        offset: int | None = None,
        **place: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **place)
        self.offset = offset


class ValueDecodingError(DecryptionError):
    """The message is authentic, but its plaintext is not what the column's type writes."""


class KeyStoreError(EncFieldsError):
    """A branch key could not be fetched."""


class KeyUnavailableError(KeyStoreError):
    """KMS or the key table is unreachable, throttles or denies access: retry, or fix the access.

    ``reason`` is one of ``"unreachable"``, ``"throttled"``, ``"denied"``, ``"disabled"``,
    ``"error"``.
    """


class KeyNotFoundError(KeyStoreError):
    """There is no key with that id, or no such version of it."""


class KeyExistsError(KeyStoreError):
    """A key with that id already exists."""


class KeyAccessError(KeyStoreError):
    """None of the keyring's wrapping keys opens the key: another one wrapped it, or the wrapped
    bytes were altered."""


class KeyDestroyedError(KeyStoreError):
    """The key was deliberately destroyed; what it sealed is lost for good."""
