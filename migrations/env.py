"""The example application's Alembic environment: every kind of migration, once.

Run it on a database of your own, step by step or at once::

    pip install 'encfields[alembic]'
    alembic -c migrations/alembic.ini -x url=sqlite:///clinic.db upgrade head
    alembic -c migrations/alembic.ini -x url=sqlite:///clinic.db history
    alembic -c migrations/alembic.ini -x url=sqlite:///clinic.db downgrade base

``-x key=FILE`` names the wrapping key, by default ``clinic.key``, which is made when it is
missing. In production that is ``keyrings.aws_kms("arn:aws:kms:...")`` and there is no such file.
"""

from __future__ import annotations

import os
from logging.config import fileConfig
from pathlib import Path

from alembic import context
from sqlalchemy import create_engine, pool

import encfields.alembic  # registers op.reencrypt() and its like, and autogenerate
from encfields import SqlKeyStore, attach, keyrings
from encfields.alembic import Options
from migrations.clinic import metadata

arguments = context.get_x_argument(as_dictionary=True)
url = arguments.get("url") or os.environ.get("CLINIC_URL")
if not url:
    raise SystemExit("Which database? alembic -x url=sqlite:///clinic.db ..., or CLINIC_URL")

key_file = Path(arguments.get("key") or os.environ.get("CLINIC_KEY") or "clinic.key")
if not key_file.exists():
    keyrings.generate_local_key(key_file)
key_store = SqlKeyStore(keyrings.local(key_file))

if context.config.config_file_name and not context.config.attributes.get("quiet"):
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)


def options(**encfields_settings: object) -> dict[str, object]:
    """What is the same online and offline."""
    return {
        "target_metadata": metadata,
        # Columns are rendered as the bytes that they store: a migration that is run again in
        # years to come does not depend on how a column was declared then.
        "render_item": encfields.alembic.render_item,
        # A revision that works outside its transaction may only commit what is its own.
        "transaction_per_migration": True,
        # Where the keys are. How fast a run works is a matter of this environment as well: the
        # same revision is run on a laptop and in production. The jobs of runs are sealed under
        # the one key that there is here; by default it is the key "default".
        "encfields": {"options": Options(batch_rows=500, run_key="clinical"), **encfields_settings},
    }


def run_offline() -> None:
    """``--sql``: nothing can be encrypted; guards refuse while something is undone."""
    context.configure(url=url, literal_binds=True, **options(key_store=key_store))
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """On the database itself."""
    engine = create_engine(url, poolclass=pool.NullPool)
    # Attached, so that revision 0004 can write encrypted values; the operations need it not:
    # for them, encfields={"key_store": key_store} is enough.
    encryption = attach(engine, key_store)
    with engine.connect() as connection:
        context.configure(connection=connection, **options(encryption=encryption))
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
