"""What a bulk run raises beside the errors of values and keys."""

from __future__ import annotations

from encfields.errors import EncFieldsError


class ReencryptionError(EncFieldsError):
    """A bulk run could not be started, or cannot go on."""


class ConflictingRunError(ReencryptionError):
    """Another run, of another description, is at work on the table."""


class UnfinishedError(ReencryptionError):
    """Values are not what they should be by now: the run is to be finished first."""


class TooManyQuarantinedError(ReencryptionError):
    """So many values do not open that the run's description is likelier wrong than they are."""


class DatabaseUnavailableError(ReencryptionError):
    """The database was out of reach, or refused, for longer than the run waits."""


class LeaseLostError(Exception):
    """Another worker has taken the range over; what this one was about to write is rolled back.

    Never leaves the engine.
    """
