"""What the codec tests share: a real dialect, and a search of an error for a value."""

from __future__ import annotations

import traceback

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect

SQLITE: Dialect = sqlite.dialect()
POSTGRESQL: Dialect = postgresql.dialect()


def everything_said_by(error: BaseException) -> str:
    """All that a log, a debugger or an error tracker could print of `error` and of its chain.

    ``__context__`` is followed even where ``from None`` suppresses it.
    """
    said: list[str] = []
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None:
            continue
        said += [str(one), repr(one), repr(one.args), repr(vars(one))]
        said += traceback.format_exception(one)
        said += getattr(one, "__notes__", [])
        pending += [one.__cause__, one.__context__]
    return "\n".join(said)
