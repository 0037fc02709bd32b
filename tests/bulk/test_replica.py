"""A run waits for a real replica that falls behind."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import text

from tests.bulk.server_trial import can_start, private_server
from tests.bulk.support import Clinic
from tests.servers import postgresql
from tests.servers.postgresql_replica import Replica

ROWS = 600


@pytest.fixture
def followed():
    """A clinic on a primary of our own, and what follows it."""
    binaries = postgresql.installed()
    assert binaries is not None
    with private_server("postgresql") as (server, backend):
        replica = Replica(binaries, server)
        try:
            clinic = Clinic(backend)
            clinic.fill(ROWS)
            clinic.rotate()
            yield clinic, replica
        finally:
            replica.stop()


@can_start("postgresql")
def test_a_run_pauses_until_a_replica_that_lags_has_caught_up(followed, told):
    clinic, replica = followed
    before = clinic.values()
    reasons: list[str] = []

    def progress(state: Any) -> None:
        if state.paused:
            reasons.append(state.paused)
            replica.resume()

    replica.pause()
    # Slow enough for the replica to be seen behind before the run is over.
    report = clinic.run(max_lag=0.5, check_seconds=0.05, rows_per_second=300).run(progress=progress)
    assert report.finished
    assert reasons
    assert all(reason.startswith("replicas are ") for reason in reasons)
    assert clinic.values() == before
    with clinic.engine.connect() as primary, closing(postgresql.connect(replica.url)) as copy:
        assert primary.execute(text("SELECT count(*) FROM pg_stat_replication")).scalar() == 1
        database = copy.execute("SELECT pg_is_in_recovery()").fetchone()
        assert database == (True,)


@can_start("postgresql")
def test_a_run_does_not_wait_for_a_replica_that_keeps_up(followed, told):
    clinic, _ = followed
    reasons: list[str | None] = []
    run = clinic.run(max_lag=3600, check_seconds=0.05)
    assert run.run(progress=lambda state: reasons.append(state.paused)).finished
    assert set(reasons) == {None}
