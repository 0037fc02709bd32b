"""The database's disk is full for a while: run and application go on, nothing is lost.

The long version: ``python -m tests.bulk.faults --disk-full 5``.
"""

from __future__ import annotations

import pytest

from tests.bulk.disk_trial import disk_trial
from tests.bulk.server_trial import can_start, on_both
from tests.servers.process import ServerError
from tests.servers.small_disk import SmallDisk

ROWS = 2000


@pytest.fixture(scope="module", autouse=True)
def _a_small_disk_can_be_had():
    """Containers mostly may not mount one; the run then says that this was not tried, and why."""
    try:
        SmallDisk(1).close()
    except ServerError as error:
        pytest.skip(str(error))


@on_both
def test_a_full_disk_is_waited_for(name):
    with disk_trial(name, ROWS) as (_, trial):
        trial.goes_on()


@on_both
def test_a_disk_that_stays_full_ends_the_call_and_the_next_one_goes_on(name):
    with disk_trial(name, ROWS) as (_, trial):
        trial.gives_up()


@pytest.mark.parametrize("name", [pytest.param("postgresql", marks=can_start("postgresql"))])
def test_a_server_that_a_full_disk_has_ended_is_waited_for(name):
    with disk_trial(name, ROWS, everything=True) as (server, trial):
        trial.server_ends(server)
