"""Encrypted cells from psycopg as they are, and not in hexadecimal digits.

psycopg asks PostgreSQL for text, in which a cell has two digits for each byte: the server writes
twice as much and the client reads it back, which for a short value costs half of what opening it
does. Only a result as a whole can be asked for in binary form. So that is done where each of its
columns is the same to Python in either form, which is known when a statement was executed on the
connection once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encfields.errors import UnreadableError
from encfields.orm import internals
from encfields.orm.kept_state import IN_BINARY
from encfields.orm.read.encrypted_columns import encrypted_columns

if TYPE_CHECKING:
    from sqlalchemy import Connection

DRIVERS = frozenset(("psycopg", "psycopg_async"))
"""SQLAlchemy's names of the driver; others deliver bytes in one form."""

_PSYCOPG = frozenset(("psycopg", "psycopg_binary", "psycopg_c"))
_CURSORS = frozenset((("psycopg", "Cursor"), ("psycopg", "AsyncCursor")))
_TEXT, _BINARY = 0, 1
MAX_KNOWN = 1_000
"""Statements of which a connection remembers the form."""

_LOADERS = {
    16: ("BoolLoader", "BoolBinaryLoader"),
    17: ("ByteaLoader", "ByteaBinaryLoader"),
    20: ("IntLoader", "Int8BinaryLoader"),
    21: ("IntLoader", "Int2BinaryLoader"),
    23: ("IntLoader", "Int4BinaryLoader"),
    25: ("TextLoader", "TextBinaryLoader"),
    114: ("JsonLoader", "JsonBinaryLoader"),
    1042: ("TextLoader", "TextBinaryLoader"),
    1043: ("TextLoader", "TextBinaryLoader"),
    1082: ("DateLoader", "DateBinaryLoader"),
    1083: ("TimeLoader", "TimeBinaryLoader"),
    1114: ("TimestampLoader", "TimestampBinaryLoader"),
    1184: ("TimestamptzLoader", "TimestamptzBinaryLoader"),
    1700: ("NumericLoader", "NumericBinaryLoader"),
    2950: ("UUIDLoader", "UUIDBinaryLoader"),
    3802: ("JsonbLoader", "JsonbBinaryLoader"),
}
"""By PostgreSQL's numbers of the types that are the same in either form: psycopg's own readers of
both. Floating point is not one of them: its text may be rounded."""


class BinaryResults:
    """Has an engine's encrypted cells delivered in binary form, where psycopg is its driver."""

    def ask(self, connection: Connection, cursor: Any, context: Any) -> None:
        """Have a statement's result delivered in binary form, if that is known to be the same."""
        known = connection.info.get(IN_BINARY)
        if known is not None and known.get(context.statement):
            own = internals.driver_cursor(cursor)
            if _delivers_all(own):
                own.format = _BINARY

    def note(self, connection: Connection, context: Any, result: Any) -> None:
        """Remember whether a statement's result may be asked for in binary form.

        :raises UnreadableError: it was, and has other columns than it used to have.
        """
        known: dict[str, bool] = connection.info.setdefault(IN_BINARY, {})
        may_be = known.get(context.statement)
        if may_be is False or (may_be is None and not encrypted_columns(result)):
            return
        cursor = internals.driver_cursor(context.cursor)
        if not _delivers_all(cursor) or cursor.pgresult is None:
            return
        answer = cursor.pgresult
        types = [answer.ftype(column) for column in range(answer.nfields)]
        if may_be is None:
            if len(known) >= MAX_KNOWN:
                known.clear()
            # What a write has written is there when its result would be refused.
            is_write = context.isinsert or context.isupdate or context.isdelete
            known[context.statement] = not is_write and all(
                _is_same_in_binary(one, cursor.adapters) for one in types
            )
        elif not _LOADERS.keys() >= set(types) and answer.fformat(0) == _BINARY:
            known[context.statement] = False
            raise _has_changed()


def _delivers_all(cursor: Any) -> bool:
    """Whether a cursor is psycopg's own, and not one on the server."""
    kind = type(cursor)
    return (kind.__module__, kind.__name__) in _CURSORS


def _is_same_in_binary(type_: int, adapters: Any) -> bool:
    """Whether psycopg reads a type in both forms, by readers of its own that belong together."""
    readers = [adapters.get_loader(type_, form) for form in (_TEXT, _BINARY)]
    if None in readers or type_ not in _LOADERS:
        return False
    names = tuple(reader.__name__ for reader in readers)
    packages = {reader.__module__.partition(".")[0] for reader in readers}
    return names == _LOADERS[type_] and packages <= _PSYCOPG


def _has_changed() -> UnreadableError:
    return UnreadableError(
        "the columns of the statement's result are of other types than when it was executed on "
        "this connection before: the schema was changed meanwhile. Execute it again",
        reason="changed-types",
    )
