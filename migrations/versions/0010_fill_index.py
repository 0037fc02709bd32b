"""The rows that were there before the index, which queries by it miss until now."""

from __future__ import annotations

from encfields.alembic import SealedColumn, op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    # Before it runs, the application that writes the index is deployed everywhere: otherwise some
    # rows are written without it meanwhile. For a large table: queue=True, and in a later revision
    # op.ensure_blind_index("person", ["social_bidx"]).
    op.fill_blind_index("person", ["social_bidx"], columns=[SealedColumn("social", key="clinical")])


def downgrade() -> None:
    # What was filled goes with the column.
    pass
