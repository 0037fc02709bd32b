"""What of a value is looked up in a blind index: the value transformed as those of the rows are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from encfields.codecs.base import BecomesNullError
from encfields.errors import UnsupportedOperationError, ValueEncodingError
from encfields.orm.query.lookup_type import CompoundValue

if TYPE_CHECKING:
    from encfields.orm.declare.index_binding import Form, IndexBinding

UNKNOWN = b"\x00encfields: no value of this column"
"""Compared with ``is``."""


def normalised_lookup(index: IndexBinding, forms: tuple[Form, ...], value: object) -> bytes | None:
    """What of a value is looked up; :data:`UNKNOWN` for one that the column cannot hold.

    :param forms: of the index, for values that are looked up.
    :raises ValueEncodingError: the value is of another type.
    """
    parts = value.values if isinstance(value, CompoundValue) else (value,)
    if len(parts) != len(index.sources):
        raise UnsupportedOperationError(
            "a compound blind index is asked with blind(...).matches(...), a value for each of its "
            "columns",
            table=index.table,
            column=index.column_name,
            reason="compound",
        )
    try:
        return index.normalise(parts, forms)
    except ValueEncodingError as error:
        failure = error
    return _unknown(failure)


def whole_lookup(form: Form, value: object) -> bytes:
    """What is compared of a whole value that is looked up, whatever of it is indexed.

    :param form: of the index, for whole values.
    """
    try:
        return form(value)
    except ValueEncodingError as error:
        failure = error
    return _unknown(failure)


def _unknown(failure: ValueEncodingError) -> bytes:
    """What a value is looked up as that cannot be encoded: one out of range, or stored as NULL."""
    if failure.reason == "range" or isinstance(failure, BecomesNullError):
        return UNKNOWN
    failure.message = failure.message.replace("; nothing was stored", "")
    failure.message += "; nothing was looked up"
    raise failure
