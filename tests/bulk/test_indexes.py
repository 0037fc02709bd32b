"""A run fills blind indexes in the statement that writes the values, and never a wrong one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import String, insert, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.bulk.connections import Connections
from encfields.bulk.errors import UnfinishedError
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.runs.worker import row_work_of
from encfields.bulk.writers import writer_for
from encfields.errors import DeclarationError
from encfields.index.transforms import casefold, last
from tests.bulk.support import Clinic
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Patient(Base):
    """Two indexes of one column, one over two columns."""

    __tablename__ = "patient"
    __table_args__ = (CompoundBlindIndex("who", ("mail", casefold), "ssn"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ssn: Mapped[str | None] = mapped_column(
        EncryptedType(String, index=[BlindIndex(), BlindIndex(last(4), bits=16)])
    )
    mail: Mapped[str | None] = mapped_column(EncryptedType(String))


class Member(Base):
    """A unique index."""

    __tablename__ = "member"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    iban: Mapped[str | None] = mapped_column(EncryptedType(String, index=BlindIndex(unique=True)))


INDEXES = ["ssn_bidx", "ssn_last4_bidx", "who_bidx"]
PATIENT = TableSpec.from_table(Patient.__table__)  # type: ignore[arg-type]
MEMBER = TableSpec.from_table(Member.__table__)  # type: ignore[arg-type]
ROWS = 60


@pytest.fixture
def clinic(backend) -> Clinic:
    clinic = Clinic(backend, Base)
    with Session(clinic.engine) as session:
        session.add_all(
            [
                Patient(
                    id=i,
                    ssn=None if i % 10 == 3 else f"123-45-{i:04}",
                    mail=None if i % 7 == 3 else f"Ada{i}@example.org",
                )
                for i in range(1, ROWS + 1)
            ]
        )
        session.commit()
    return clinic


def change(clinic: Clinic, sql: str) -> None:
    """Change rows past the library."""
    with clinic.engine.begin() as connection:
        connection.execute(text(sql))


def stored(clinic: Clinic, columns: list[str], table: str = "patient") -> dict[int, Any]:
    """What the database holds in some columns, by key."""
    with clinic.engine.connect() as connection:
        rows = connection.execute(text(f"SELECT id, {', '.join(columns)} FROM {table}")).all()
    return {row[0]: tuple(v if v is None else bytes(v) for v in row[1:]) for row in rows}


def forget(clinic: Clinic, where: str = "1 = 1") -> dict[int, Any]:
    """Remove indexes, and tell what they were."""
    before = stored(clinic, INDEXES)
    change(clinic, f"UPDATE patient SET {', '.join(f'{i} = NULL' for i in INDEXES)} WHERE {where}")
    return before


def test_a_declared_table_is_described_with_its_indexes():
    assert [index.name for index in PATIENT.indexes] == INDEXES
    assert [index.columns for index in PATIENT.indexes] == [("ssn",), ("ssn",), ("mail", "ssn")]
    assert TableSpec.from_json(PATIENT.to_json()) == PATIENT


def test_indexes_that_are_missing_are_filled_and_found(clinic):
    indexes = forget(clinic)
    values = stored(clinic, ["ssn", "mail"])
    report = clinic.run(PATIENT).run()
    assert report.finished
    assert stored(clinic, INDEXES) == indexes
    # Values that are current stay as they are, byte for byte.
    assert stored(clinic, ["ssn", "mail"]) == values
    with Session(clinic.engine) as session:
        found = session.scalars(select(Patient).where(Patient.ssn == "123-45-0017")).one()
        assert found.id == 17


def test_one_pass_moves_values_and_fills_indexes(clinic):
    plaintexts = clinic.values(Patient)
    indexes = forget(clinic, "id % 2 = 0")
    version = clinic.rotate()
    report = clinic.run(PATIENT, batch_rows=7).run()
    assert report.finished
    assert report.rows_written == sum(
        any(v is not None for v in row[1:]) for row in plaintexts.values()
    )
    assert stored(clinic, INDEXES) == indexes
    assert clinic.values(Patient) == plaintexts
    assert {key for key, _ in clinic.versions(Patient)} == {"default"}
    assert {found for _, found in clinic.versions(Patient)} == {version}


def test_an_index_that_is_there_is_not_computed_again(clinic):
    change(clinic, "UPDATE patient SET ssn_bidx = who_bidx WHERE id = 1")
    wrong = stored(clinic, INDEXES)
    clinic.rotate()
    assert clinic.run(PATIENT).run().finished
    assert stored(clinic, INDEXES) == wrong


def test_every_index_is_computed_again_where_the_run_says_so(clinic):
    indexes = stored(clinic, INDEXES)
    change(clinic, "UPDATE patient SET ssn_bidx = ssn_last4_bidx WHERE id % 3 = 0")
    change(clinic, "UPDATE patient SET who_bidx = ssn_bidx WHERE id % 4 = 0")
    change(clinic, "UPDATE patient SET ssn_bidx = who_bidx WHERE ssn IS NULL")
    wrong = {i for i, row in stored(clinic, INDEXES).items() if row != indexes[i]}
    anew = TableSpec(PATIENT.table, PATIENT.columns, None, PATIENT.indexes, reindex=True)
    report = clinic.run(anew).run()
    assert report.finished
    assert report.rows_written == len(wrong) > 20
    assert stored(clinic, INDEXES) == indexes


def test_a_value_that_moves_to_another_name_takes_its_indexes_along(clinic):
    """The key of an index is derived under the column's logical name."""
    renamed = TableSpec.of("patient", [SealedColumn("ssn", "person.number"), "mail"])
    indexes = tuple(replace(one, domain="person.number") for one in PATIENT.indexes)
    target = TableSpec("patient", renamed.columns, None, indexes)
    before = stored(clinic, INDEXES)
    assert clinic.run(target, source=TableSpec.of("patient", ["ssn", "mail"])).run().finished
    moved = stored(clinic, INDEXES)
    for i, row in before.items():
        assert [a is None for a in row] == [a is None for a in moved[i]]
        assert all(a is None or a != b for a, b in zip(row, moved[i], strict=True))
    # And back: the same indexes as at first.
    assert clinic.run(PATIENT, source=target_without(target)).run().finished
    assert stored(clinic, INDEXES) == before


