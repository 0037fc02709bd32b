"""An encrypted column behaves as a plain one: the same program, on twins, shows the same.

The long run is ``python -m tests.differential`` (``make fuzz-differential``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import SAWarning

from tests.differential.databases import Database
from tests.differential.refusals import REFUSALS
from tests.differential.shrink import script, shrink
from tests.differential.trial import attempt, draw_program

SEEDS = (733, 734, 735, 737, 1101, 1102, 1107, 1108)
"""Programs of two schemas, whose classes and tables take longer to make than a program to run; the
programs of these that have most kinds of steps."""
pytestmark = pytest.mark.usefixtures("older_objects_stay")

DOCUMENTS = (Path(__file__).parents[2] / "docs").glob("*.md")
DOCUMENTED = " ".join(word for page in DOCUMENTS for word in page.read_text().split())


@pytest.fixture
def database(backend) -> Iterator[Database]:
    made = Database(backend.url)
    yield made
    made.close()


@pytest.mark.timeout(900)  # they are many, and wait for a machine that has other work
def test_programs_show_the_same_on_encrypted_and_on_plain_columns(database):
    for seed in SEEDS:
        program = draw_program(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)  # both sides have them
            if finding := attempt(program, database):
                shorter = shrink(program, finding, database)
                pytest.fail(f"seed {seed}\n{script(*shorter, database)}", pytrace=False)


def test_a_seed_gives_the_same_program_every_time():
    assert repr(draw_program(7)) == repr(draw_program(7))


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda r: r.documented)
def test_what_programs_may_be_refused_is_documented(refusal):
    assert refusal.documented in DOCUMENTED
