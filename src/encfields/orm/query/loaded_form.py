"""Converts an operand to the form in which the column's values are loaded.

The evaluator of ``synchronize_session`` compares in Python, where a UUID does not equal its text,
nor Decimal 0.1 the float, nor a date its midnight: the session would miss rows that the database
finds.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Any

from sqlalchemy import Date, DateTime, column
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import TypeEngine

from encfields.codecs import Codec
from encfields.codecs.base import BecomesNullError
from encfields.codecs.decorated import DecoratedCodec
from encfields.codecs.inner_types import INNER_TYPES
from encfields.codecs.temporal import DateCodec, DateTimeCodec, is_day
from encfields.errors import EncFieldsError
from encfields.orm import internals
from encfields.orm.declare.columns import SealedColumnType

OF_SEVERAL_FORMS = tuple(known.kind for known in INNER_TYPES if known.takes_several_forms)
"""Types that accept values in other forms than the loaded one."""

_SCALARS = (str, int, float, decimal.Decimal, uuid.UUID, dt.date)
LISTS = (list, tuple, set, frozenset)
"""What ``in_()`` may be given as a list of values."""

_ANY_DIALECT = DefaultDialect()  # These types' plaintexts do not depend on it.

_LISTS_HOLD_NONE = isinstance(column("x").in_([None]).right, BindParameter)
"""Whether SQLAlchemy gives a list with None one type, as 2.1 does. 2.0 makes a bind of each value,
which has a type of its own."""


def in_loaded_form(type_: SealedColumnType, operand: Any) -> Any:
    """The same value, or list of values; what the column does not accept is unchanged.

    :param type_: the encrypted column's type, whose inner one is of :data:`OF_SEVERAL_FORMS`.
    """
    if isinstance(operand, BindParameter):
        return _bind_in_loaded_form(type_.codec, operand)
    asked = _asked(type_.codec, operand)
    kind = _kind_of_mixed(type_.codec, asked) if isinstance(asked, list) else None
    if kind is None:
        return asked
    return BindParameter(None, asked, type_=kind, unique=True, expanding=True)


def _kind_of_mixed(codec: Codec, values: list[Any]) -> TypeEngine[Any] | None:
    """The type that SQLAlchemy gives all of a list, by its first value, where it matters: in a list
    for a column of dates with a ``datetime`` in it, or the other way round."""
    is_date = isinstance(codec, DateCodec)
    if not is_date and not isinstance(codec, DateTimeCodec):
        return None
    if not any(isinstance(value, dt.datetime) if is_date else is_day(value) for value in values):
        return None
    if not _LISTS_HOLD_NONE and any(value is None for value in values):
        return None
    first = values[0]
    is_of_dates = is_day(first) if isinstance(first, dt.date) else is_date
    return Date() if is_of_dates else DateTime()


def asks_for_null(type_: SealedColumnType, value: object) -> bool:
    """Whether a comparison is with NULL, and not with a value.

    An application's type may store NULL for a value, and a value for ``None``: the latter if its
    ``coerce_to_is_types`` lacks ``None``.

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
    if isinstance(operand, LISTS):
        return [_loaded(codec, item) for item in operand]
    return _loaded(codec, operand)


def _bind_in_loaded_form(codec: Codec, bind: BindParameter[Any]) -> BindParameter[Any]:
    """The application's bindparam() with its present value converted; later values are unknown."""
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
    if isinstance(codec, DateTimeCodec) and is_day(value):  # left to the database
        return value
    try:
        return codec.decode(codec.encode_asked(value, _ANY_DIALECT), _ANY_DIALECT)
    except EncFieldsError:
        return value
