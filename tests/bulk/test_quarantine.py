"""A value that does not open is left as it is, told by its row's key, and never passed over."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, text

from encfields import EncryptedType
from encfields.bulk.errors import TooManyQuarantinedError, UnfinishedError
from encfields.bulk.recorded_runs import report_of
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.testing import assert_absent
from tests.bulk.support import ROWS, Clinic
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


CANARY = "canary 7c1d-90f2"


def store(clinic: Clinic, column: str, row: int, data: bytes) -> None:
    """Put bytes into a column as raw SQL would."""
    with clinic.engine.begin() as connection:
        connection.execute(
            text(f"UPDATE patient SET {column} = :data WHERE id = :row").bindparams(
                bindparam("data", data), bindparam("row", row)
            )
        )


def stored(clinic: Clinic, column: str, row: int) -> bytes:
    with clinic.engine.connect() as connection:
        statement = text(f"SELECT {column} FROM patient WHERE id = :row")
        return bytes(connection.execute(statement, {"row": row}).scalar_one())


@pytest.fixture
def spoilt(clinic) -> Clinic:
    """A plaintext, a truncated, an altered, and a swapped value."""
    store(clinic, "ssn", 3, b"a plaintext")
    store(clinic, "ssn", 52, stored(clinic, "ssn", 52)[:-5])
    message = bytearray(stored(clinic, "ssn", 104))
    message[-1] ^= 1
    store(clinic, "ssn", 104, bytes(message))
    store(clinic, "notes", 160, stored(clinic, "notes", 161))
    clinic.rotate()
    return clinic


@on_each_database
def test_values_that_do_not_open_are_told_by_key_and_reason(spoilt):
    report = spoilt.run().run()
    assert {(one.column, one.key["id"], one.reason) for one in report.quarantined} == {
        ("ssn", "3", "not-a-message"),
        ("ssn", "52", "truncated"),
        ("ssn", "104", "body-tag"),
        ("notes", "160", "context"),
    }


def test_a_run_never_reports_success_over_a_value_that_does_not_open(spoilt):
    report = spoilt.run().run()
    assert not report.finished
    assert report.state == "quarantined"
    assert (report.error or "").startswith("4 values were quarantined, and left unchanged; report.")
    again = spoilt.run().run()
    assert not again.finished
    assert len(again.quarantined) == 4


@on_each_database
def test_values_that_do_not_open_are_left_byte_for_byte(spoilt):
    places = [("ssn", 3), ("ssn", 52), ("ssn", 104), ("notes", 160)]
    before = [stored(spoilt, *place) for place in places]
    spoilt.run().run()
    assert [stored(spoilt, *place) for place in places] == before


def test_everything_else_is_rewritten_the_other_column_of_the_row_included(spoilt):
    report = spoilt.run().run()
    # All but row 3, which has no notes.
    assert report.rows_written == ROWS - 1
    assert spoilt.run().dry_run().values_to_rewrite == 2  # 52 and 104: their headers look well


def test_ensure_refuses_over_a_quarantined_value(spoilt):
    spoilt.run().run()
    with pytest.raises(UnfinishedError, match="2 values are not current and 2 are not messages"):
        spoilt.run().ensure()


def test_a_value_that_was_put_right_is_no_longer_reported(clinic):
    good = stored(clinic, "ssn", 3)
    store(clinic, "ssn", 3, b"a plaintext")
    clinic.rotate()
    assert not clinic.run().run().finished
    store(clinic, "ssn", 3, good)
    report = clinic.run().run()
    assert report.finished
    assert report.quarantined == ()


def test_the_quarantine_holds_nothing_of_the_value(clinic, caplog):
    caplog.set_level("DEBUG")
    store(clinic, "ssn", 3, CANARY.encode())
    caplog.clear()
    report = clinic.run().run()
    with clinic.engine.connect() as connection:
        tables = [
            connection.execute(text(f"SELECT * FROM {table}")).all()
            for table in ("encfields_runs", "encfields_ranges", "encfields_quarantine")
        ]
    assert report.quarantined
    assert_absent(CANARY, report, tables, caplog.text)


def test_a_run_that_opens_next_to_nothing_stops_before_it_has_looked_at_all(clinic):
    """Its description is wrong, or its keys are another database's."""
    wrong = TableSpec.of("patient", [SealedColumn("ssn", "person.ssn")])
    before = clinic.stored()
    with pytest.raises(TooManyQuarantinedError, match="logical names"):
        clinic.run(wrong, max_quarantined=24).run()
    assert clinic.stored() == before


@on_each_database
def test_values_under_a_destroyed_key_do_not_stop_the_run_over_the_other_tenants(clinic):
    """Their tenant was deleted on purpose; its rows may stay for as long as anybody likes."""
    invoices = Table(
        "invoice",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("tenant_id", Integer),
        Column("body", EncryptedType(String, key="tenant/{tenant_id}")),
    )
    clinic.encryption.keys.each(["tenant/0", "tenant/1"]).create()
    invoices.create(clinic.engine)
    with clinic.engine.begin() as connection:
        rows = [{"id": n, "tenant_id": n % 2, "body": CANARY} for n in range(1, 61)]
        connection.execute(insert(invoices), rows)
    clinic.rotate("tenant/0")
    clinic.encryption.keys.destroy("tenant/1", confirm="tenant/1", specs=None, at_once=True)

    spec = TableSpec.from_table(invoices)
    report = clinic.run(spec, max_quarantined=5, batch_rows=10).run()

    assert (report.state, report.rows_written) == ("quarantined", 30)
    assert [one.reason for one in report.quarantined] == ["destroyed"] * 30
    assert clinic.run(spec).dry_run().rows_to_rewrite == 0

    with clinic.engine.begin() as connection:
        connection.execute(text("UPDATE invoice SET tenant_id = 5 WHERE tenant_id = 0"))
    with pytest.raises(TooManyQuarantinedError, match="values do not open as described"):
        clinic.run(spec, max_quarantined=5, batch_rows=100).run()


def test_a_failed_run_can_be_begun_anew(clinic):
    wrong = TableSpec.of("patient", [SealedColumn("ssn", "person.ssn")])
    run = clinic.run(wrong, max_quarantined=24)
    run_id = run.record()
    with pytest.raises(TooManyQuarantinedError):
        run.run()
    assert report_of(clinic.engine, run_id).state == "failed"
    clinic.rotate()
    assert clinic.run().run().finished
