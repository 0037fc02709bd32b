"""The branch key of the clinic's columns."""

from __future__ import annotations

from encfields.alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_branch_key("clinical")


def downgrade() -> None:
    # A key that was ever used is left in place: without it, what it sealed is lost.
    pass
