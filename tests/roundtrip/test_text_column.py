"""An encrypted column is declared, and what the database has does not suit it as yet."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
)

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


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_an_sqlite_database_in_utf_16_is_refused_by_name(encoding: str) -> None:
    engine = create_engine("sqlite://")

    @event.listens_for(engine, "connect")
    def choose(connection: Any, record: Any) -> None:
        connection.execute(f"PRAGMA encoding = '{encoding}'")

    table = Table(
        "person", MetaData(), Column("id", Integer, primary_key=True), Column("s", EncryptedType())
    )
    attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "s": "Ada"})
        with pytest.raises(MalformedMessageError, match=r"person\.s: .* UTF-16"):
            connection.execute(select(table)).all()
