"""A mistaken argument of an operation is told by its name, before the migration does anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Date, create_engine

import encfields.alembic  # noqa: F401  (registers the operations)
from encfields import EncFieldsError

SECRET = "kX7-secret-in-the-wrong-place"

MISTAKES: dict[str, tuple[str, Callable[[Any], object]]] = {
    "schema": ("schema", lambda op: op.reencrypt("patient", ["ssn"], schema=5)),
    "queue": ("queue", lambda op: op.reencrypt("patient", ["ssn"], queue=SECRET)),
    "columns": ("columns", lambda op: op.rebind("patient", 5, was=["ssn"])),
    "into": ("into", lambda op: op.decrypt_column("patient", ["ssn"], into=SECRET)),
    "was": ("was", lambda op: op.convert_encrypted("visit", "day", was=SECRET, to=Date)),
    "to": ("to", lambda op: op.convert_encrypted("visit", "day", was=Date, to=None)),
    "column": ("column", lambda op: op.convert_encrypted("visit", 5, was=Date, to=Date)),
    "anew": ("reindex", lambda op: op.fill_blind_index("patient", ["ssn_bidx"], reindex=SECRET)),
    "sealed": ("into", lambda op: op.begin_adoption("customer", "email", into=b"x")),
    "inner type": ("type_", lambda op: op.begin_adoption("customer", "email", type_=SECRET)),
    "plain type": ("plain_type", lambda op: op.adopt("customer", "email", plain_type=object)),
    "unique": ("unique", lambda op: op.begin_adoption("customer", "email", unique=5)),
    "guard": ("guard", lambda op: op.begin_adoption("customer", "email", guard="no")),
    "tables": ("tables", lambda op: op.retire_branch_key("default", ["patient"])),
    "version": ("version", lambda op: op.retire_beacon_key("default", "1")),
    "key": ("key_id", lambda op: op.rotate_beacon_key(5)),
    "key table": ("table_name", lambda op: op.create_encryption_keys_table(None)),
    "destroy": ("destroy_keys", lambda op: op.drop_encryption_keys_table(destroy_keys="no")),
    "checked table": ("table_name", lambda op: op.create_message_check("", "ssn")),
    "checked column": ("column_name", lambda op: op.drop_message_check("patient", None)),
}


@pytest.mark.parametrize("name, ask", MISTAKES.values(), ids=MISTAKES)
def test_what_an_operation_does_not_take_is_told_and_not_shown(name: str, ask: Any) -> None:
    with create_engine("sqlite://").connect() as connection:
        op = Operations(MigrationContext.configure(connection))
        with pytest.raises(EncFieldsError) as caught:
            ask(op)
    assert f"{name}= takes" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_one_unique_index_given_by_itself_is_one_and_no_letters() -> None:
    invoked: list[Any] = []
    with create_engine("sqlite://").connect() as connection:
        op: Any = Operations(MigrationContext.configure(connection))
        op.invoke = invoked.append
        op.begin_adoption("customer", "email", indexes=["email_enc_bidx"], unique="email_enc_bidx")
    assert invoked[0].adopted.unique == ("email_enc_bidx",)
