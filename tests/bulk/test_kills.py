"""kill -9 of workers and of the coordinator: the run resumes, and nothing is lost.

The long version: ``python -m tests.bulk.faults --kills 20``.
"""

from __future__ import annotations

import random

import pytest

from tests.bulk.faults import KillTrial
from tests.bulk.support import Clinic

ROWS = 800


@pytest.mark.timeout(900)  # a run's processes may take long to start where others are at work
@pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)
def test_killed_at_random_moments_a_run_loses_nothing_and_ends(backend):
    clinic = Clinic(backend)
    clinic.fill(ROWS)
    trial = KillTrial(clinic, ROWS, random.Random(7))
    try:
        for victim in ("worker", "coordinator"):
            trial.kill(victim)
        trial.finish()
    finally:
        trial.close()
    assert trial.kills == {"worker": 1, "coordinator": 1}
