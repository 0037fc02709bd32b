"""Patients are persons from now on, and the column says less of one country's law."""

from __future__ import annotations

from sqlalchemy.dialects import mysql
from sqlalchemy.types import LargeBinary

from encfields.alembic import op

revision = "0007"
down_revision = "0006"

BYTES = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    op.rename_table("patient", "person")
    # SQLite alters a column by copying the table: as bytes, since nothing here is declared
    # encrypted.
    with op.batch_alter_table("person") as batch:
        batch.alter_column("ssn", new_column_name="social", existing_type=BYTES)


def downgrade() -> None:
    with op.batch_alter_table("person") as batch:
        batch.alter_column("social", new_column_name="ssn", existing_type=BYTES)
    op.rename_table("person", "patient")
