"""A key of 0: MySQL and MariaDB take it for the request to generate one."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select

from encfields import EncryptedType
from encfields.errors import UnknownIdentityError
from tests.database import Database

metadata = MetaData()
zero = Table(
    "zero", metadata, Column("id", Integer, primary_key=True), Column("ssn", EncryptedType())
)


def test_mariadb_refuses_a_key_that_it_would_not_store(mariadb_db: Database) -> None:
    mariadb_db.create(metadata)
    with mariadb_db.engine.begin() as connection:
        with pytest.raises(UnknownIdentityError, match="generate a new key when 0"):
            connection.execute(insert(zero), {"id": 0, "ssn": "123-45-6789"})
        assert connection.execute(select(zero.c.id)).all() == []


def test_elsewhere_0_is_a_key_like_any_other(postgresql_db: Database) -> None:
    postgresql_db.create(metadata)
    with postgresql_db.engine.begin() as connection:
        connection.execute(insert(zero), {"id": 0, "ssn": "123-45-6789"})
        assert connection.execute(select(zero)).all() == [(0, "123-45-6789")]
