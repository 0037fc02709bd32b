"""The branch key ``clinic/1``."""

from __future__ import annotations

from encfields.alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_branch_key("clinic/1")


def downgrade() -> None:
    """A key is destroyed on purpose, never by a step back."""
