"""How a run works: batch sizes, workers, throttle, patience."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from encfields.errors import ConfigurationError
from encfields.expected_arguments import BY_COLUMN, CALLABLE, FLAG, TEXT, require
from encfields.orm.types import DEFAULT_KEY

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from encfields.bulk.rows.types_as_data import DeclaredTypes
    from encfields.engine import Encryption

MAX_LEASE_SECONDS = 3600.0
"""The longest lease, in seconds. No worker writes a longer one, so a longer one is ignored."""

Setup = Callable[[], "tuple[Engine, Encryption]"]
"""Returns an engine and the encryption attached to it, for one worker process.

It is called in a new process, so it must be a module-level function or a ``functools.partial``
of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run works. Workers of one run may have different options.

    :param batch_rows: most rows that are read, encrypted and written together.
    :param batch_bytes: approximate bytes of stored values in a batch; large values make small
        batches.
    :param range_rows: rows of a range, which one worker claims at a time.
    :param workers: number of processes. With 1, the calling process does the work.
    :param setup: gives each worker process its engine and encryption; needed with several
        workers unless the key store is a ``SqlKeyStore`` on AWS KMS.
    :param duty_cycle: share of the time that a worker works, above 0 and up to 1; it sleeps for the
        rest. The default leaves a quarter to the application; 1 is full speed.
    :param rows_per_second: rows read whole per second by all workers of this call together; a
        sweep, which reads only headers, may go ten times as fast.
    :param max_lag: seconds; the run pauses while a replica is further behind. PostgreSQL reports
        the lag itself (``pg_stat_replication``); other databases need `max_lag_query`.
    :param max_lag_query: SQL that returns the replicas' lag in seconds as one number.
    :param pause_for_vacuum: pause while PostgreSQL vacuums the table, so that vacuum keeps up with
        the dead rows that a run leaves, which can double the table's size.
    :param pause_query: SQL that returns one value; the run pauses while it is true.
    :param check_seconds: seconds between checks of the two queries and the run's pause flag.
    :param lease_seconds: seconds that a range stays with a worker that has gone silent.
    :param outage_seconds: seconds that the database or KMS may be unreachable before the run gives
        up.
    :param max_quarantined: the run stops after so many values that do not open, because its
        description is then probably wrong. Values whose key is destroyed, or fails alone, do not
        count.
    :param max_sweeps: most final passes over the table in one call, while each still finds
        something.
    :param retries: times that a batch retries rows that the application had locked.
    :param run_key: id of the branch key that seals the run's job, so that write access to the
        database is not enough to set up a run. All workers must name the same key.
    :param max_age_days: runs recorded more than so many days ago are refused.
    :param declared_types: the application's own types that a run reads plaintext through, by
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
            _check_type(option.name, str(option.type), value)
            if not isinstance(value, int | float):
                continue
            if not value >= _SMALLEST.get(option.name, 0):
                raise _refusal(f"{option.name}={value!r} is too small")
            if value > (most := _LARGEST.get(option.name, value)):
                raise _refusal(f"{option.name} must be at most {most:,}")
        if not 0 < self.duty_cycle <= 1:
            raise _refusal("duty_cycle must be above 0 and at most 1")
        for name in ("rows_per_second", "max_age_days"):
            if getattr(self, name) == 0:
                raise _refusal(f"{name} must be above 0")
        if not self.lease_seconds <= MAX_LEASE_SECONDS:
            raise _refusal(f"lease_seconds must be at most {MAX_LEASE_SECONDS:g}")
        if self.max_lag_query is not None and self.max_lag is None:
            raise _refusal("max_lag_query needs max_lag as well")


def _check_type(name: str, declared: str, value: object) -> None:
    kind, _, or_none = declared.partition(" | ")
    if value is None and or_none:
        return
    if kind in _KINDS:
        _check_kind(name, kind, value)
    if name in _EXPECTED:
        require(name, _EXPECTED[name], value)


def _check_kind(name: str, kind: str, value: object) -> None:
    if not isinstance(value, _KINDS[kind]) or isinstance(value, bool):
        article = "an" if kind == "int" else "a"
        raise _refusal(f"{name} must be {article} {kind}, not {type(value).__name__}")


_KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}

_EXPECTED = {
    "setup": CALLABLE,
    "pause_for_vacuum": FLAG,
    "run_key": TEXT,
    "declared_types": BY_COLUMN,
}

_SMALLEST = {
    "batch_rows": 1,
    "batch_bytes": 1,
    "range_rows": 1,
    "workers": 1,
    "lease_seconds": 1,
    "max_sweeps": 1,
}

_LARGEST = {"batch_rows": 1_000_000, "range_rows": 1_000_000_000, "workers": 1_000}
"""More workers than any host has processors would only exhaust its memory."""


def _refusal(what: str) -> ConfigurationError:
    return ConfigurationError(f"Options: {what}", reason="options")
