"""What a migration raises beside the errors of keys, values and runs."""

from __future__ import annotations

from alembic.util import CommandError

from encfields.errors import EncFieldsError


class MigrationError(EncFieldsError, CommandError):
    """An operation cannot be done in this migration, or was not finished.

    As a ``CommandError`` too, Alembic's command line shows the message instead of a traceback.
    """


class IrreversibleError(MigrationError, NotImplementedError):
    """The operation has no inverse; the message says why, and what a downgrade does instead."""
