"""The table of wrapped branch keys."""

from __future__ import annotations

from encfields.alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_encryption_keys_table()


def downgrade() -> None:
    op.drop_encryption_keys_table(destroy_keys=True)
