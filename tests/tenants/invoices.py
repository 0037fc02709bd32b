"""A table of which each row is sealed under its tenant's key."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, String, Table

from encfields import EncryptedType


def invoice_table() -> Table:
    return Table(
        "invoice",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant_id", Integer, nullable=False),
        Column("iban", EncryptedType(String, key="tenant/{tenant_id}")),
    )
