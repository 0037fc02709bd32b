"""Rows of the key table, which anybody who can write to the database may have changed.

A row is trusted only as far as its wrapped key: a message of the AWS Encryption SDK whose header
names the key store, key id, version, number and purpose that it is bound to, and which does not
open if any of them was altered. So a version's number is taken from there, and never from the
column ``active``.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Dialect,
    LargeBinary,
    String,
    Table,
    case,
    cast,
    func,
    type_coerce,
)

from encfields.context import deserialize
from encfields.errors import KeyAccessError, MalformedMessageError
from encfields.keys.keyrings.wrapping import (
    KEY_ID,
    KEY_NUMBER,
    KEY_PURPOSE,
    KEY_STORE,
    KEY_VERSION,
    Purpose,
    WrappingContext,
)
from encfields.keys.versions import KeyVersion
from encfields.message.header import read_any_header

MAX_WRAPPED_BYTES = 32_768
"""Most bytes read of a wrapped key; 16 wrapping keys take some 5,000 bytes."""

MAX_NUMBER = 2**31 - 1
"""Highest number of a version."""

_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_PAIRS = frozenset({KEY_STORE, KEY_ID, KEY_VERSION, KEY_NUMBER, KEY_PURPOSE})
_EARLIER_PAIRS = frozenset({KEY_ID, KEY_VERSION, KEY_PURPOSE})


BRANCH: Purpose = "branch-key"
BEACON: Purpose = "beacon-key"


class KeyRow(NamedTuple):
    """One row of the key table.

    :ivar wrapped: ``None`` when the key is retired or destroyed.
    :ivar active: the value of the table's column, which is not trusted.
    :ivar store: the key store that the wrapped key is bound to; ``""`` if none.
    :ivar number: the version's number that the wrapped key is bound to; 0 if none.
    :ivar fault: what is malformed, beginning with the field's name; ``""`` if nothing is.
    """

    key_id: str
    version: str
    purpose: str
    wrapped: bytes | None
    active: Any
    created_at: dt.datetime
    destroyed_at: dt.datetime | None
    store: str = ""
    number: int = 0
    fault: str = ""

    @property
    def in_force(self) -> bool:
        """Whether the row has a key, and no date on which it was destroyed."""
        return self.wrapped is not None and self.destroyed_at is None

    def place(self, store: str) -> WrappingContext:
        """What its wrapped key must be bound to, in the key store of that name."""
        purpose: Any = self.purpose
        return WrappingContext(store, self.key_id, self.version, self.number, purpose)

    def require_sound(self, table: str) -> None:
        """Refuse a malformed row.

        :raises KeyAccessError: names the row and the field.
        """
        if self.fault:
            raise KeyAccessError(
                f"the row of its {self.purpose} version {self.version!r:.60} in {table!r} is "
                f"malformed: {self.fault}. Restore the row from a backup, or delete it if it was "
                "not there before",
                key_id=self.key_id,
                reason="tampered" if self.fault.startswith("wrapped") else "malformed-row",
            )


def readable_columns(table: Table, dialect: Dialect) -> list[ColumnElement[Any]]:
    """The key table's columns in a form that cannot make the driver fail, whatever a row contains:
    wrapped keys up to a useful length, and times as text."""
    columns = table.c
    some = func.substr(columns.wrapped, 1, MAX_WRAPPED_BYTES + 1, type_=LargeBinary())
    # SQLite's substr() converts an empty value to NULL, which would look like a tombstone.
    wrapped = case((func.length(columns.wrapped) == 0, columns.wrapped), else_=some)
    return [
        columns.key_id,
        columns.version,
        columns.purpose,
        wrapped.label("wrapped"),
        columns.active,
        _as_text(columns.created_at, dialect).label("created_at"),
        _as_text(columns.destroyed_at, dialect).label("destroyed_at"),
    ]


def _as_text(column: ColumnElement[Any], dialect: Dialect) -> ColumnElement[Any]:
    if dialect.name == "postgresql":
        in_utc = func.timezone("UTC", column)
        text = func.to_char(in_utc, 'YYYY-MM-DD"T"HH24:MI:SS.US', type_=String())
        # Infinity has no text, and must not look like NULL.
        return case((column.is_not(None), func.coalesce(text, "")))
    if dialect.name == "sqlite":
        return type_coerce(column, String())
    return cast(column, String())


def read_row(stored: Mapping[Any, Any]) -> KeyRow:
    """Read a row of the table; ``fault`` says what is wrong with it."""
    faults: list[str] = []
    row = KeyRow(
        _text(stored["key_id"]),
        _version(_text(stored["version"]), faults),
        _text(stored["purpose"]),
        _wrapped(stored["wrapped"], faults),
        stored["active"],
        _time(stored["created_at"], "created_at", faults) or _EPOCH,
        _time(stored["destroyed_at"], "destroyed_at", faults),
    )
    return _with_context(row, faults)


def _text(stored: Any) -> str:
    # SQLite's driver gives what the connection's text_factory makes of a text: bytes, for instance.
    if isinstance(stored, (bytes, bytearray)):
        return stored.decode("utf-8", "backslashreplace")
    return str(stored)


def _version(text: str, faults: list[str]) -> str:
    try:
        if str(uuid.UUID(text)) == text:
            return text
    except ValueError:
        pass
    faults.append("version is not a UUID in its lower-case hyphenated form")
    return text


def _wrapped(stored: Any, faults: list[str]) -> bytes | None:
    if stored is None:
        return None
    if not isinstance(stored, (bytes, memoryview, bytearray)):
        faults.append("wrapped holds no bytes")
        return b""
    if len(stored) > MAX_WRAPPED_BYTES:
        faults.append(f"wrapped is longer than {MAX_WRAPPED_BYTES:,} bytes")
        return b""
    return bytes(stored)


def _time(stored: Any, name: str, faults: list[str]) -> dt.datetime | None:
    if stored is None and name == "destroyed_at":
        return None
    try:
        read = (
            stored if isinstance(stored, dt.datetime) else dt.datetime.fromisoformat(_text(stored))
        )
        return read.replace(tzinfo=dt.UTC) if read.tzinfo is None else read.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        faults.append(f"{name} is not a time")
        return _EPOCH


def _with_context(row: KeyRow, faults: list[str]) -> KeyRow:
    """The row with the store and number that its wrapped key is bound to."""
    store, number = "", 0
    if row.wrapped is not None and not faults:
        try:
            context = deserialize(read_any_header(row.wrapped).context)
        except MalformedMessageError:
            faults.append("wrapped is not a wrapped key")
        else:
            store, number = context.get(KEY_STORE, ""), _number(context.get(KEY_NUMBER, ""))
            faults += _context_faults(row, context, number)
    return row._replace(store=store, number=number, fault="; ".join(faults))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_NUMBER))):
        return 0
    number = int(text)
    return number if str(number) == text and 1 <= number <= MAX_NUMBER else 0


def _context_faults(row: KeyRow, context: Mapping[str, str], number: int) -> Iterable[str]:
    if context.keys() == _EARLIER_PAIRS:
        yield (
            "wrapped was made by a development version that knew no key stores (see "
            "`encfields keys bring-over`)"
        )
        return
    if context.keys() != _PAIRS:
        yield "wrapped is bound to a context that is not a branch key's"
        return
    if not number:
        yield "wrapped names no version number"
    for name, value in ((KEY_ID, row.key_id), (KEY_VERSION, row.version)):
        if context[name] != value:
            yield f"wrapped belongs to another {name.removeprefix('enc:key-')}"
    if context[KEY_PURPOSE] != row.purpose:
        yield "wrapped is of another purpose"


KeyRows = list[KeyRow]
NewRow = dict[str, Any]
"""A row that is not in the table yet."""


def by_key(rows: KeyRows) -> Iterable[tuple[str, KeyRows]]:
    """Rows grouped by key id, in order of it."""
    ordered = sorted(rows, key=lambda row: row.key_id)
    return ((key_id, list(group)) for key_id, group in groupby(ordered, lambda row: row.key_id))


def in_order(rows: Iterable[KeyRow]) -> list[KeyRow]:
    """The rows in force, the newest last."""
    return sorted((row for row in rows if row.in_force), key=lambda row: row.number)


def require_one_order(rows: Iterable[KeyRow], table: str, store: str | None = None) -> None:
    """Refuse a key if a row is malformed, or two rows have the highest number, so that the newest
    is not known. Two older ones may share a number, if a key table from a backup was rotated, and
    the version that it lacked was restored later.

    :param rows: in force, of one key and purpose.
    :param store: the key store's name, to which all must be bound.
    :raises KeyAccessError: names row and field.
    """
    all_rows = list(rows)
    for row in all_rows:
        row.require_sound(table)
        if row.store != (store or row.store):
            raise other_key_store(row, store or "", table)
    highest = max((row.number for row in all_rows), default=0)
    count = sum(row.number == highest for row in all_rows)
    if count > 1:
        raise KeyAccessError(
            f"{count} rows of this key in {table!r} have the number {highest}, and none is newer. "
            "Remove those that were restored from a backup, rotate the key, and restore them "
            "again: once there is a newer version they do no harm",
            key_id=all_rows[0].key_id,
            reason="malformed-row",
        )


def other_key_store(row: KeyRow, store: str, table: str) -> KeyAccessError:
    """The error for a key that was created for another key store."""
    return KeyAccessError(
        f"version {row.version} in {table!r} was made for the key store {row.store!r:.80}, and "
        f"this one is {store!r}: the row was copied from another database, or SqlKeyStore was "
        "given another name= than the one that made the key",
        key_id=row.key_id,
        reason="other-key-store",
    )


def key_version(row: KeyRow, *, active: bool) -> KeyVersion:
    """The public data of a row's branch key version.

    :param active: whether new values are sealed under it.
    """
    return KeyVersion(
        row.key_id,
        row.version,
        active,
        row.created_at,
        row.destroyed_at,
        row.number or None,
        row.fault,
        wiped=row.wrapped is None,
    )
