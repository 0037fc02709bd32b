"""What an adoption's triggers refuse a write with, and the error that the application gets for it.

The database's own error would be one of the driver's. The exception is a missing value: that was
NOT NULL's to refuse, and an application may expect its ``IntegrityError``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from encfields.errors import (
    ConfigurationError,
    EncFieldsError,
    IdentityChangeError,
    UnsupportedOperationError,
)
from encfields.kept_state import OWN_STATEMENTS

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext

MOVED = "encfields: what {column} is bound to changes, and it is not sealed anew"
TOO_EARLY = "encfields: {column} must be written in plaintext too until ensure_adopted"
MISSING = "encfields: {column} must have a value"
SEALED_ALONE = "encfields: {column} is computed from plaintext that a row no longer has"
TOO_LATE = "encfields: {column} is closed: no process may write plaintext any more"

_LONGEST = 120
"""Longest text, in characters: MySQL keeps 128."""


def refusal_text(refusal: str, column: str) -> str:
    """The text with which a trigger refuses a write, whose end is never cut off.

    :param refusal: one of this module's. :param column: the plaintext column, with its table.
    """
    room = _LONGEST - len(refusal.format(column=""))
    return refusal.format(column=column if len(column) <= room else column[: room - 3] + "...")


_ERRORS: dict[str, tuple[type[EncFieldsError], str]] = {
    MOVED: (
        IdentityChangeError,
        "what the value is bound to changes, and the row has no plaintext from which it could be "
        "sealed anew: assign the value in the same statement",
    ),
    TOO_EARLY: (
        ConfigurationError,
        'rows may not have only a sealed value yet: deploy the phase "write-sealed" after '
        "ensure_adopted, and write the plaintext too until then",
    ),
    SEALED_ALONE: (
        UnsupportedOperationError,
        "an SQL expression reads the plaintext of a row that has none any more: read the value "
        "first, and assign the result",
    ),
    TOO_LATE: (
        ConfigurationError,
        "the database accepts no plaintext after close_plaintext: deploy the phase "
        '"write-sealed" or the last declaration, or go back with reopen_plaintext',
    ),
}


def _pattern(refusal: str) -> re.Pattern[str]:
    before, _, after = refusal.partition("{column}")
    return re.compile(f"{re.escape(before)}(.{{1,{_LONGEST}}}?){re.escape(after)}", re.DOTALL)


_REFUSED = {_pattern(refusal): error for refusal, error in _ERRORS.items()}


def tell_of_refused_write(context: ExceptionContext) -> EncFieldsError | None:
    """SQLAlchemy's ``handle_error`` event: the error to raise for what a trigger of an adoption
    refuses. A run takes the database's own, which it may lay to the row."""
    text = str(context.original_exception)
    if "encfields: " not in text or _is_of_own_engine(context):
        return None
    for pattern, (kind, message) in _REFUSED.items():
        if refused := pattern.search(text):
            table, _, column = refused[1].rpartition(".")
            return kind(message, table=table, column=column, reason="adoption-refused")
    return None


def _is_of_own_engine(context: ExceptionContext) -> bool:
    """Whether the statement is of an engine that this library made, which has the application's
    dialect, and with it its ``handle_error`` listeners."""
    if context.engine is None:
        return False
    own = vars(context.dialect).get(OWN_STATEMENTS)
    cache = context.engine.get_execution_options().get("compiled_cache")
    return own is not None and cache is own
