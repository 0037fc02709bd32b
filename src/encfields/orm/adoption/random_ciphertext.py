"""Whether another library's type writes a value as the same ciphertext each time."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import literal_column

from encfields.orm.adoption.plaintext import is_sqlalchemys
from encfields.orm.adoption.text_form import read_in_sql

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

_SAMPLES: dict[type[Any], Any] = {
    str: "a",
    bytes: b"a",
    bool: True,
    int: 1,
    float: 1.0,
    decimal.Decimal: decimal.Decimal(1),
    dt.date: dt.date(2000, 1, 1),
    dt.datetime: dt.datetime(2000, 1, 1),
    dt.time: dt.time(1),
    dt.timedelta: dt.timedelta(1),
    uuid.UUID: uuid.UUID(int=1),
    dict: {},
}


_STORED: Any = literal_column("stored")


def are_alike(one: object, other: object) -> bool:
    """Whether two values for a driver are the same; it may have wrapped them."""
    return bool(getattr(one, "obj", one) == getattr(other, "obj", other))


def writes_at_random(declared: TypeEngine[Any], value: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether a type is known to write a value as another ciphertext each time.

    It is asked to write a sample twice. What takes no sample is found out with the first value
    that is compared.

    :param declared: the type; what it has the database compute is not asked here.
    :param value: type of the values that it takes.
    """
    if is_sqlalchemys(declared) or read_in_sql(declared, _STORED, dialect) is not None:
        return False
    try:
        sample = _SAMPLES[value.python_type]
        write = declared.dialect_impl(dialect).bind_processor(dialect)
        return write is not None and not are_alike(write(sample), write(sample))
    except Exception:  # a type of the application's own may raise anything
        return False
