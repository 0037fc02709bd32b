"""A spec names a table's encrypted columns in the database's own terms."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table

from encfields import EncryptedType
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.errors import DeclarationError
from tests.servers.backends import Backend


def _table() -> Table:
    return Table(
        "patient",
        MetaData(),
        Column("patient_id", Integer, key="id", primary_key=True),
        Column("tenant", Integer, key="tenant_id"),
        Column("ssn", EncryptedType(key="tenant/{tenant_id}", bind_to="id"), key="number"),
    )


def test_columns_are_named_as_in_the_database_where_the_application_calls_them_otherwise() -> None:
    (column,) = TableSpec.from_table(_table()).columns
    assert column == SealedColumn("ssn", "patient.ssn", "tenant/{tenant}", ("patient_id",))


def test_what_is_reflected_binds_as_what_was_declared(sqlite: Backend) -> None:
    table = _table()
    engine = sqlite.create_engine()
    table.metadata.create_all(engine)
    with engine.connect() as connection:
        (binding,) = TableSpec.from_table(table).reflect(connection).bindings
    texts = ["5", "7"]
    assert binding.context.as_dict(texts) == {
        "enc:column": "patient.ssn",
        "enc:row:patient_id": "5",
        "enc:row:tenant": "7",
    }
    assert binding.key_id(texts) == "tenant/7"


def test_a_spec_survives_as_plain_data() -> None:
    spec = TableSpec.from_table(_table())
    assert TableSpec.from_json(spec.to_json()) == spec
    assert TableSpec.from_json(spec.to_json()).fingerprint() == spec.fingerprint()


def test_former_keys_are_part_of_a_spec_that_has_them_and_of_no_other():
    plain = TableSpec.of("t", ["v"])
    former = TableSpec.of("t", [SealedColumn("v", former_keys=("old", "t/{a}"))])
    assert TableSpec.from_json(former.to_json()) == former
    assert former.fingerprint() != plain.fingerprint()
    assert "former_keys" not in plain.to_json()["columns"][0]


def test_one_column_is_named_by_itself_and_what_is_no_name_is_refused() -> None:
    assert TableSpec.of("patient", "ssn") == TableSpec.of("patient", ["ssn"])
    wrong: Any
    for wrong in (5, [5], None, [None], String):
        with pytest.raises(DeclarationError, match=r"columns= takes names, or SealedColumn"):
            TableSpec.of("patient", wrong)
    for wrong in (5, None, ["patient"]):
        with pytest.raises(DeclarationError, match="the table is named by a string"):
            TableSpec.of(wrong, ["ssn"])
