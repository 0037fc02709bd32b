"""Alembic's environment. The engine and its encryption are handed in by the application."""

from __future__ import annotations

from alembic import context

import encfields.alembic  # registers the operations and autogenerate
from examples.clinic.models import Base

with context.config.attributes["engine"].connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        render_item=encfields.alembic.render_item,
        encfields={"encryption": context.config.attributes["encryption"]},
    )
    with context.begin_transaction():
        context.run_migrations()
