"""What PostgreSQL makes of a batch's statement: never work that grows with the batch's square."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, delete, event, text

from encfields.bulk.connections import Connections
from tests.bulk.support import Clinic, Patient
from tests.bulk.test_tables import ROWS, fill, spec_of

MODELS = [model for model in ROWS if model.__name__ in ("ByUuid", "ByPair", "ByText")]


@pytest.fixture
def plans(postgresql, monkeypatch):
    """Plans of the statements that runs write batches with, as they were executed."""
    found: list[str] = []

    def note(diagnostic):
        message = diagnostic.message_primary
        if "plan:" in message and "WITH l AS MATERIALIZED" in message:
            found.append(message.partition("Update on")[2])

    def explain(driver_connection, record):
        with driver_connection.cursor() as cursor:
            cursor.execute("LOAD 'auto_explain'")
            cursor.execute("SET auto_explain.log_min_duration = 0")
            cursor.execute("SET client_min_messages = log")
        driver_connection.commit()
        driver_connection.add_notice_handler(note)

    own = Connections._own

    def engine(application):
        made = own(application)
        event.listen(made, "connect", explain)
        return made

    monkeypatch.setattr(Connections, "_own", staticmethod(engine))
    return found


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "not-analyzed"])
def test_no_batch_compares_each_of_its_rows_with_each(postgresql, plans, model, analyzed):
    """Nor after many batches, when PostgreSQL thinks of a plan for all of them."""
    clinic = Clinic(postgresql, None)
    fill(clinic, model, rows=800)
    if analyzed:
        with clinic.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
    clinic.rotate()
    assert clinic.run(spec_of(model), batch_rows=50, range_rows=800).run().finished
    assert len(plans) >= 16
    for plan in plans:
        assert "Index" in plan
        assert "Nested Loop" not in plan
        assert "Seq Scan" not in plan
        assert "$" not in plan  # of a plan for any values


def test_keys_without_a_gap_are_locked_as_one_range(postgresql):
    """It reads a fortieth of the pages that looking for each key reads."""
    clinic = Clinic(postgresql)
    clinic.fill(60)
    with clinic.engine.begin() as connection:
        connection.execute(delete(Patient).where(Patient.id == 30))
    version = clinic.rotate()
    looked_for: list[bool] = []

    def note(connection, cursor, statement, *_):
        if "WITH l AS MATERIALIZED" in statement:
            looked_for.append("= ANY(" in statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert clinic.run(batch_rows=20, range_rows=60).run().finished
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert looked_for == [False, True, False]
    assert {held for _, held in clinic.versions()} == {version}
