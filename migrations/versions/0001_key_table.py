"""The table of wrapped branch keys."""

from __future__ import annotations

from encfields.alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    # A revision of its own: keys are written on another connection, which sees the table only
    # when it is committed.
    op.create_encryption_keys_table()


def downgrade() -> None:
    # Only here, where no table is left whose values the keys have sealed.
    op.drop_encryption_keys_table(destroy_keys=True)
