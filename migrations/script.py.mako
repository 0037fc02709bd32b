"""${message}"""

from __future__ import annotations

import sqlalchemy as sa

# For Python this is `from alembic import op`; a type checker sees op.reencrypt() and its like too.
from encfields.alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
