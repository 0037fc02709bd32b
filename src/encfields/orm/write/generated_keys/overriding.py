"""PostgreSQL's ``OVERRIDING SYSTEM VALUE``, which SQLAlchemy has no word for."""

from __future__ import annotations

import re

_QUOTED = r'"(?:[^"]|"")*"'
_UP_TO_COLUMNS = re.compile(rf'INSERT INTO (?:{_QUOTED}|[^"(])+\((?:{_QUOTED}|[^")])*\)')


def overriding_system_value(statement: str) -> str:
    """The INSERT, allowed to give a value to a column that is ``GENERATED ALWAYS``.

    A statement of another form is left as it is, and PostgreSQL refuses it.
    """
    return _UP_TO_COLUMNS.sub(lambda m: f"{m[0]} OVERRIDING SYSTEM VALUE", statement, count=1)
