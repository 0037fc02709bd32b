"""A value that is asked for, in the form in which the column's values are loaded.

The evaluator of ``synchronize_session`` compares in Python, where a UUID is not its text and the
Decimal 0.1 not the float: what the database finds, the session would miss.
"""

from __future__ import annotations

import decimal
import uuid
from typing import Any

from sqlalchemy import types as sqltypes
from sqlalchemy.engine.default import DefaultDialect

from encfields.codecs import Codec
from encfields.errors import EncFieldsError
from encfields.orm.declare.columns import SealedColumnType

_OF_SEVERAL_FORMS = (sqltypes.Uuid, sqltypes.Numeric, sqltypes.Float, sqltypes.Enum)
_SCALARS = (str, int, float, decimal.Decimal, uuid.UUID)
_LISTS = (list, tuple, set, frozenset)
_ANY_DIALECT = DefaultDialect()  # None of these types' plaintexts depends on it.


def as_loaded(type_: SealedColumnType, operand: Any) -> Any:
    """The same value, or list of values; what the column does not take is left as it is.

    :param type_: the encrypted column's type.
    """
    if not isinstance(type_.inner, _OF_SEVERAL_FORMS):
        return operand
    if isinstance(operand, _LISTS):
        return [_loaded(type_.codec, item) for item in operand]
    return _loaded(type_.codec, operand)


def _loaded(codec: Codec, value: Any) -> Any:
    if not isinstance(value, _SCALARS):
        return value
    try:
        return codec.decode(codec.encode_asked(value, _ANY_DIALECT), _ANY_DIALECT)
    except EncFieldsError:
        return value
