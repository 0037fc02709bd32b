"""Versions of an application side by side, as separate programs, while what its values are bound
to, their name and their type change."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import insert, text

from encfields.bulk import conversion
from tests.bulk.changing_application import ROWS, convert, ledger, row, work
from tests.database import Database
from tests.forked import Program
from tests.servers.backends import Backend
from tests.waiting import until

ROUNDS = int(os.environ.get("ENCFIELDS_ADOPTION_ROUNDS", "8"))
PATIENCE = 600 + 5 * ROUNDS


def side_by_side(db: Database, *versions: str) -> None:
    """Let versions work at once; none reads or looks up what is out of date."""
    running = [Program(work, db.backend.url_text, version, ROUNDS) for version in versions]
    for version, program in zip(versions, running, strict=True):
        counts = program.result(PATIENCE)
        assert counts["writes"] > 0
        assert (counts["stale"], counts["missed"]) == (0, 0), (version, counts)


def moved(db: Database) -> int:
    """Values that are in their new form."""
    with db.plain.connect() as connection:
        rows = connection.execute(text("SELECT body FROM ledger")).scalars()
        return sum(b"ledger.text" in bytes(one) for one in rows)


@pytest.mark.timeout(900 + 10 * ROUNDS)  # programs that start on a machine with other work
def test_nothing_is_lost_or_unread_while_a_declaration_changes(backend: Backend) -> None:
    db = Database(backend)
    ledger("old").create(db.engine)
    if db.name == "sqlite":
        with db.plain.connect() as connection:
            connection.execute(text("PRAGMA journal_mode=WAL"))
    with db.begin() as connection:
        connection.execute(insert(ledger("old")), [row("old", n, n) for n in range(1, ROWS + 1)])
    url = db.backend.url_text

    side_by_side(db, "old", "write-former")
    assert moved(db) == 0

    killed = Program(convert, url, 10)
    until(lambda: moved(db) > 0)
    killed.kill()
    beside = Program(convert, url)
    side_by_side(db, "write-former", "write-new")
    assert beside.result(PATIENCE)

    run = conversion(db.engine, db.encryption, ledger("write-new").c.body)
    assert run.run().finished
    run.ensure()
    side_by_side(db, "write-new", "new")
