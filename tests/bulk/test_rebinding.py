"""Values that are bound under other names than wanted are opened as they are bound now."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, select, text
from sqlalchemy.orm import Session

from encfields import EncryptedType
from encfields.bulk import UnfinishedError
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.errors import DeclarationError
from encfields.testing import attach_locally
from tests.bulk.support import PATIENT, ROWS, VALUES, Clinic, Patient
from tests.bulk.test_tables import ByPair, fill
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


OLD = TableSpec.of(
    "person",
    [SealedColumn("ssn", "patient.ssn"), SealedColumn("remarks", "patient.notes")],
)
NEW = TableSpec.of("person", ["ssn", "remarks"])


@pytest.fixture
def renamed(clinic) -> Clinic:
    """Table and column renamed: every value is bound to what they were called before."""
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient RENAME TO person"))
        connection.execute(text("ALTER TABLE person RENAME COLUMN notes TO remarks"))
    return clinic


def as_declared_now() -> Table:
    return Table(
        "person",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String)),
        Column("remarks", EncryptedType(String)),
    )


def rows_of(clinic: Clinic, table: Table) -> list[tuple]:
    with clinic.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(table).order_by(table.c.id))]


@on_each_database
def test_after_a_rename_a_run_binds_values_to_the_new_names(clinic):
    before = [row[:3] for row in sorted(clinic.values().values())]
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient RENAME TO person"))
        connection.execute(text("ALTER TABLE person RENAME COLUMN notes TO remarks"))
    report = clinic.run(NEW, source=OLD).run()
    assert report.finished
    assert report.rows_written == ROWS
    assert rows_of(clinic, as_declared_now()) == before


def test_values_bound_as_wanted_already_are_left_alone(renamed):
    renamed.run(NEW, source=OLD).run()
    report = renamed.run(NEW, source=OLD).run()
    assert (report.rows_current, report.rows_written) == (ROWS, 0)


def test_without_its_source_a_renamed_tables_values_are_quarantined(renamed):
    report = renamed.run(NEW).run()
    assert not report.finished
    assert len(report.quarantined) == VALUES
    assert {one.reason for one in report.quarantined} == {"context"}
    assert renamed.run(OLD).ensure().current == VALUES


def test_a_run_can_bind_to_other_columns_and_another_key(clinic):
    clinic.encryption.keys.create("clinical")
    wanted = TableSpec.of("patient", [SealedColumn("ssn", key="clinical", bind_to=("id", "seen"))])
    source = TableSpec.of("patient", ["ssn"])
    before = sorted((row[0], row[1], row[3]) for row in clinic.values().values())
    assert clinic.run(wanted, source=source).run().finished
    table = Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String, key="clinical", bind_to=("id", "seen"))),
        Column("seen", Integer),
    )
    assert rows_of(clinic, table) == before


@on_each_database
def test_a_run_can_go_back_to_plaintext(clinic):
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient ADD COLUMN ssn_plain VARCHAR(40)"))
        connection.execute(text("ALTER TABLE patient ADD COLUMN notes_plain VARCHAR(40)"))
    run = clinic.run(to_plaintext={"ssn": "ssn_plain", "notes": "notes_plain"})
    assert run.dry_run().values_to_rewrite == VALUES
    report = run.run()
    assert report.finished
    with clinic.engine.connect() as connection:
        rows = connection.execute(text("SELECT id, ssn_plain, notes_plain FROM patient")).all()
    assert sorted(map(tuple, rows)) == sorted(row[:3] for row in clinic.values().values())
    assert run.ensure().current == VALUES


def test_a_plaintext_that_is_out_of_date_is_written_anew(clinic):
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient ADD COLUMN ssn_plain VARCHAR(40)"))
        connection.execute(text("UPDATE patient SET ssn_plain = 'stale' WHERE id = 4"))
    report = clinic.run(TableSpec.of("patient", ["ssn"]), to_plaintext={"ssn": "ssn_plain"}).run()
    assert report.rows_written == ROWS
    with clinic.engine.connect() as connection:
        found = connection.execute(text("SELECT ssn_plain FROM patient WHERE id = 4")).scalar_one()
    assert found == "ssn 4"


def test_a_run_to_plaintext_is_done_only_where_the_plaintext_is_the_value(clinic):
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient ADD COLUMN ssn_plain VARCHAR(40)"))
    run = clinic.run(TableSpec.of("patient", ["ssn"]), to_plaintext={"ssn": "ssn_plain"})
    assert run.run().finished
    with Session(clinic.engine) as session:
        patient = session.get(Patient, 4)
        assert patient is not None
        patient.ssn = "another"
        session.commit()
    with pytest.raises(UnfinishedError, match="1 values are not in the plaintext"):
        run.ensure()
    assert run.run().rows_written == 1
    assert run.ensure().current == ROWS


def test_a_plaintext_that_its_column_does_not_keep_is_named_and_not_there(clinic):
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient ADD COLUMN ssn_plain CHAR(20)"))
        if clinic.backend.family == "sqlite":  # whose columns keep whatever they are given
            connection.execute(
                text(
                    "CREATE TRIGGER cuts AFTER UPDATE ON patient BEGIN UPDATE patient"
                    " SET ssn_plain = substr(ssn_plain, 1, 3) WHERE id = NEW.id; END"
                )
            )
    with Session(clinic.engine) as session:
        patient = session.get(Patient, 4)
        assert patient is not None
        patient.ssn = "blanks end it  "
        session.commit()
    run = clinic.run(TableSpec.of("patient", ["ssn"]), to_plaintext={"ssn": "ssn_plain"})
    refused = {one.key["id"]: one.reason for one in run.run().quarantined}
    assert refused["4"] == "altered"
    with pytest.raises(UnfinishedError):
        run.ensure()
    with clinic.engine.connect() as connection:
        found = connection.execute(text("SELECT ssn_plain FROM patient WHERE id = 4")).scalar_one()
    assert found is None


@pytest.mark.parametrize(
    "options,message",
    [
        ({"source": OLD}, "the source describes remarks, ssn, and the spec notes, ssn"),
        (
            {"to_plaintext": {"ssn": "x"}},
            "names a plaintext column for ssn: name one for each of notes, ssn",
        ),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(sqlite, options, message):
    engine = sqlite.create_engine()
    with pytest.raises(DeclarationError, match=message):
        Reencryption(engine, attach_locally(engine), PATIENT, **options)


def test_a_renamed_identity_column_is_recognised_by_its_former_name(clinic):
    before = [row[:3] for row in sorted(clinic.values().values())]
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient RENAME COLUMN id TO number"))
    wanted = TableSpec.of("patient", ["ssn", "notes"])
    was = TableSpec.of(
        "patient",
        [SealedColumn(name, context_names=("id",)) for name in ("ssn", "notes")],
    )
    assert TableSpec.from_json(was.to_json()) == was
    assert clinic.run(was).ensure().current == VALUES
    assert clinic.run(wanted, source=was).run().finished
    declared = Table(
        "patient",
        MetaData(),
        Column("number", Integer, primary_key=True),
        Column("ssn", EncryptedType(String)),
        Column("notes", EncryptedType(String)),
    )
    with clinic.engine.connect() as connection:
        rows = connection.execute(select(declared).order_by(declared.c.number))
        assert [tuple(row) for row in rows] == before


def test_a_renamed_part_of_a_composite_key_is_recognised_with_the_others(backend):
    clinic = Clinic(backend, None)
    fill(clinic, ByPair, rows=60)
    before = {key: row[-1] for key, row in clinic.values(ByPair).items()}
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE by_pair RENAME COLUMN bed TO place"))
    was = TableSpec.of("by_pair", [SealedColumn("secret", context_names=("ward", "bed"))])
    assert clinic.run(TableSpec.of("by_pair", ["secret"]), source=was).run().finished
    declared = Table(
        "by_pair",
        MetaData(),
        Column("ward", String(10), primary_key=True),
        Column("place", Integer, primary_key=True, autoincrement=False),
        Column("secret", EncryptedType(String)),
    )
    with clinic.engine.connect() as connection:
        found = {(row.ward, row.place): row.secret for row in connection.execute(select(declared))}
    assert found == before


def test_context_names_that_do_not_fit_the_identity_are_refused(clinic):
    spec = TableSpec.of("patient", [SealedColumn("ssn", context_names=("id", "seen"))])
    with pytest.raises(DeclarationError, match="2 names for 1 columns"):
        clinic.run(spec).run()
