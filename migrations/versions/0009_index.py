"""Persons are to be found by their number, and no number is to be there twice."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from encfields.alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    # As autogenerate writes it for EncryptedType(..., index=BlindIndex(unique=True)). A row that
    # is there already has NULL in it, of which any number may be there.
    op.add_column(
        "person",
        sa.Column(
            "social_bidx",
            sa.LargeBinary(length=16).with_variant(mysql.VARBINARY(16), "mysql", "mariadb"),
            nullable=True,
        ),
    )
    op.create_index(op.f("ix_person_social_bidx"), "person", ["social_bidx"], unique=True)


def downgrade() -> None:
    op.drop_index(op.f("ix_person_social_bidx"), table_name="person")
    op.drop_column("person", "social_bidx")
