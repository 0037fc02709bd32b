"""A new version of the key: it seals new values, old ones stay readable."""

from __future__ import annotations

from encfields.alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.rotate_branch_key("clinical")


def downgrade() -> None:
    # Values may be under the new version already, and the old ones need no help.
    pass
