"""Values that carry the old name get the new one; what was pinned needs nothing."""

from __future__ import annotations

from encfields.alembic import SealedColumn, op

revision = "0008"
down_revision = "0007"

NOW = SealedColumn("social", key="clinical")
WAS = SealedColumn("social", "patient.ssn", key="clinical")


def upgrade() -> None:
    op.rebind("person", [NOW], was=[WAS])


def downgrade() -> None:
    op.rebind("person", [WAS], was=[NOW])