def target_without(spec: TableSpec) -> TableSpec:
    return TableSpec(spec.table, spec.columns)


def test_a_value_that_moves_to_another_key_takes_its_indexes_along(clinic):
    clinic.encryption.keys.create("clinical")
    before = stored(clinic, INDEXES)
    columns = (SealedColumn("ssn", key="clinical"), SealedColumn("mail", key="clinical"))
    target = TableSpec("patient", columns, None, PATIENT.indexes)
    assert clinic.run(target, source=TableSpec.of("patient", ["ssn", "mail"])).run().finished
    moved = stored(clinic, INDEXES)
    for i, row in before.items():
        assert all(a is None or a != b for a, b in zip(row, moved[i], strict=True))


class Halves:
    """The two halves of a batch: between them, the application writes."""

    def __init__(self, clinic: Clinic, spec: TableSpec) -> None:
        self.own = Connections(clinic.engine)
        prepared = PreparedJob(Job(spec), self.own.reading())
        reader = BatchReader(prepared)
        rows = reader.read(self.own.reading(), Bounds(None, None), 100)
        outcome = row_work_of(prepared, clinic.encryption).outcome_of(rows, reader)
        self.changes = outcome.changes
        self._writer = writer_for(prepared)

    def write(self) -> int:
        with self.own.writing().begin() as begun:
            written = self._writer.write(begun.connection, self.changes)
        self.own.close()
        return written


@on_each_database
def test_an_index_that_the_application_writes_meanwhile_stands(clinic):
    forget(clinic)
    halves = Halves(clinic, PATIENT)
    with Session(clinic.engine) as session:
        session.get_one(Patient, 1).ssn = "999-99-9999"
        session.get_one(Patient, 3).ssn = "888-88-8888"  # it was NULL
        session.get_one(Patient, 18).mail = None
        session.commit()
    written = stored(clinic, INDEXES)
    assert halves.write() == len(halves.changes) - 2
    after = stored(clinic, INDEXES)
    assert (after[1], after[18]) == (written[1], written[18])
    assert clinic.run(PATIENT).run().finished
    with Session(clinic.engine) as session:
        for ssn, key in (("999-99-9999", 1), ("888-88-8888", 3), ("123-45-0018", 18)):
            assert session.scalars(select(Patient.id).where(Patient.ssn == ssn)).all() == [key]


@on_each_database
def test_a_null_that_an_index_was_computed_from_must_still_be_one(clinic):
    """Row 3 has neither value: with both computed anew, both are compared, as NULL."""
    change(clinic, "UPDATE patient SET ssn_bidx = who_bidx WHERE id = 4")
    change(
        clinic,
        "UPDATE patient SET ssn_bidx = (SELECT o.ssn_bidx FROM (SELECT ssn_bidx FROM "
        "patient WHERE id = 5) o) WHERE id IN (3, 13)",
    )
    anew = TableSpec(PATIENT.table, PATIENT.columns, None, PATIENT.indexes, reindex=True)
    halves = Halves(clinic, anew)
    assert {change.key for change in halves.changes} == {(3,), (4,), (13,)}
    with Session(clinic.engine) as session:
        session.get_one(Patient, 3).ssn = "888-88-8888"
        session.get_one(Patient, 4).mail = "other@example.org"
        session.commit()
    written = stored(clinic, INDEXES)
    assert halves.write() == 1
    after = stored(clinic, INDEXES)
    assert (after[3], after[4]) == (written[3], written[4])
    assert after[13] == (None, None, None)


