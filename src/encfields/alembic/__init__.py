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

There is deliberately no ``alembic.plugins`` entry point. In its documented form, a module, it makes
``import alembic`` fail on 1.18.0 to 1.20.0, and any failure of a plug-in breaks Alembic in the
whole environment, even for projects that do not use this library.

Modules:

===================  =================================================================
``op``               the operations as a migration calls them, with types
``operations``       the operations as data
``implementations``  what they do, on a database or in a ``--sql`` script
``implementing``     registers that with Alembic
``autogenerate``     which of them a changed declaration needs
``rendering``        how autogenerate writes them
``descriptions``     columns and indexes as a migration describes them
``message_checks``   all of this for the CHECK of ``EncryptedType(guard=True)``
``environment``      what ``env.py`` sets
``errors``           what a migration raises
``internals``        private names of Alembic
===================  =================================================================
"""

from __future__ import annotations

# Imported to register with Alembic.
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
