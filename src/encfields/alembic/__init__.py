"""Alembic: operations on keys and encrypted values, and autogenerate. Needs the ``alembic`` extra.

Importing this package in ``env.py`` registers everything::

    import encfields.alembic

    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        render_item=encfields.alembic.render_item,
        encfields={"key_store": SqlKeyStore(keyrings.aws_kms("arn:..."))},
    )

There is no ``alembic.plugins`` entry point on purpose. In its documented form, a module, it makes
``import alembic`` itself fail on 1.18.0 to 1.20.0; the form that would work everywhere is a trick,
and any failure of a plug-in there takes the whole Alembic of an environment down, also where
nobody uses this library. One import in the ``env.py`` that wants it costs less.

What it is made of:

===================  =================================================================
``op``               the operations, with their types, as a migration calls them
``operations``       them as data
``implementations``  what they do, on a database or in a script of ``--sql`` mode
``autogenerate``     which of them a changed declaration asks for
``rendering``        how autogenerate writes them
``descriptions``     columns and indexes as a migration describes them
``message_checks``   the operation on ``EncryptedType(guard=True)``, with all of these
``environment``      what ``env.py`` sets
``errors``           what a migration raises
``internals``        private names of Alembic
===================  =================================================================
"""

from __future__ import annotations

# Importing these registers what they define with Alembic.
from encfields.alembic import implementations, message_checks, op  # noqa: F401
from encfields.alembic.autogenerate import compare  # noqa: F401
from encfields.alembic.descriptions import IndexColumn
from encfields.alembic.errors import IrreversibleError, MigrationError
from encfields.alembic.rendering import render_item
from encfields.bulk.options import Options
from encfields.bulk.rows.spec import SealedColumn

__all__ = [
    "IndexColumn",
    "IrreversibleError",
    "MigrationError",
    "Options",
    "SealedColumn",
    "op",
    "render_item",
]
