"""``Sealed``: a lazy column's value, which is opened only on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar, cast

from sqlalchemy.util import greenlet_spawn

from encfields.errors import UnsupportedOperationError
from encfields.traces import leaves_no_trace

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reveal:
    """One value that is about to be shown, for an audit log.

    :ivar table: full name of the table.
    :ivar column: name of the encrypted column.
    :ivar row: the row's key, as ``{column: canonical text}``.
    :ivar purpose: the argument of ``reveal(purpose=...)``.
    """

    table: str
    column: str
    row: Mapping[str, str]
    purpose: str | None


OnReveal = Callable[[Reveal], object]
"""Called before each value is revealed; raise to refuse."""


class LazyColumn(Protocol):
    """Opens the cells of one column on one engine."""

    def note(self, cell: bytes, purpose: str | None) -> None:
        """Report that a value is about to be shown."""

    def open(self, cell: bytes) -> Any:
        """The value in a cell."""

    def carry(self, cell: bytes) -> object:
        """The value in a cell, to be resealed without showing it."""

    def is_of(self, cell: bytes, column: str, texts: Sequence[str | None]) -> bool:
        """Whether a cell belongs to a column, by logical name, and a row, by its key's texts."""


class Sealed(Generic[T]):
    """A value of a column declared ``EncryptedType(..., lazy=True)``.

    It is not opened until :meth:`reveal`. Nothing else shows the value: it has no text, JSON or
    pickle form, and equals only itself. A copy of it is the same object.
    """

    __slots__ = ("__weakref__", "_cell", "_column", "_value")

    _cell: bytes
    _column: LazyColumn | None
    _value: Any

    def __init__(self) -> None:
        raise TypeError("a Sealed is read from a lazy column, or made with Sealed.of(value)")

    @classmethod
    def of(cls, value: T) -> Sealed[T]:
        """A value to be written. Assigning the bare value does the same, but does not satisfy a
        type checker.

        :param value: the Python value.
        :raises TypeError: `value` is ``None``, which stays ``None``, or is already sealed.
        """
        if value is None or isinstance(value, Sealed):
            raise TypeError("Sealed.of() takes a value: NULL is None, and a Sealed is one already")
        made = cls.__new__(cls)
        made._column, made._cell, made._value = None, b"", value
        return made

    def reveal(self, purpose: str | None = None) -> T:
        """The value, which is opened the first time.

        :param purpose: passed to ``attach(on_reveal=...)``.
        :returns: the Python value.
        :raises DecryptionError: the stored value does not open.
        :raises KeyStoreError: its key cannot be fetched, was destroyed, or is not cached and this
            is a coroutine: use :meth:`areveal` there.
        """
        if self._column is not None:
            self._column.note(self._cell, purpose)
            if self._value is _CLOSED:
                self._value = self._column.open(self._cell)
        return cast("T", self._value)

    async def areveal(self, purpose: str | None = None) -> T:
        """:meth:`reveal` in a coroutine: awaits a key that is not cached."""
        return await greenlet_spawn(self.reveal, purpose)

    def __repr__(self) -> str:
        return "<sealed value>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    @leaves_no_trace  # what it is compared with is a value, most likely its own
    def __eq__(self, other: object) -> bool:
        """Refused: it would have to open both, and its timing would tell about them."""
        if other is self or other is None:
            return other is self
        raise UnsupportedOperationError(
            "a sealed value is not compared: look rows up by the column's blind index, or compare "
            "what reveal() returns, secrets with hmac.compare_digest()",
            reason="sealed",
        )

    __hash__ = object.__hash__

    def __copy__(self) -> Sealed[T]:
        return self

    def __deepcopy__(self, memo: object) -> Sealed[T]:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sealed value is never pickled: pickle the row's key, and read it again")

    __getstate__ = __reduce__  # used by serializers of any object's state


_CLOSED: Any = object()


def sealed_in(cell: bytes, column: LazyColumn) -> Sealed[Any]:
    """The value in a cell, not opened."""
    made: Sealed[Any] = Sealed.__new__(Sealed)
    made._cell, made._column, made._value = cell, column, _CLOSED
    return made


def are_same(one: object, other: object) -> bool:
    """Whether two are the same stored value of the same row."""
    if type(one) is not Sealed or type(other) is not Sealed or one._column is None:
        return one is other
    return one._cell == other._cell  # includes the row's key, and no two messages are alike


def to_be_written(value: object) -> object:
    """What to seal when a :class:`Sealed` is written; anything else unchanged."""
    if type(value) is not Sealed:
        return value
    return value._value if value._column is None else value._column.carry(value._cell)


def is_from_elsewhere(value: object, column: str, texts: Sequence[str | None]) -> bool:
    """Whether a value was read from another place than it is written to.

    :param column: logical name of the target column.
    :param texts: canonical texts of the target row's key.
    """
    if type(value) is not Sealed or value._column is None:
        return False
    return not value._column.is_of(value._cell, column, texts)
