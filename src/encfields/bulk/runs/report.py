"""The results of runs, dry runs and surveys."""

from __future__ import annotations

from dataclasses import dataclass

REFUSED = "refused"
"""State in a report: the run was found but cannot be worked on."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A value that does not open. It was left unchanged.

    :param table: the table's name. :param column: the column's name.
    :param key: the row's primary key by column name, as text.
    :param reason: a stable word: ``"not-a-message"``, ``"context"``, ``"body-tag"``, ...
    :param message: what is wrong with it; never anything of the value.
    """

    table: str
    column: str
    key: dict[str, str]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a run, over all workers on all hosts.

    :param run_id: the run's id in ``encfields_runs``.
    :param finished: every value of the table is current. False while the run is under way, and if
        it ended with quarantined values.
    :param state: ``"running"``, ``"finished"``, ``"quarantined"``, ``"failed"``, ``"abandoned"``;
        ``"refused"`` if it cannot be worked on, which no row says.
    :param rows_seen: rows that the first pass read.
    :param rows_written: rows rewritten.
    :param rows_current: rows of the first pass that were already current, by their headers.
    :param rows_skipped_locked: times that a row was postponed because the application had locked or
        changed it.
    :param quarantined: values that do not open.
    :param passes: passes begun over the table: one that rewrites, then sweeps.
    :param seconds: how long this call took.
    :param error: why it is not finished, if known.
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
    """What a run would do, by headers. Nothing was written, and no key was used, except for a
    conversion, which opens the values.

    :param rows: rows of the table.
    :param rows_to_rewrite: rows with a value that is not current.
    :param values_to_rewrite: those values. :param bytes_to_rewrite: their stored bytes.
    :param unreadable: values that are not messages, belong elsewhere, or are under a key version
        that is missing or destroyed: they would be quarantined.
    :param seconds: estimated duration with the given options.
    :param kms_calls: calls to KMS by each worker process, one per key version it meets.
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

    :param rows: rows of the table. :param current: values that need no rewriting.
    :param not_current: values that a run would rewrite. :param null: NULLs.
    :param unreadable: values that are not messages, or belong elsewhere.
    """

    rows: int
    current: int
    not_current: int
    null: int
    unreadable: int
