"""How a run works: batch sizes, workers, throttle, patience."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from encfields.errors import ConfigurationError
from encfields.orm.types import DEFAULT_KEY

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from encfields.bulk.rows.types_as_data import DeclaredTypes
    from encfields.engine import Encryption

MAX_LEASE_SECONDS = 3600.0
"""The longest lease. One that ends later than that was not given by a worker, and has lapsed."""

Setup = Callable[[], "tuple[Engine, Encryption]"]
"""Gives a worker process its own engine and the encryption attached to it.

It is called in a new process, so it is a module's own function or a ``functools.partial`` of
one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run works. Every worker of a run may have options of its own.

    :param batch_rows: rows read, encrypted and written together, at most.
    :param batch_bytes: bytes of stored values in a batch, about; large values make small batches.
    :param range_rows: rows of a range, which one worker claims at a time.
    :param workers: processes. One works in the calling process.
    :param setup: gives each worker process its engine and encryption; needed with several
        workers unless the key store is a ``SqlKeyStore`` on AWS KMS.
    :param duty_cycle: share of the time in which a worker works, above 0 and up to 1; it sleeps
        through the rest. By default it leaves the application a quarter; 1 is full speed.
    :param rows_per_second: rows read whole per second, all of this call's workers together; a
        sweep, which reads headers alone, may go ten times as fast.
    :param max_lag: seconds; the run pauses while a replica is further behind. PostgreSQL
        reports that itself (``pg_stat_replication``); for other databases, give a query.
    :param max_lag_query: SQL that gives the replicas' lag in seconds as one number.
    :param pause_for_vacuum: pause while PostgreSQL vacuums the table, so that it gets ahead of
        what the run leaves behind: a table twice its size, if it never does.
    :param pause_query: SQL that gives one value; the run pauses while it is true.
    :param check_seconds: how often the two queries and the run's pause flag are looked at.
    :param lease_seconds: how long a range stays a worker's after it was last heard of.
    :param outage_seconds: how long the database, or KMS, may be out of reach before the run
        gives up.
    :param max_quarantined: values that do not open before the run stops, because its
        description is then likelier wrong than they are.
    :param max_sweeps: final passes over the table in one call, while each still finds something.
    :param retries: times that a batch goes back for rows that the application had locked.
    :param run_key: id of the branch key under which the job of a run is sealed, so that nobody
        who can only write to the database can set one up. Whoever works at a run demands it.
    :param max_age_days: how old a run may be. An older one is refused.
    :param declared_types: types of the application's own that a run reads plaintext through, by
        ``table.column``.
    """

    batch_rows: int = 1000
    batch_bytes: int = 8 * 2**20
    range_rows: int = 20_000
    workers: int = 1
    setup: Setup | None = None
    duty_cycle: float = 0.75
    rows_per_second: float | None = None
    max_lag: float | None = None
    max_lag_query: str | None = None
    pause_for_vacuum: bool = False
    pause_query: str | None = None
    check_seconds: float = 1.0
    lease_seconds: float = 30.0
    outage_seconds: float = 300.0
    max_quarantined: int = 1000
    max_sweeps: int = 10
    retries: int = 3
    run_key: str = DEFAULT_KEY
    max_age_days: float = 30.0
    declared_types: Mapping[str, DeclaredTypes] = field(
        default_factory=dict, repr=False, hash=False
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if not isinstance(value, int | float):
                continue
            if not value >= _SMALLEST.get(option.name, 0):
                raise _refusal(f"{option.name}={value!r} is too small")
            if value > (most := _LARGEST.get(option.name, value)):
                raise _refusal(f"{option.name} must be at most {most:,}")
        if not 0 < self.duty_cycle <= 1:
            raise _refusal("duty_cycle must be above 0 and at most 1")
        if self.rows_per_second == 0:
            raise _refusal("rows_per_second must be above 0")
        if not self.lease_seconds <= MAX_LEASE_SECONDS:
            raise _refusal(f"lease_seconds must be at most {MAX_LEASE_SECONDS:g}")
        if self.max_lag_query is not None and self.max_lag is None:
            raise _refusal("max_lag_query needs max_lag as well")


_SMALLEST = {
    "batch_rows": 1,
    "batch_bytes": 1,
    "range_rows": 1,
    "workers": 1,
    "lease_seconds": 1,
    "max_sweeps": 1,
}

_LARGEST = {"batch_rows": 1_000_000, "range_rows": 1_000_000_000, "workers": 1_000}
"""More workers than any host has processors would take its memory before one of them works."""


def _refusal(what: str) -> ConfigurationError:
    return ConfigurationError(f"Options: {what}", reason="options")
