"""A value that is asked for, in the form in which the column's values are loaded.

The evaluator of ``synchronize_session`` compares in Python, where a UUID is not its text, the
Decimal 0.1 not the float and a date not its midnight: what the database finds, the session would
miss.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Any

from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql.elements import BindParameter

from encfields.codecs import Codec
from encfields.codecs.base import BecomesNullError
from encfields.codecs.decorated import DecoratedCodec
from encfields.codecs.inner_types import INNER_TYPES
from encfields.errors import EncFieldsError
from encfields.orm import internals
from encfields.orm.declare.columns import SealedColumnType

OF_SEVERAL_FORMS = tuple(known.kind for known in INNER_TYPES if known.takes_several_forms)
"""Types that take a value in other forms than the one that it is loaded in."""

_SCALARS = (str, int, float, decimal.Decimal, uuid.UUID, dt.date)
_LISTS = (list, tuple, set, frozenset)
_ANY_DIALECT = DefaultDialect()  # None of these types' plaintexts depends on it.


def in_loaded_form(type_: SealedColumnType, operand: Any) -> Any:
    """The same value, or list of values; what the column does not take is left as it is.

    :param type_: the encrypted column's type, whose inner one is of :data:`OF_SEVERAL_FORMS`.
    """
    if isinstance(operand, BindParameter):
        return _bind_in_loaded_form(type_.codec, operand)
    return _asked(type_.codec, operand)


def asks_for_null(type_: SealedColumnType, value: object) -> bool:
    """Whether the column's values are told apart from NULL, and not from a value.

    A user's own type may make NULL of a value, and a value of ``None``: the latter where its
    ``coerce_to_is_types`` leaves ``None`` out.

    :param type_: the encrypted column's type.
    """
    if value is None and type(None) in type_.coerce_to_is_types:
        return True
    if not isinstance(type_.codec, DecoratedCodec):
        return value is None
    try:
        type_.codec.encode_asked(value, _ANY_DIALECT)
    except BecomesNullError:
        return True
    except EncFieldsError:  # refused where it is looked up
        pass
    return False


def _asked(codec: Codec, operand: Any) -> Any:
    if isinstance(operand, _LISTS):
        return [_loaded(codec, item) for item in operand]
    return _loaded(codec, operand)


def _bind_in_loaded_form(codec: Codec, bind: BindParameter[Any]) -> BindParameter[Any]:
    """The application's own bindparam(), with what it holds; what it is given later, nobody
    knows yet."""
    if bind.required:
        return bind
    loaded = internals.copy_of_bind(bind)
    if loaded.callable is None:
        loaded.value = _asked(codec, loaded.value)
    else:
        given = loaded.callable
        loaded.callable = lambda: _asked(codec, given())
    return loaded


def _loaded(codec: Codec, value: Any) -> Any:
    if not isinstance(value, _SCALARS) or isinstance(value, dt.datetime):
        return value
    try:
        return codec.decode(codec.encode_asked(value, _ANY_DIALECT), _ANY_DIALECT)
    except EncFieldsError:
        return value