def test_a_value_that_does_not_open_keeps_its_index_and_is_quarantined(clinic):
    indexes = stored(clinic, INDEXES)
    change(clinic, "UPDATE patient SET mail = ssn WHERE id = 1")
    change(clinic, "UPDATE patient SET ssn_bidx = NULL WHERE id <= 5")
    report = clinic.run(PATIENT).run()
    assert not report.finished
    assert [(one.column, one.key) for one in report.quarantined] == [("mail", {"id": "1"})]
    after = stored(clinic, INDEXES)
    assert after[1] == (None, *indexes[1][1:])
    assert {i: row for i, row in after.items() if i != 1} == {
        i: row for i, row in indexes.items() if i != 1
    }


def members_without_an_index(clinic):
    """Forty members whose unique index is to be filled; what it was before, by id."""
    with Session(clinic.engine) as session:
        session.add_all([Member(id=i, iban=f"DE{i}") for i in range(1, 41)])
        session.commit()
    before = stored(clinic, ["iban_bidx"], "member")
    change(clinic, "UPDATE member SET iban_bidx = NULL")
    return before


@on_each_database
def test_what_a_unique_index_refuses_is_quarantined_and_all_else_is_done(clinic):
    before = members_without_an_index(clinic)
    # Two rows get the value of another one, which the index would have refused.
    with clinic.engine.begin() as connection:
        for key in (7, 33):
            connection.execute(insert(Member).values(id=100 + key, iban=f"DE{key}"))
            connection.execute(text(f"UPDATE member SET iban_bidx = NULL WHERE id = {100 + key}"))
    report = clinic.run(MEMBER, batch_rows=16).run()
    assert not report.finished
    told = {(one.column, one.key["id"], one.reason) for one in report.quarantined}
    assert told == {("iban_bidx", "107", "not-unique"), ("iban_bidx", "133", "not-unique")}
    assert all("DE" not in one.message for one in report.quarantined)
    after = stored(clinic, ["iban_bidx"], "member")
    assert {i: row for i, row in after.items() if i <= 40} == before
    assert after[107] == after[133] == (None,)
    # When one of the two is changed, a run puts it right.
    with Session(clinic.engine) as session:
        session.execute(update(Member).where(Member.id == 107).values(iban="FR1"))
        session.get_one(Member, 33).iban = "FR2"
        session.commit()
    assert clinic.run(MEMBER).run().finished
    assert None not in {row[0] for row in stored(clinic, ["iban_bidx"], "member").values()}


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)
def test_the_application_is_no_deadlock_victim_of_a_duplicate_that_it_has_not_committed(clinic):
    """The run would wait for the duplicate's fate, and the application for the run's rows."""
    before = members_without_an_index(clinic)
    engine, _ = clinic.setup()
    with ThreadPoolExecutor(1) as pool, Session(engine) as session:
        session.add(Member(id=200, iban="DE30"))
        session.flush()
        run = pool.submit(clinic.run(MEMBER).run)
        time.sleep(1.0)  # by now it has come to row 30, whose index the new row holds
        for key in (1, 20, 40):
            session.execute(update(Member).where(Member.id == key).values(iban=f"FR{key}"))
        assert not run.done()
        session.rollback()
        assert run.result(timeout=240).finished
    engine.dispose()
    assert stored(clinic, ["iban_bidx"], "member") == before


def test_ensure_refuses_while_an_index_is_missing(clinic):
    run = clinic.run(PATIENT)
    run.ensure()
    forget(clinic, "id = 8")
    assert run.dry_run().rows_to_rewrite == 1
    with pytest.raises(UnfinishedError, match="1 of 60 rows"):
        run.ensure()
    assert run.run().finished
    run.ensure()


def test_rows_that_lose_their_index_during_the_run_are_found_by_a_sweep(clinic, monkeypatch):
    monkeypatch.setattr("encfields.bulk.runs.progress.REPORT_SECONDS", 0.0)
    clinic.rotate()
    done: list[int] = []

    def work(state: Any) -> None:
        if not done and state.rows_done > 20:
            done.append(1)
            forget(clinic, "id <= 10")

    indexes = stored(clinic, INDEXES)
    report = clinic.run(PATIENT, batch_rows=10).run(progress=work)
    assert report.finished
    assert stored(clinic, INDEXES) == indexes


@pytest.mark.parametrize(
    "name, columns",
    [("ssn_bidx", ("notes",)), ("ssn_bidx", ()), ("ssn", ("ssn",))],
    ids=["of-a-column-not-named", "of-no-column", "itself"],
)
def test_a_description_that_makes_no_sense_is_refused(clinic, name, columns):
    index = replace(PATIENT.indexes[0], name=name, columns=columns)
    spec = TableSpec("patient", (SealedColumn("ssn"),), None, (index,))
    with pytest.raises(DeclarationError):
        clinic.run(spec)


def test_a_column_that_is_not_there_is_refused(clinic):
    gone = replace(PATIENT.indexes[0], name="ssn_gone_bidx")
    spec = TableSpec("patient", (SealedColumn("ssn"),), None, (gone,))
    with pytest.raises(DeclarationError, match="ssn_gone_bidx"):
        clinic.run(spec).run()
