"""What it is that does not let a row into a table, in words that hold nothing of the row."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from sqlalchemy.exc import DataError

from encfields.bulk.runs.pacing import code_of

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError


class Refusal(Enum):
    """Its value: the reason, a machine's word, and what people are told."""

    UNIQUE = "not-unique", "another row has the same value, and an index or constraint is unique"
    NULL = "not-null", "a column of the row must not be NULL"
    FOREIGN_KEY = "foreign-key", "a foreign key of the row leads nowhere, or others lead to it"
    CHECK = "check", "a CHECK constraint of the table does not hold for the row"
    TRIGGER = "trigger", "a trigger of the table refuses the change of the row"
    VALUE = "value", "a column does not take the value: its type or its length"
    UNKNOWN = "refused", "the database refuses the row: a constraint, a column's type or a trigger"

    @property
    def reason(self) -> str:
        """The reason in a word."""
        return str(self.value[0])

    @property
    def words(self) -> str:
        """The same for people."""
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
}
"""By PostgreSQL's SQLSTATE, and by the numbers of MariaDB and MySQL."""

_OF_VALUES = "22"
"""How SQLSTATEs of a value begin. pg8000's errors of them are of no class of their own."""

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
"""By the name that Python's ``sqlite3`` gives."""


def refusal_of(error: DBAPIError) -> Refusal:
    """What a database refused a row for."""
    code = code_of(error.orig)
    known = _BY_SQLITE.get(str(getattr(error.orig, "sqlite_errorname", None)))
    if known is None and code is not None:
        known = _BY_CODE.get(code)
    if known is not None:
        return known
    is_value = isinstance(error, DataError) or str(code).startswith(_OF_VALUES)
    return Refusal.VALUE if is_value else Refusal.UNKNOWN
