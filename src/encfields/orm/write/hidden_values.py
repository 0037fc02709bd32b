"""Values in a statement that outlives its execution.

SQLAlchemy's cache of compiled statements keeps the first statement of each form, and with it the
values that it was made with. So a value that is looked up, or written by ``values()``, is not in
its bind but behind a callable, which SQLAlchemy asks at every execution; and the callable holds
it encrypted under a key that this process made for it. Nobody who lists objects, pickles them or
looks at a bind's ``repr`` meets the value. It is no protection from whoever reads the process's
memory, where the key is too.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.sql.elements import BindParameter, ClauseList, Grouping

from encfields.keys.forking import in_forked_child
from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted

if TYPE_CHECKING:
    from encfields.orm.write.execution import WriteExecution

_cipher = AESGCM(AESGCM.generate_key(256))
_IV_BYTES = 12
_IVS_AT_ONCE = 64

_ivs: list[bytes] = []
"""Drawn from the system and not used yet. Each is taken off by one thread."""

in_forked_child(_ivs.clear)


class Veiled:
    """A bind's value; called, it gives it.

    :param value: anything that can be pickled.
    :raises Exception: it cannot.
    """

    __slots__ = ("_is_text", "_iv", "_sealed")

    def __init__(self, value: object) -> None:
        try:
            self._iv = _ivs.pop()
        except IndexError:
            self._iv, *more = _drawn_ivs()
            _ivs.extend(more)
        # Most values are a text, for which there is no need of pickling.
        self._is_text = type(value) is str
        data = value.encode("utf-8", _ANY) if type(value) is str else pickle.dumps(value)
        self._sealed = _cipher.encrypt(self._iv, data, None)

    def __call__(self) -> Any:
        data = _cipher.decrypt(self._iv, self._sealed, None)
        if self._is_text:
            return data.decode("utf-8", _ANY)
        # Nobody but this process can have made it: it authenticates.
        return pickle.loads(data)  # noqa: S301

    def __repr__(self) -> str:
        return "<veiled value>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a veiled value is never pickled")


class VeiledBind(BindParameter[Any]):
    """A bind whose value is veiled, and shown to whoever reads its attribute.

    SQLAlchemy asks the callable when it executes the statement that has the bind. Where a loader
    option with criteria meets a statement that is cached, it reads ``value`` instead.
    """

    inherit_cache = True

    @property
    def value(self) -> Any:
        """The value, as an attribute of SQLAlchemy's class."""
        # In this order, for another thread may be about to veil it.
        value, shown_by = self.__dict__["value"], self.__dict__.get("callable")
        return shown_by() if type(shown_by) is Veiled else value

    @value.setter
    def value(self, value: Any) -> None:
        self.__dict__["value"] = value
        if type(self.__dict__.get("callable")) is Veiled:
            # What is set replaces what the callable would give: so does ``params()``.
            self.callable = None

    def __repr__(self) -> str:
        return f"BindParameter({self.key!r}, <veiled value>)"


_ANY = "surrogatepass"
"""How UTF-8 holds every text that Python has, which is not this module's to refuse."""


def _drawn_ivs() -> list[bytes]:
    random = os.urandom(_IV_BYTES * _IVS_AT_ONCE)
    return [random[at : at + _IV_BYTES] for at in range(0, len(random), _IV_BYTES)]


def veil(bind: BindParameter[Any]) -> None:
    """Take the value out of a bind that nobody else has, or will ask for its value.

    ``None`` goes behind a callable too: the first statement of a form is the one that is compiled,
    and where its bind has no callable, SQLAlchemy asks no later statement's for one either. A
    value that cannot be pickled stays what it is, behind a callable of its own.
    """
    if bind.callable is not None or bind.required:
        return
    value = bind.value
    try:
        veiled = Veiled(value)
    except Exception:
        bind.callable = lambda: value
        return
    # Another thread may execute the same statement meanwhile: at no moment is the value not there.
    if type(bind) is BindParameter:
        bind.__class__ = VeiledBind
    bind.callable = veiled
    bind.__dict__["value"] = None


def veil_written(execution: WriteExecution) -> None:
    """Take out of their binds the values that ``values()`` gives encrypted columns."""
    for target, value in internals.update_values(execution.statement):
        # An attribute of the ORM may have another name than its column.
        if getattr(target, "key", target) in execution.bindings or is_encrypted(target):
            veil_all(value)


def veil_all(side: Any) -> None:
    """Take each value on one side of a comparison out of its bind."""
    parts: Iterable[Any] = ()
    if isinstance(side, BindParameter):
        if side.unique:
            for bind in internals.clones_of(side):
                veil(bind)
    elif isinstance(side, Grouping):
        parts = (side.element,)
    elif isinstance(side, ClauseList):
        parts = side.clauses
    for part in parts:
        veil_all(part)
