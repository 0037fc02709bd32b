"""``encfields_raw_copy`` is for whole rows with their ciphertext: nothing else passes by it.

Whoever may say what a copy is made from (a report's query, an import's) would else store plaintext
in an encrypted column, or have one row's value stand in another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    cast,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    table,
    text,
    union_all,
    update,
)
from sqlalchemy.orm import aliased

from encfields.errors import CiphertextCopyError, UnsupportedOperationError
from tests.database import CANARY
from tests.index_writes.expected import PATIENT, check_indexes, stored
from tests.index_writes.models import Patient
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

patient: Any = Patient.__table__
RAW = {"encfields_raw_copy": True}
EVERY = [c.key for c in patient.c]
PLAIN = MetaData()
NOTES = ["id", "notes"]
"""A column without an index, and its row's key."""

kept: Any = patient.to_metadata(PLAIN, name="kept")
imported = Table("kept", MetaData(), Column("id", Integer), Column("notes", String(99)))
pairs = kept.alias()


@pytest.fixture
def emptied(patients: Any) -> Any:
    """The patients' rows in a second table, and none in the first."""
    with patients.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM patient")
        connection.execute(delete(patient))
    yield patients
    with patients.plain.begin() as connection:
        connection.exec_driver_sql("DROP TABLE kept")


def into(keys: list[str], source: Any) -> Any:
    return insert(patient).from_select(keys, source, include_defaults=False)


def notes(*source: Any) -> Any:
    return into(NOTES, select(*source))


OTHERS: dict[str, Callable[[], Any]] = {
    "a literal": lambda: notes(kept.c.id, literal(CANARY)),
    "literal SQL": lambda: notes(kept.c.id, literal_column(f"'{CANARY}'").label("notes")),
    "text()": lambda: notes(kept.c.id, text(f"'{CANARY}'")),
    "a column of no table": lambda: notes(kept.c.id, column("notes", LargeBinary)),
    "a function": lambda: notes(kept.c.id, func.max(kept.c.id)),
    "a function of the column itself": lambda: notes(imported.c.id, func.lower(imported.c.notes)),
    "a cast of the column itself": lambda: notes(
        imported.c.id, cast(imported.c.notes, LargeBinary)
    ),
    "a value under a label": lambda: notes(kept.c.id, literal(CANARY).label("notes")),
    "a column of another name": lambda: notes(kept.c.id, kept.c.mail),
    "a text column of that name": lambda: notes(imported.c.id, imported.c.notes),
    "a text column of a table() of that name": lambda: notes(
        *table("kept", column("id", Integer), column("notes", String)).c
    ),
    "the column of another row": lambda: into(
        NOTES, select(kept.c.id, pairs.c.notes).join_from(kept, pairs, kept.c.id != pairs.c.id)
    ),
    "another row's key": lambda: notes(kept.c.id + 1, kept.c.notes),
    "a key of the copy's own": lambda: notes(literal(9), kept.c.notes),
    "no key": lambda: into(["notes"], select(kept.c.notes)),
    "the columns in another order": lambda: into(["notes", "id"], select(kept.c.id, kept.c.notes)),
    "fewer columns than are filled": lambda: into(NOTES, select(kept.c.id)),
    "a join": lambda: into(
        NOTES, select(kept.c.id, kept.c.notes).join_from(kept, pairs, kept.c.id != pairs.c.id)
    ),
    "a subquery that computes": lambda: notes(
        *select(kept.c.id, literal(CANARY).label("notes")).subquery().c
    ),
    "a scalar subquery": lambda: notes(kept.c.id, select(pairs.c.notes).limit(1).scalar_subquery()),
    "a CTE that computes": lambda: notes(
        *select(kept.c.id, literal(CANARY).label("notes")).cte("made").c
    ),
    "a UNION": lambda: into(
        NOTES, union_all(select(kept.c.id, kept.c.notes), select(kept.c.id + 9, kept.c.notes))
    ),
    "a UNION in a suffix": lambda: into(
        NOTES, select(kept.c.id, kept.c.notes).suffix_with(f"UNION ALL SELECT 9, '{CANARY}'")
    ),
    "a UNION in a condition": lambda: into(
        NOTES, select(kept.c.id, kept.c.notes).where(text(f"1=1 UNION ALL SELECT 9, '{CANARY}'"))
    ),
    "text() as a whole": lambda: into(NOTES, text("SELECT id, notes FROM kept").columns()),
    "rows that are grouped": lambda: into(
        NOTES, select(kept.c.id, kept.c.notes).group_by(kept.c.id, kept.c.notes)
    ),
    "an index of a value of another column": lambda: into(
        EVERY,
        select(*(kept.c["mail_casefold_bidx" if key == "ssn_bidx" else key] for key in EVERY)),
    ),
    "an index that is made up": lambda: into(
        EVERY, select(*(literal(b"x") if key == "ssn_bidx" else kept.c[key] for key in EVERY))
    ),
}


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())
def test_a_copy_of_something_else_than_whole_rows_is_refused(
    emptied: Any, make: Callable[[], Any]
) -> None:
    with emptied.begin() as connection, pytest.raises(CiphertextCopyError) as caught:
        connection.execute(make(), execution_options=RAW)
    assert caught.value.table == "patient"
    assert CANARY not in str(caught.value)
    assert stored(emptied, patient, "notes") == {}


