"""Every value under the active version, while the application reads and writes."""

from __future__ import annotations

from encfields.alembic import SealedColumn, op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # For a table of millions of rows: queue=True, `encfields reencrypt` on as many hosts as
    # wanted, and op.ensure_encrypted(...) with the same columns in a later revision.
    op.reencrypt(
        "patient",
        [
            SealedColumn("ssn", key="clinical"),
            SealedColumn("notes", "clinic.notes", key="clinical"),
        ],
    )


def downgrade() -> None:
    # The values are the same.
    pass
