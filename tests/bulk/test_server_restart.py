"""The database server is killed and started again: run and application go on, nothing is lost.

The long version: ``python -m tests.bulk.faults --restart 10``.
"""

from __future__ import annotations

import random

import pytest

from tests.bulk.server_trial import on_both, restart_many

ROWS = 400


@pytest.mark.timeout(900)  # a run's processes may take long to start where others are at work
@on_both
def test_a_run_outlives_its_server_and_loses_nothing(name):
    trial = restart_many(name, 2, ROWS, random.Random(7))
    assert trial.restarts == 2
