"""What an application does beside a run: it waits for rows, and counts how its transactions end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

_CONFLICTS = ("deadlock", "locked", "lock wait", "record has changed")
"""What databases say to a transaction that another one was in the way of."""


def engine_of(url: str) -> Engine:
    """An engine that waits for SQLite's lock, and elsewhere reads what others have committed."""
    if url.startswith("sqlite"):
        return create_engine(url, connect_args={"timeout": 60})
    return create_engine(url, isolation_level="READ COMMITTED")


def attempt(engine: Engine, counts: Counter[str], work: Callable[[Session], None]) -> None:
    """Do it in a transaction; one that lost against another is counted, and not done again."""
    try:
        with Session(engine) as session:
            work(session)
            session.commit()
    except IntegrityError:
        counts["duplicates"] += 1
    except StaleDataError:
        counts["gone"] += 1
    except DBAPIError as error:
        if not any(word in str(error.orig).lower() for word in _CONFLICTS):
            raise
        counts["conflicts"] += 1
