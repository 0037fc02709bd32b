"""Why a database refused a row, told by the code of its error."""

from __future__ import annotations

from enum import Enum

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, StatementError

from encfields.bulk.error_codes import REFUSAL_STATES, REFUSALS, code_of
from encfields.keys.sql.failures import sql_state


def refuses_row(error: StatementError) -> bool:
    """Whether a constraint, a column's type or a trigger refused the row."""
    if not isinstance(error, DBAPIError):
        return True  # the column's type, before anything was sent
    return (
        isinstance(error, IntegrityError | DataError)
        or _is_no_number(error)
        or code_of(error.orig) in REFUSALS
        or (sql_state(error.orig) or "").startswith(REFUSAL_STATES)
    )


def _is_no_number(error: DBAPIError) -> bool:
    """Whether PyMySQL or mysqlclient refuses NaN or an infinity, before it sends anything."""
    is_of_statement = isinstance(error, ProgrammingError) and code_of(error.orig) is None
    return is_of_statement and str(error.orig).endswith("can not be used with MySQL")


class Refusal(Enum):
    """Why a database refused a row, in words that hold nothing of the row.

    Each value is a stable reason word and its explanation.
    """

    UNIQUE = "not-unique", "another row has the same value, and an index or constraint is unique"
    NULL = "not-null", "a column of the row must not be NULL"
    FOREIGN_KEY = "foreign-key", "a foreign key of the row refers to no row, or others refer to it"
    CHECK = "check", "a CHECK constraint of the table does not hold for the row"
    TRIGGER = "trigger", "a trigger of the table refuses the change of the row"
    ALTERED = (
        "altered",
        "a trigger or rule of the table, a column that pads or rounds or that stores the value as "
        "NULL (as SQLite stores NaN), or a server that is not strict changes what is written to "
        "the row, so the row was left as it was",
    )
    VALUE = "value", "a column does not accept the value: its type or its length"
    UNKNOWN = "refused", "the database refuses the row: a constraint, a column's type or a trigger"

    @property
    def reason(self) -> str:
        """Stable word for machines."""
        return str(self.value[0])

    @property
    def words(self) -> str:
        """Explanation for people."""
        return str(self.value[1])


_BY_CODE: dict[int | str, Refusal] = {
    "23505": Refusal.UNIQUE,
    "23P01": Refusal.UNIQUE,
    "23502": Refusal.NULL,
    "23503": Refusal.FOREIGN_KEY,
    "23514": Refusal.CHECK,
    "P0001": Refusal.TRIGGER,
    1022: Refusal.UNIQUE,
    1062: Refusal.UNIQUE,
    1586: Refusal.UNIQUE,
    1048: Refusal.NULL,
    1364: Refusal.NULL,
    1216: Refusal.FOREIGN_KEY,
    1217: Refusal.FOREIGN_KEY,
    1451: Refusal.FOREIGN_KEY,
    1452: Refusal.FOREIGN_KEY,
    3819: Refusal.CHECK,
    4025: Refusal.CHECK,
    1644: Refusal.TRIGGER,
    "54000": Refusal.VALUE,
    1118: Refusal.VALUE,
    1713: Refusal.VALUE,
}
"""By PostgreSQL's SQLSTATE, and by MariaDB's and MySQL's numbers."""

_OF_VALUES = "22"
"""SQLSTATE prefix of a refused value, for which pg8000 has no class."""

_BY_SQLITE: dict[str, Refusal] = {
    "SQLITE_CONSTRAINT_UNIQUE": Refusal.UNIQUE,
    "SQLITE_CONSTRAINT_PRIMARYKEY": Refusal.UNIQUE,
    "SQLITE_CONSTRAINT_ROWID": Refusal.UNIQUE,
    "SQLITE_CONSTRAINT_NOTNULL": Refusal.NULL,
    "SQLITE_CONSTRAINT_FOREIGNKEY": Refusal.FOREIGN_KEY,
    "SQLITE_CONSTRAINT_CHECK": Refusal.CHECK,
    "SQLITE_CONSTRAINT_TRIGGER": Refusal.TRIGGER,
    "SQLITE_CONSTRAINT_DATATYPE": Refusal.VALUE,
}
"""By ``sqlite_errorname``."""


def refusal_of(error: StatementError) -> Refusal:
    """Why the database, or the column's type, refused a row."""
    if not isinstance(error, DBAPIError):
        return Refusal.VALUE
    code = code_of(error.orig)
    known = _BY_SQLITE.get(str(getattr(error.orig, "sqlite_errorname", None)))
    if known is None and code is not None:
        known = _BY_CODE.get(code)
    if known is not None:
        return known
    is_value = (
        isinstance(error, DataError) or _is_no_number(error) or str(code).startswith(_OF_VALUES)
    )
    return Refusal.VALUE if is_value else Refusal.UNKNOWN
