"""The logical name of a key store in the application's database.

The name is chosen when the table is created and is bound to every wrapped key, so that a row copied
from another key store does not open, even if the same wrapping key wrapped it. It is kept in a row
of the key table. Anybody who can write to the table can change it there; then no key that was
created under the true one opens. Only ``SqlKeyStore(..., name=...)`` in the application's own
configuration, which nobody can change in the database, also prevents new keys from being created,
or accepted, under another store's name.
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
    """Check a given name.

    :raises ConfigurationError: says what a valid name is.
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
    """A unique name for a key store that was not given one."""
    return str(uuid.uuid4())


def select_name(table: Table) -> Select[Any]:
    """Selects the row with the name."""
    is_it = (table.c.key_id == NAME_KEY_ID) & (table.c.purpose == NAME_PURPOSE)
    return select(table.c.wrapped).where(is_it)


def read_name(connection: Connection, table: Table) -> str | None:
    """The name in the table; ``None`` if there is none.

    :raises KeyAccessError: the row does not contain a valid name.
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
    """Store the name of a key store that has none yet."""
    row = {
        "key_id": NAME_KEY_ID,
        "version": NAME_VERSION,
        "purpose": NAME_PURPOSE,
        "wrapped": name.encode("utf-8"),
        "created_at": utc_now(),
    }
    connection.execute(insert(table), [row])


def has_keys(connection: Connection, table: Table) -> bool:
    """Whether the table already contains a key."""
    is_key = table.c.purpose != NAME_PURPOSE
    return connection.execute(select(table.c.key_id).where(is_key).limit(1)).first() is not None


def lost_name(table: Table) -> ConfigurationError:
    """The error for a table with keys but without a name."""
    return ConfigurationError(
        f"the key table {table.fullname!r} has keys but no row with the key store's name. If a "
        "development version of this library made it, bring it over once with `encfields keys "
        "bring-over`, or drop it together with what it sealed. If not, the row was deleted: "
        "restore it, or give the name, SqlKeyStore(..., name=...)",
        table=table.fullname,
        reason="no-store-name",
    )


def require_same_name(ours: str, stored: str | None, table: Table) -> None:
    """Refuse to create keys in the table of another key store.

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
    """Refuse a key that was created for another key store, before calling KMS.

    :raises KeyAccessError: names both.
    """
    if row.store != store:
        raise other_key_store(row, store, table.fullname)
