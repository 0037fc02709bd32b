"""Rules that a column must meet to be encrypted."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column
from sqlalchemy.types import TypeEngine

from encfields.errors import DeclarationError
from encfields.orm import internals


def check_column(column: Column[Any]) -> None:
    """Refuse a column that would store or return values unprotected.

    :raises DeclarationError: says what about it.
    """
    if column.primary_key:
        raise refusal(column, "a primary key cannot be encrypted", "primary-key")
    if column.foreign_keys:
        raise refusal(
            column, "a foreign key cannot be encrypted: no two ciphertexts are alike", "foreign-key"
        )
    if column.computed is not None or column.identity is not None:
        raise refusal(column, "the database cannot compute an encrypted value", "computed")
    if column.server_default is not None:
        raise refusal(
            column,
            "a server default would store plaintext: use default=, which runs in Python",
            "server-default",
        )
    if column.server_onupdate is not None:
        raise refusal(
            column, "a server onupdate would store plaintext: use onupdate= in Python", "onupdate"
        )
    if internals.is_insert_sentinel(column):
        raise refusal(
            column,
            "returned rows are not told apart by an encrypted value: leave insert_sentinel=True "
            "out, or add a column of its own, from insert_sentinel()",
            "sentinel",
        )
    for default in (column.default, column.onupdate):
        if default is not None and (default.is_clause_element or default.is_sequence):
            raise refusal(
                column,
                "an SQL expression as default would store a value that was never encrypted: use a "
                "Python value or function",
                "sql-default",
            )


def stores_bytes(type_: TypeEngine[Any] | None) -> bool:
    """Whether a type stores bytes, such as BYTEA, BLOB or LONGBLOB."""
    try:
        return type_ is not None and type_.python_type is bytes
    except NotImplementedError:
        return False


def refusal(column: Column[Any], message: str, reason: str) -> DeclarationError:
    """The error for a column that cannot be protected as declared."""
    return DeclarationError(message, table=column.table.fullname, column=column.name, reason=reason)
