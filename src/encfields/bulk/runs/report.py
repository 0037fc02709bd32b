"""The reports of a run, a dry run and a survey."""

from __future__ import annotations

from dataclasses import dataclass

REFUSED = "refused"
"""In place of a run's state: it was found, and cannot be worked at."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A value that does not open. It was left as it is.

    :param table: the table's name. :param column: the column's.
    :param key: the row's primary key by column name, as text.
    :param reason: short, stable word: ``"not-a-message"``, ``"context"``, ``"body-tag"``, ...
    :param message: what is wrong with it; never anything of the value.
    """

    table: str
    column: str
    key: dict[str, str]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """Where a run stands, all workers of all hosts together.

    :param run_id: the run's row in ``encfields_runs``.
    :param finished: every value of the table is current. False while the run is under way, and
        for good when values are quarantined.
    :param state: ``"running"``, ``"finished"``, ``"quarantined"``, ``"failed"``, ``"abandoned"``;
        ``"refused"`` if it cannot be worked at, which is no state of its own.
    :param rows_seen: rows that the first pass looked at.
    :param rows_written: rows rewritten.
    :param rows_current: rows of the first pass with nothing to do, by the header alone.
    :param rows_skipped_locked: times that a row was left for later, because the application held
        its lock or had changed it meanwhile.
    :param quarantined: values that do not open.
    :param passes: passes over the table that were begun: one that rewrites, then sweeps.
    :param seconds: how long this call took.
    :param error: why it is not finished, where that is known.
    """

    run_id: str
    finished: bool
    state: str
    rows_seen: int
    rows_written: int
    rows_current: int
    rows_skipped_locked: int
    quarantined: tuple[Quarantined, ...]
    passes: int
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would do, as far as headers tell. No key was used and nothing was written.

    Only a conversion's dry run used keys, for it opened the values.

    :param rows: rows of the table.
    :param rows_to_rewrite: rows with a value that is not current.
    :param values_to_rewrite: such values.
    :param bytes_to_rewrite: their stored bytes.
    :param unreadable: values that are no message, belong elsewhere, or are under a key version
        that is missing or destroyed: they would be quarantined.
    :param seconds: estimate for the options that were given.
    :param kms_calls: calls to KMS that each worker process makes, one per key version it meets.
    :param versions: values to rewrite by ``(key id, version)``.
    """

    rows: int
    rows_to_rewrite: int
    values_to_rewrite: int
    bytes_to_rewrite: int
    unreadable: int
    seconds: float
    kms_calls: int
    versions: dict[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Summary:
    """The values of a table's columns, counted by their headers.

    :param rows: rows of the table. :param current: values that are as they should be.
    :param not_current: values that a run would rewrite. :param null: NULLs.
    :param unreadable: values that are no message, or belong elsewhere.
    """

    rows: int
    current: int
    not_current: int
    null: int
    unreadable: int
