"""An encrypted column is declared, and the database has text in its place as yet."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import MalformedMessageError
from tests.servers.backends import Backend


def test_plaintext_in_a_text_column_is_refused_and_not_shown(backend: Backend) -> None:
    engine = backend.create_engine()
    plain = Table(
        "person", MetaData(), Column("id", Integer, primary_key=True), Column("name", String(50))
    )
    plain.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(plain), {"id": 1, "name": "Ada Lovelace é"})
    declared = Table(
        "person",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("name", EncryptedType(String(50))),
    )
    attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    with engine.connect() as connection, pytest.raises(MalformedMessageError) as caught:
        connection.execute(select(declared)).all()
    assert (caught.value.table, caught.value.column) == ("person", "name")
    assert "plaintext" in str(caught.value)
    assert "Ada" not in str(caught.value)
