"""The logical name of a key store in the application's database.

The name is chosen when the table is made and is bound into every wrapped key, so that a row
copied from another key store does not open, though the same wrapping key wrapped it. It is kept
in a row of the key table. Whoever may write to the table may write another name there: then no
key opens that was made under the true one. Only ``SqlKeyStore(..., name=...)`` in the
application's own configuration, which nobody can change in the database, keeps new keys as well
from being made, or taken, under another store's name.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection, Select, Table, insert, select

from encfields.errors import ConfigurationError, KeyAccessError
from encfields.keys.sql.rows import KeyRow, other_key_store
from encfields.keys.versions import utc_now

NAME_PURPOSE = NAME_VERSION = "key-store"
NAME_KEY_ID = ""
"""Where the row is. No key has an empty id."""

MAX_NAME_CHARS = 255


def check_store_name(name: str) -> str:
    """A name that may be given.

    :raises ConfigurationError: says what a name is.
    """
    is_text = isinstance(name, str) and 1 <= len(name) <= MAX_NAME_CHARS
    if not is_text or not name.isprintable() or name != name.strip():
        raise ConfigurationError(
            f"a key store's name is printable text of 1 to {MAX_NAME_CHARS} characters, without "
            "blanks around it",
            reason="store-name",
        )
    return name


def new_name() -> str:
    """A name for a key store that was given none: no other has it."""
    return str(uuid.uuid4())


def select_name(table: Table) -> Select[Any]:
    """Asks for the row of the name."""
    is_it = (table.c.key_id == NAME_KEY_ID) & (table.c.purpose == NAME_PURPOSE)
    return select(table.c.wrapped).where(is_it)


def read_name(connection: Connection, table: Table) -> str | None:
    """The name that the table holds, ``None`` for none.

    :raises KeyAccessError: what is there is no name.
    """
    stored = connection.execute(select_name(table)).scalar()
    if stored is None:
        return None
    try:
        return check_store_name(bytes(stored).decode("utf-8"))
    except (TypeError, UnicodeDecodeError, ConfigurationError):
        pass
    raise KeyAccessError(
        f"the row of the key store's name in {table.fullname!r} is malformed: wrapped is not a "
        "name. Give SqlKeyStore(..., name=...), or restore the row",
        table=table.fullname,
        reason="malformed-row",
    )


def insert_name(connection: Connection, table: Table, name: str) -> None:
    """Keep the name of a key store that has none yet."""
    row = {
        "key_id": NAME_KEY_ID,
        "version": NAME_VERSION,
        "purpose": NAME_PURPOSE,
        "wrapped": name.encode("utf-8"),
        "created_at": utc_now(),
    }
    connection.execute(insert(table), [row])


def has_keys(connection: Connection, table: Table) -> bool:
    """Whether the table holds a key already."""
    is_key = table.c.purpose != NAME_PURPOSE
    return connection.execute(select(table.c.key_id).where(is_key).limit(1)).first() is not None


def lost_name(table: Table) -> ConfigurationError:
    """The error for a table of keys without a name."""
    return ConfigurationError(
        f"the key table {table.fullname!r} has keys and no row with the key store's name. If a "
        "development version of this library made it, bring it over once with `encfields keys "
        "bring-over`, or drop it together with what it sealed. If not, the row was deleted: "
        "restore it, or give the name, SqlKeyStore(..., name=...)",
        table=table.fullname,
        reason="no-store-name",
    )


def require_same_name(ours: str, stored: str | None, table: Table) -> None:
    """Refuse to make keys beside those of another key store.

    :raises ConfigurationError: the table has another name.
    """
    if stored is not None and stored != ours:
        raise ConfigurationError(
            f"the key table {table.fullname!r} is of the key store {stored!r}, and this one is "
            f"{ours!r}: give SqlKeyStore the name that the table was made with",
            table=table.fullname,
            reason="store-name",
        )


def require_of_store(row: KeyRow, store: str, table: Table) -> None:
    """Refuse a key that was made for another key store, before KMS is asked.

    :raises KeyAccessError: names both.
    """
    if row.store != store:
        raise other_key_store(row, store, table.fullname)
