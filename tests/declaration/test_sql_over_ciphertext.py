"""SQL in a table's declaration that the database would compute of a ciphertext is refused."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    create_engine,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from encfields import BlindIndex, EncryptedType
from encfields.errors import DeclarationError


def _patient(*parts: Any) -> Table:
    return Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("kind", String(20)),
        Column("ssn", EncryptedType(index=BlindIndex())),
        *parts,
    )


GIVEN: dict[str, Any] = {
    "a CHECK": lambda: CheckConstraint("ssn <> ''"),
    "a CHECK of its length": lambda: CheckConstraint("id > 0 AND length(ssn) = 11"),
    "an index's condition": lambda: Index("i", "kind", postgresql_where=text("ssn = 'x'")),
    "an index of raw SQL": lambda: Index("i", text("lower(ssn)")),
    "an exclusion of raw SQL": lambda: ExcludeConstraint((text("lower(ssn)"), "=")),
    "an exclusion's condition": lambda: ExcludeConstraint(("kind", "="), where=text("ssn = 'x'")),
    "a computed column": lambda: Column("upper", String, Computed("upper(ssn)")),
    "a server default": lambda: Column("copy", String, server_default=text("ssn")),
}

ADDED: dict[str, Any] = {
    "a CHECK": lambda c: CheckConstraint(c.ssn != "x"),
    "a CHECK of a function": lambda c: CheckConstraint(and_(c.id > 0, func.length(c.ssn) > 3)),
    "a CHECK of a name": lambda c: CheckConstraint(literal_column("ssn") != "x"),
    "an index's condition": lambda c: Index("i", c.kind, sqlite_where=c.ssn == "x"),
    "an index of a function": lambda c: Index("i", c.kind, func.lower(c.ssn)),
    "an exclusion": lambda c: ExcludeConstraint((func.lower(c.ssn), "=")),
}

ACCEPTED: dict[str, Any] = {
    "whether it is NULL": lambda c: CheckConstraint("ssn IS NOT NULL OR kind = 'ssn'"),
    "whether it is NULL, by the column": lambda c: CheckConstraint(c.ssn.is_not(None)),
    "whether it is NULL, of some rows": lambda c: Index("i", c.kind, sqlite_where=c.ssn == None),  # noqa: E711
    "whether it is NULL, in an index": lambda c: Index("i", c.kind, c.ssn.is_(None)),
    "how many are NULL": lambda c: CheckConstraint("num_nonnulls(patient.ssn, kind) = 1"),
    "how many are NULL, by the column": lambda c: CheckConstraint(func.num_nulls(c.ssn) == 0),
    "the message's size": lambda c: CheckConstraint("octet_length(ssn) < 10000"),
    "the message's size, by the column": lambda c: CheckConstraint(func.octet_length(c.ssn) < 9000),
    "other columns": lambda c: CheckConstraint(c.kind.in_(["ssn", "none"])),
}


@pytest.mark.parametrize("name", GIVEN)
def test_sql_over_ciphertext_is_refused_where_the_table_is_defined(name: str) -> None:
    with pytest.raises(DeclarationError, match="of a ciphertext and not of the value: ") as caught:
        _patient(GIVEN[name]())
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")


@pytest.mark.parametrize("name", ADDED)
def test_sql_over_ciphertext_is_refused_where_it_is_added_to_the_table(name: str) -> None:
    patient = _patient()
    with pytest.raises(DeclarationError, match="of a ciphertext and not of the value: ") as caught:
        patient.append_constraint(ADDED[name](patient.c))
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")


def test_a_check_of_the_column_itself_is_refused() -> None:
    with pytest.raises(DeclarationError, match="the CHECK 'filled' would be computed"):
        _patient(Column("note", EncryptedType(), CheckConstraint("note <> ''", name="filled")))


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_a_message_tells_as_well_as_its_value_may_be_declared(name: str) -> None:
    patient = _patient()
    rule = ACCEPTED[name](patient.c)
    if isinstance(rule, CheckConstraint):
        patient.append_constraint(rule)
    assert rule in {*patient.constraints, *patient.indexes}


def test_a_foreign_key_to_an_encrypted_column_is_refused_when_its_table_is_created() -> None:
    metadata = _patient().metadata
    Table(
        "visit",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("ssn", String(20), ForeignKey("patient.ssn")),
    )
    with pytest.raises(DeclarationError, match=r"refer to patient\.ssn, which is enc") as caught:
        metadata.create_all(create_engine("sqlite://"))
    assert (caught.value.table, caught.value.column) == ("visit", "ssn")
