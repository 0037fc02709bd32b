"""Encrypted cells from psycopg in binary form instead of hexadecimal digits.

psycopg requests results as text, which has two digits for each byte of a cell: the server writes
twice as much and the client converts it back, which for a short value costs half as much as opening
it. Binary form can be requested only for a whole result. So this is done if each column gives the
same Python value in either form, which is known once the statement has been executed on the
connection.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from encfields.errors import UnreadableError
from encfields.kept_state import IN_BINARY
from encfields.orm import internals
from encfields.orm.read.results import encrypted_columns

if TYPE_CHECKING:
    from sqlalchemy import Connection

DRIVERS = frozenset(("psycopg", "psycopg_async"))
"""SQLAlchemy's names for the driver; other drivers deliver bytes in one form only."""

_PSYCOPG = frozenset(("psycopg", "psycopg_binary", "psycopg_c"))
_CURSORS = frozenset((("psycopg", "Cursor"), ("psycopg", "AsyncCursor")))
_TEXT, _BINARY = 0, 1
MAX_KNOWN = 1_000
"""Most statements whose form a connection remembers."""

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
"""psycopg's own loaders, as text and binary, by OID of the types that give the same value in either
form. Floating point is not among them, because its text may be rounded."""


_Readers = tuple[tuple[int, Any, Any], ...]
"""The types of a result, each with its loaders for text and binary form."""

NOT_THE_SAME: _Readers = ()
"""Marks a result that is requested as text."""


class BinaryResults:
    """Requests an engine's encrypted cells in binary form if its driver is psycopg."""

    def __init__(self) -> None:
        self._changes = 0

    def note_change(self, statement: str) -> None:
        """Forget every result's types if a textual statement may change them.

        Otherwise the first result with other ones is refused, as it is after a change elsewhere.
        """
        if statement.lstrip()[:5].upper() in ("ALTER", "DROP "):
            self._changes += 1

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        """SQLAlchemy's event: request a result in binary form if that is known to be the same.

        Only now, because other listeners may have used the cursor, or registered other loaders on
        the connection.
        """
        if context.compiled is None:
            return  # an application's own SQL, which may have the same text as one of ours
        known = self._known_on(context.root_connection)
        if known is None:
            return
        # An INSERT that takes its key from a sequence has no statement yet at this point.
        readers = known.get(getattr(context, "statement", ""))
        if readers:
            own = internals.driver_cursor(cursor)
            if _delivers_all(own) and _are_in_use(readers, own.adapters):
                own.format = _BINARY

    def note(self, connection: Connection, context: Any, result: Any) -> None:
        """Remember whether a statement's result may be requested in binary form.

        :raises UnreadableError: it was, but no longer may be.
        """
        if (known := self._known_on(connection)) is None:
            return
        readers = known.get(context.statement)
        if readers is None:
            if not any(internals.result_processors(result)) or not encrypted_columns(result):
                return
        elif not readers:
            return
        cursor = internals.driver_cursor(context.cursor)
        if not _delivers_all(cursor) or not cursor.pgresult:
            return
        answer = cursor.pgresult
        types = {answer.ftype(column) for column in range(answer.nfields)}
        if readers is None:
            if len(known) >= MAX_KNOWN:
                known.clear()
            # A write has already happened when its result would be refused.
            is_write = internals.has_written(context.compiled)
            known[context.statement] = (
                NOT_THE_SAME if is_write else _same_in_binary(types, cursor.adapters)
            )
        elif types and answer.fformat(0) == _BINARY:
            is_as_known = types <= {type_ for type_, *_ in readers}
            if is_as_known and _are_in_use(readers, cursor.adapters):
                return
            known[context.statement] = _same_in_binary(types, cursor.adapters)
            if not known[context.statement]:
                raise _has_changed()

    def _known_on(self, connection: Connection) -> dict[str, _Readers] | None:
        """What a connection remembers about its statements' results.

        :returns: ``None`` for the connection that a dialect uses to inspect the server, which
            cannot remember anything.
        """
        try:
            kept = connection.info.get(IN_BINARY)
        except NotImplementedError:
            return None
        if kept is None or kept[0] != self._changes:
            kept = connection.info[IN_BINARY] = (self._changes, {})
        known: dict[str, _Readers] = kept[1]
        return known


def _delivers_all(cursor: Any) -> bool:
    """Whether a cursor is psycopg's own, client-side one."""
    kind = type(cursor)
    return (kind.__module__, kind.__name__) in _CURSORS


def _are_in_use(readers: _Readers, adapters: Any) -> bool:
    """Whether types still have these loaders: an application may register others at any time."""
    loader = adapters.get_loader
    for type_, text, binary in readers:  # runs twice for each look-up
        if loader(type_, _TEXT) is not text or loader(type_, _BINARY) is not binary:
            return False
    return True


def _same_in_binary(types: Set[int], adapters: Any) -> _Readers:
    """The loaders of the types, if psycopg's own matching pair is registered for each of them."""
    readers = tuple(
        (type_, adapters.get_loader(type_, _TEXT), adapters.get_loader(type_, _BINARY))
        for type_ in types
    )
    return readers if all(_belong_together(*reader) for reader in readers) else NOT_THE_SAME


def _belong_together(type_: int, text: Any, binary: Any) -> bool:
    if text is None or binary is None or type_ not in _LOADERS:
        return False
    packages = {reader.__module__.partition(".")[0] for reader in (text, binary)}
    return (text.__name__, binary.__name__) == _LOADERS[type_] and packages <= _PSYCOPG


def _has_changed() -> UnreadableError:
    return UnreadableError(
        "the columns of the statement's result have other types than when it was last executed on "
        "this connection, or psycopg now reads them differently: the schema was changed, or a "
        "loader was registered, in between. Execute it again",
        reason="changed-types",
    )
