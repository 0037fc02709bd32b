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


def _table(metadata: MetaData, name: str, column: str, pinned: str | None = None) -> Table:
    key = Column("id", Integer, primary_key=True)
    return Table(name, metadata, key, Column(column, EncryptedType(name=pinned)))


def test_two_tables_cannot_share_a_logical_name_that_is_neither_s_own() -> None:
    metadata = MetaData()
    _table(metadata, "x", "s", "secret")
    with pytest.raises(DeclarationError, match=r"x\.s too.*exchanged") as caught:
        _table(metadata, "y", "s", "secret")
    assert (caught.value.table, caught.value.column) == ("y", "s")
    assert caught.value.reason == "logical-name"
    assert "y" not in metadata.tables


def test_dots_in_names_cannot_add_up_to_one_logical_name() -> None:
    metadata = MetaData()
    _table(metadata, "a", "b.c")
    with pytest.raises(DeclarationError, match=r"'a\.b\.c'"):
        _table(metadata, "a.b", "c")


def test_a_table_may_be_defined_again_and_copied() -> None:
    metadata = MetaData()
    table = _table(metadata, "x", "s", "secret")
    Table("x", metadata, Column("t", EncryptedType()), extend_existing=True)
    table.to_metadata(MetaData())
    metadata.remove(table)
    _table(metadata, "y", "s", "secret")


def test_a_column_that_gave_its_name_up_leaves_it_to_another() -> None:
    metadata = MetaData()
    _table(metadata, "patient", "ssn", "person.ssn")
    _table(metadata, "archive", "ssn", "patient.ssn")


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