def test_a_value_is_copied_by_no_union(emptied: Any) -> None:
    rows = union_all(select(kept.c.id, kept.c.notes), select(literal(9), literal(CANARY)))
    with emptied.begin() as connection, pytest.raises(UnsupportedOperationError) as caught:
        connection.execute(into(NOTES, rows), execution_options=RAW)
    assert CANARY not in str(caught.value)
    assert stored(emptied, patient, "notes") == {}


WRITES: dict[str, Callable[[], Any]] = {
    "an INSERT of a cast": lambda: insert(patient).values(id=9, notes=cast(CANARY, String(99))),
    "an INSERT of a function": lambda: insert(patient).values(id=9, notes=func.lower(CANARY)),
    "an INSERT of text()": lambda: insert(patient).values(id=9, notes=text(f"'{CANARY}'")),
    "an UPDATE by text()": lambda: update(patient).values(notes=text(f"'{CANARY}'")),
    "an UPDATE by another column": lambda: update(patient).values(notes=patient.c.name),
    "an UPDATE by a value's own column": lambda: update(patient).values(notes=patient.c.notes),
    "an UPDATE by a subquery": lambda: update(patient).values(
        notes=select(kept.c.notes).where(kept.c.id == patient.c.id).scalar_subquery()
    ),
}


@pytest.mark.parametrize("make", WRITES.values(), ids=WRITES.keys())
def test_no_other_statement_copies(patients: Any, make: Callable[[], Any]) -> None:
    before = stored(patients, patient, "notes")
    with patients.begin() as connection, pytest.raises(CiphertextCopyError):
        connection.execute(make(), execution_options=RAW)
    assert stored(patients, patient, "notes") == before


WHOLE: dict[str, Callable[[], Any]] = {
    "of a table": lambda: select(*(kept.c[key] for key in EVERY)),
    "of an alias": lambda: select(*(pairs.c[key] for key in EVERY)),
    "of some rows": lambda: (
        select(*(kept.c[key] for key in EVERY)).where(kept.c.id > 0).order_by(kept.c.id)
    ),
    "of a table that was reflected": lambda: select(
        *table("kept", *(column(c.name, _stored(c)) for c in patient.c)).c
    ),
    "of each row once": lambda: select(*(kept.c[key] for key in EVERY)).distinct(),
}


def _stored(of: Any) -> Any:
    return LargeBinary() if of.type.__class__.__module__.startswith("encfields") else of.type


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE.keys())
def test_whole_rows_are_copied(emptied: Any, make: Callable[[], Any]) -> None:
    with emptied.begin() as connection:
        connection.execute(into(EVERY, make()), execution_options=RAW)
    assert len(check_indexes(emptied, patient, *PATIENT)) == 3


def test_whole_rows_are_copied_from_an_entity(patients: Any) -> None:
    other = aliased(Patient)
    keys = ["id", "notes"]
    source = select(other.id, other.notes).where(other.id < 0)
    with patients.begin() as connection:
        connection.execute(into(keys, source), execution_options=RAW)
