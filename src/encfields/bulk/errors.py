"""What a bulk run raises beside the errors of values and keys."""

from __future__ import annotations

import re

from encfields.errors import EncFieldsError

_UUID = re.compile("[0-9a-f-]{36}")


class ReencryptionError(EncFieldsError):
    """A bulk run could not be started, or cannot go on."""


class ConflictingRunError(ReencryptionError):
    """Another run, of another description, is working on the table."""


class UnfinishedError(ReencryptionError):
    """Values are not what they should be by now: the run is to be finished first."""


class TooManyQuarantinedError(ReencryptionError):
    """So many values do not open that the run's description is likelier wrong than they are."""


class RunRefusedError(ReencryptionError):
    """A run's row is not what this library wrote there, or is not to be worked at any more.

    :param run_id: the run, as its row names it. :param field: the column at fault.
    :param problem: what is wrong with it.
    """

    def __init__(
        self, run_id: str, field: str, problem: str, *, reason: str, key_id: str | None = None
    ) -> None:
        # What the row calls itself may have been written by anybody: nothing of it is printed raw.
        shown = run_id if _UUID.fullmatch(run_id) else ascii(run_id)[:64]
        super().__init__(
            f"run {shown} is refused, {field}: {problem}. End it with abandon() or `encfields "
            "reencrypt --abandon`, and start another one if it was meant",
            key_id=key_id,
            reason=reason,
        )
        self.run_id = run_id
        self.field = field


class DatabaseUnavailableError(ReencryptionError):
    """The database was out of reach, or refused, for longer than the run waits."""


class LeaseLostError(Exception):
    """Another worker has taken the range over; what this one was about to write is rolled back.

    Never leaves the engine.
    """
