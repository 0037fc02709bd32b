"""Data: a migration that writes encrypted values declares the table as it is at that point."""

from __future__ import annotations

import sqlalchemy as sa

from encfields import EncryptedType
from encfields.alembic import op

revision = "0004"
down_revision = "0003"

# Not the application's model, which is another one by now.
patient = sa.Table(
    "patient",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("ssn", EncryptedType(sa.String(11), key="clinical")),
    sa.Column("notes", EncryptedType(sa.Text, key="clinical", name="clinic.notes")),
)


def upgrade() -> None:
    # Online only: with --sql this is refused, because nothing is sealed while a script is written.
    op.bulk_insert(
        patient,
        [
            {"id": 1, "name": "Ada", "ssn": "123-45-6789", "notes": "allergic to penicillin"},
            {"id": 2, "name": "Grace", "ssn": "987-65-4321", "notes": None},
        ],
    )


def downgrade() -> None:
    op.execute(patient.delete().where(patient.c.id.in_([1, 2])))
