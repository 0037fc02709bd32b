"""The branch key ``default``."""

from __future__ import annotations

from encfields.alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_branch_key("default")


def downgrade() -> None:
    """A key is destroyed on purpose, never by a step back."""
