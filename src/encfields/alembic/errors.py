"""Errors of migrations, besides those of keys, values and runs."""

from __future__ import annotations

from alembic.util import CommandError

from encfields.errors import EncFieldsError


class MigrationError(EncFieldsError, CommandError):
    """An operation cannot run in this migration, or was not finished.

    It is a ``CommandError``, so that Alembic's command line shows the message without a traceback.
    """


class IrreversibleError(MigrationError, NotImplementedError):
    """The operation has no inverse; the message says why, and what to do on a downgrade."""
