"""Versions of the application side by side, as separate programs, through all phases and back.

``make test-adoption`` has them go on for much longer.
"""

from __future__ import annotations

import os
from itertools import count as count_up
from typing import Any

import pytest
from sqlalchemy import insert, text

from encfields.adopt import (
    Adoption,
    adopt,
    begin_adoption,
    close_plaintext,
    ensure_adopted,
    refill_plaintext,
)
from encfields.bulk.options import Options
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.plaintext import Adopt
from tests.adoption.models import customer
from tests.adoption.version import ROWS, backfill, work
from tests.database import Database
from tests.forked import Program
from tests.waiting import until

ROUNDS = int(os.environ.get("ENCFIELDS_ADOPTION_ROUNDS", "10"))
PATIENCE = 600 + 5 * ROUNDS


@pytest.fixture
def legacy(db: Database) -> Database:
    """The old application's rows, each with the e-mail ``id:note``."""
    old = customer("old")
    old.metadata.create_all(db.plain)
    if db.name == "sqlite":
        with db.plain.connect() as connection:
            connection.execute(text("PRAGMA journal_mode=WAL"))
    with db.plain.begin() as connection:
        rows = [{"id": n, "note": "0", "email": f"{n}:0"} for n in range(1, ROWS + 1)]
        connection.execute(insert(old), rows)
    return db


def side_by_side(db: Database, *phases: str) -> None:
    """Let versions of the application work at once; none reads what is out of date."""
    running = [Program(work, db.backend.url_text, phase, ROUNDS) for phase in phases]
    for phase, program in zip(phases, running, strict=True):
        counts = program.result(PATIENCE)
        assert counts["writes"] > 0
        assert (counts["stale"], counts["missed"]) == (0, 0), (phase, counts)


def sealed_rows(db: Database) -> int:
    with db.plain.connect() as connection:
        counted = connection.scalar(text("SELECT count(email_enc) FROM customer"))
    return int(counted or 0)


@pytest.mark.timeout(900 + 10 * ROUNDS)  # programs that start on a machine with other work
def test_no_version_reads_what_another_has_changed_through_all_phases_and_back(legacy: Database):
    db, keys, url = legacy, legacy.encryption, legacy.backend.url_text
    adoption = Adoption.of(customer("write-both").__table__.c.email_enc)
    begin_adoption(db.engine, adoption)

    killed = Program(backfill, url, 10)
    until(lambda: sealed_rows(db) > 0)
    killed.kill()
    beside = Program(backfill, url)
    side_by_side(db, "old", "write-both", "read-sealed")
    assert beside.result(PATIENCE)

    assert adopt(db.engine, keys, adoption).finished
    assert ensure_adopted(db.engine, keys, adoption).both == count(db)
    side_by_side(db, "read-sealed", "write-sealed")
    close_plaintext(db.engine, keys, adoption)
    side_by_side(db, "done")

    assert refill_plaintext(db.engine, keys, adoption).finished
    assert ensure_adopted(db.engine, keys, adoption).both == count(db)
    side_by_side(db, "old", "read-sealed")


def test_a_plaintext_that_changes_while_it_is_sealed_is_no_fault_of_the_row(
    legacy: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = legacy
    looked: list[int] = []
    adoption = Adoption.of(customer("write-both").__table__.c.email_enc)
    begin_adoption(db.engine, adoption)
    outcome_of = Adopt.outcome_of

    def change_meanwhile(self: Adopt, rows: Any, reader: Any) -> Any:
        outcome = outcome_of(self, rows, reader)
        if not looked:
            with db.plain.begin() as connection:
                connection.execute(text("UPDATE customer SET email = '2:1' WHERE id = 2"))
        looked.append(len(rows))
        return outcome

    monkeypatch.setattr(Adopt, "outcome_of", change_meanwhile)
    told: list[int] = []
    report = adopt(
        db.engine, db.encryption, adoption, progress=lambda state: told.append(state.quarantined)
    )
    assert report.finished
    assert set(told) == {0}
    assert ensure_adopted(db.engine, db.encryption, adoption).both == count(db)


def test_a_run_that_older_processes_outpace_ends_and_stands_in_no_other_run_s_way(
    legacy: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, keys = legacy, legacy.encryption
    adoption = Adoption.of(customer("write-both").__table__.c.email_enc)
    begin_adoption(db.engine, adoption)
    outcome_of, turns = Adopt.outcome_of, count_up(1)

    def outpaced(self: Adopt, rows: Any, reader: Any) -> Any:
        outcome = outcome_of(self, rows, reader)
        with db.plain.begin() as connection:
            sql = "UPDATE customer SET email = :email WHERE id = 2"
            connection.execute(text(sql), {"email": f"2:{next(turns)}"})
        return outcome

    with monkeypatch.context() as patched:
        patched.setattr(Adopt, "outcome_of", outpaced)
        report = adopt(db.engine, keys, adoption, options=Options(max_sweeps=1))
    assert not report.finished
    assert 'Deploy the phase "write-both"' in (report.error or "")
    assert Reencryption(db.engine, keys, adoption.spec).run().finished
    assert adopt(db.engine, keys, adoption).finished


def count(db: Database) -> int:
    with db.plain.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM customer")) or 0)
