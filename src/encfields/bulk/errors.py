"""Errors of bulk runs, besides those of values and keys."""

from __future__ import annotations

import re

from encfields.errors import EncFieldsError

_UUID = re.compile("[0-9a-f-]{36}")

_SHOWN = 64
"""Characters shown of an invalid run id."""


def is_run_id(text: object) -> bool:
    """Whether `text` has the form of a run id."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def shown_id(text: str) -> str:
    """A run id, safe to print: anybody may have written the row, so escape it and cut it."""
    if is_run_id(text):
        return text
    shown = ascii(text)[1:-1]
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}... ({len(text):,} characters)"


class ReencryptionError(EncFieldsError):
    """A bulk run could not be started, or cannot go on."""


class ConflictingRunError(ReencryptionError):
    """Another run with a different description is working on the table."""


class UnfinishedError(ReencryptionError):
    """Some values are not current yet: finish the run first."""


class TooManyQuarantinedError(ReencryptionError):
    """So many values do not open that the run's description is probably wrong."""


class RunRefusedError(ReencryptionError):
    """A run's row was altered, or the run may no longer be continued.

    :param run_id: the run's id in its row. :param field: the column at fault.
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
    """The database was unreachable or rejected statements for longer than the run waits."""


class LeaseLostError(Exception):
    """Another worker took over the range; this worker's open transaction is rolled back.

    Never leaves the engine.
    """


class RowAlteredError(Exception):
    """A row just written does not hold what was written; the transaction is rolled back.

    Never leaves the engine.
    """
