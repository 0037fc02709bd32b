"""Hides values in statements that outlive their execution.

SQLAlchemy's statement cache keeps the first statement of each form with its values. So a value that
is looked up, or written by ``values()``, is not in its bind but behind a callable, which SQLAlchemy
calls at every execution and which holds it encrypted under a key of this process. Object listings,
pickles and ``repr`` do not show the value. It does not protect against reading the process's
memory, where the key is too.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.sql.elements import BindParameter, ClauseList, Grouping

from encfields.keys.forking import in_forked_child
from encfields.message import core
from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted

if TYPE_CHECKING:
    from encfields.orm.write.execution import WriteExecution

_key = AESGCM.generate_key(256)

_hiding: list[core.Cipher] = [AESGCM(_key)]
"""The last one hides values: Python's until one is shown, since using the compiled core tests it. A
program that is starting may build statements, but executes none."""

_IV_BYTES = 12
_IVS_AT_ONCE = 64

_ivs: list[bytes] = []
"""Random IVs not used yet; each is taken by one thread."""

in_forked_child(_ivs.clear)


class Veiled:
    """A bind's hidden value; call it to get the value.

    :param value: anything that can be pickled.
    :raises Exception: it cannot be pickled.
    """

    __slots__ = ("_is_text", "_iv", "_sealed")

    def __init__(self, value: object) -> None:
        try:
            self._iv = _ivs.pop()
        except IndexError:
            self._iv, *more = _drawn_ivs()
            _ivs.extend(more)
        # Most values are texts, which need no pickling.
        self._is_text = type(value) is str
        data = value.encode("utf-8", _ANY) if type(value) is str else pickle.dumps(value)
        self._sealed = _hiding[-1].encrypt(self._iv, data, None)

    def __call__(self) -> Any:
        data = _showing().decrypt(self._iv, self._sealed, None)
        if self._is_text:
            return data.decode("utf-8", _ANY)
        # Authenticated, so only this process can have made it.
        return pickle.loads(data)  # noqa: S301

    def __eq__(self, other: object) -> bool:
        """Whether both hide equal values, so that ``compare()`` of two expressions tells."""
        return type(other) is Veiled and bool(self() == other())

    def __hash__(self) -> int:
        return hash(Veiled)

    def __repr__(self) -> str:
        return "<veiled value>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a veiled value is never pickled")


class VeiledBind(BindParameter[Any]):
    """A bind whose value is veiled, but readable as its attribute.

    SQLAlchemy calls the callable when it executes the statement, but reads ``value`` for a loader
    option with criteria and a cached statement.
    """

    inherit_cache = True

    @property
    def value(self) -> Any:
        """The value, as an attribute of SQLAlchemy's class."""
        # In this order, since another thread may be veiling it.
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


@cache
def _showing() -> core.Cipher:
    """What shows values, and hides them from now on. It shows those that Python's hid as well."""
    cipher = core.Cipher(_key)
    _hiding.append(cipher)
    return cipher


_ANY = "surrogatepass"
"""Encodes even texts that are not valid Unicode; refusing them is not this module's task."""


def _drawn_ivs() -> list[bytes]:
    random = os.urandom(_IV_BYTES * _IVS_AT_ONCE)
    return [random[at : at + _IV_BYTES] for at in range(0, len(random), _IV_BYTES)]


def veil(bind: BindParameter[Any]) -> None:
    """Veil the value of a bind that nobody else reads.

    ``None`` is veiled, too: the first statement of a form is compiled, and if its bind has no
    callable, SQLAlchemy does not call later statements' either. A value that cannot be pickled
    stays unencrypted behind its callable.
    """
    if bind.callable is not None or bind.required:
        return
    value = bind.value
    try:
        veiled = Veiled(value)
    except Exception:
        bind.callable = lambda: value
        return
    # Another thread may be executing the same statement, so the value must always be there.
    if type(bind) is BindParameter:
        bind.__class__ = VeiledBind
    bind.callable = veiled
    bind.__dict__["value"] = None


def veil_written(execution: WriteExecution) -> None:
    """Veil the values that ``values()`` gives encrypted columns."""
    for target, value in internals.update_values(execution.statement):
        # An ORM attribute may have another name than its column.
        if getattr(target, "key", target) in execution.bindings or is_encrypted(target):
            veil_all(value)


def veil_all(side: Any) -> None:
    """Veil each value on one side of a comparison."""
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
