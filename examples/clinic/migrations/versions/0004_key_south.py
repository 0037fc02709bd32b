"""The branch key ``clinic/2``."""

from __future__ import annotations

from encfields.alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_branch_key("clinic/2")


def downgrade() -> None:
    """A key is destroyed on purpose, never by a step back."""
