"""Reports an error: what happened, and on the next line what to do."""

from __future__ import annotations

import json
import sys
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from encfields.cli.output import plain
from encfields.errors import (
    EncFieldsError,
    KeyAccessError,
    KeyDestroyedError,
    KeyExistsError,
    KeyUnavailableError,
)

_BY_REASON = {
    "no-key-table": (
        "make it with `encfields keys create-table`, or with op.create_encryption_keys_table() in "
        "a migration; if it has another name or schema, give --key-table"
    ),
    "no-key": "make it with `encfields keys create ID`; `encfields keys list` shows the existing "
    "ones",
    "other-key-store": "give the name of the key store that the table was made with: --key-store. "
    "If that is what you gave, the row was copied from another database: restore it from a backup",
    "no-table": "run the migration that makes it, or name its schema: --schema NAME after "
    "--table, schema.table elsewhere",
    "no-run": "take the id that --start or --show printed, or leave out --run to work on all "
    "recorded runs",
    "denied": "give this role or database user the right that is missing, or run it as one who has "
    "it; `encfields doctor` shows which actions KMS allows",
    "throttled": "wait, and run it again",
    "unreachable": "check network, address and credentials with `encfields doctor`, and run it "
    "again",
}
"""Advice for the command line, where the library's own is for programs."""

_BY_TYPE: dict[type[Exception], str] = {
    KeyAccessError: "give the --keyring that the key was made or rewrapped with, unless its row "
    "was altered; `encfields doctor` tells",
    KeyDestroyedError: "what it sealed is gone for good, unless a backup of the key table is left",
    KeyExistsError: "keep it, or make a new version of it with `encfields keys rotate`",
    KeyUnavailableError: "look for the cause with `encfields doctor`",
    OperationalError: "check that the server runs, and the address, user and password: "
    "--database, $ENCFIELDS_DATABASE_URL, or encfields.toml",
    InterfaceError: "check that the server runs, and the address, user and password: "
    "--database, $ENCFIELDS_DATABASE_URL, or encfields.toml",
    DBAPIError: "check the names of tables and columns, and this database user's rights",
}


def report_error(error: EncFieldsError | SQLAlchemyError, *, as_json: bool) -> None:
    """A line or two on standard error, never a traceback; with `as_json`, a document as well."""
    message, advice = parts_of(error)
    for text in (message, advice):
        if text:
            line = plain(text).replace("\n", " ")
            sys.stderr.write(f"encfields: {line}\n")
    if as_json:
        document: dict[str, Any] = {"type": type(error).__name__, "message": message}
        document["advice"] = advice or None
        for name in ("table", "column", "key_id", "reason"):
            document[name] = getattr(error, name, None)
        sys.stdout.write(json.dumps({"error": document}, indent=2) + "\n")


def parts_of(error: EncFieldsError | SQLAlchemyError) -> tuple[str, str]:
    """What happened, and what to do about it, which may be empty."""
    if isinstance(error, EncFieldsError):
        # The library's messages separate the two with a semicolon.
        message, _, said = str(error).partition("; ")
        advice = _BY_REASON.get(error.reason or "") or said or _advice_for(error)
    else:
        message, advice = _database_message(error), _advice_for(error)
        if "database is locked" in message:  # SQLite's
            advice = _BY_REASON["throttled"]
    return message, f"what to do: {advice}" if advice else ""


def _advice_for(error: Exception) -> str:
    return next((text for kind, text in _BY_TYPE.items() if isinstance(error, kind)), "")


def _database_message(error: SQLAlchemyError) -> str:
    """The first line of the driver's message: the rest may hold parameters."""
    if isinstance(error, DBAPIError):
        lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        return f"the database says: {lines[0]}"
    return f"SQLAlchemy says: {type(error).__name__}: {str(error).splitlines()[0]}"
