"""The clinic's tables. Encrypted columns are bytes, and so are their blind indexes."""

from __future__ import annotations

import sqlalchemy as sa

from encfields.alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "clinic",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(60), nullable=False),
    )
    op.create_table(
        "patient",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("clinic_id", sa.Integer, sa.ForeignKey("clinic.id"), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("ssn", sa.LargeBinary, nullable=False),
        sa.Column("born", sa.LargeBinary),
        sa.Column("ssn_bidx", sa.LargeBinary),
    )
    op.create_index("ix_patient_ssn_bidx", "patient", ["ssn_bidx"])
    op.create_table(
        "visit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("diagnosis", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "contact",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("phone", sa.String(20), nullable=False),
    )


def downgrade() -> None:
    for table in ("contact", "visit", "patient", "clinic"):
        op.drop_table(table)
