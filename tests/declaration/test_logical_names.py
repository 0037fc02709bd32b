"""A logical name is what tells one column's values from another's."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from encfields import EncryptedType
from encfields.errors import DeclarationError


def test_two_columns_of_a_table_cannot_share_a_logical_name() -> None:
    with pytest.raises(DeclarationError, match="exchanged") as caught:
        Table(
            "patient",
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("ssn", EncryptedType(name="patient.secret")),
            Column("notes", EncryptedType(name="patient.secret")),
        )
    assert caught.value.reason == "logical-name"


def test_tables_may_share_a_logical_name_on_purpose() -> None:
    """An archive takes whole rows with their ciphertext, and reads them."""
    metadata = MetaData()
    for name in ("patient", "patient_archive"):
        Table(
            name,
            metadata,
            Column("id", Integer, primary_key=True),
            Column("ssn", EncryptedType(name="patient.ssn")),
        )
    assert set(metadata.tables) == {"patient", "patient_archive"}
