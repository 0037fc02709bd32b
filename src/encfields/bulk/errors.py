"""What a bulk run raises beside the errors of values and keys."""

from __future__ import annotations

import re

from encfields.errors import EncFieldsError

_UUID = re.compile("[0-9a-f-]{36}")

_SHOWN = 64
"""Characters of a run's id that is none."""


def is_run_id(text: object) -> bool:
    """Whether a run can be called so."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def shown_id(text: str) -> str:
    """A run's id for people. What a row calls itself may have been written by anybody: it is not
    printed raw, nor at any length."""
    if is_run_id(text):
        return text
    shown = ascii(text)[1:-1]
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}... ({len(text):,} characters)"


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
        end = "End it with abandon() or `encfields reencrypt --abandon`"
        if field == "id":
            end = "Delete its row from encfields_runs"
        super().__init__(
            f"run {shown_id(run_id)} is refused, {field}: {problem}. {end}, and start another one "
            "if it was intended",
            key_id=key_id,
            reason=reason,
        )
        self.run_id = shown_id(run_id)
        self.field = field


class DatabaseUnavailableError(ReencryptionError):
    """The database was out of reach, or refused, for longer than the run waits."""


class LeaseLostError(Exception):
    """Another worker has taken the range over; what this one was about to write is rolled back.

    Never leaves the engine.
    """


class RowAlteredError(Exception):
    """A row that was just written holds something else: what was written is rolled back.

    Never leaves the engine.
    """
