"""An application that sets up its sessions has a run work on the tables that it means itself."""

from __future__ import annotations

import secrets

import pytest
from sqlalchemy import create_engine, event, insert, text

from encfields.bulk import ProgressState, Reencryption
from encfields.bulk.survey.census import census
from encfields.bulk.survey.verify import verify
from encfields.doctor.database import check_columns
from encfields.errors import ConfigurationError
from tests.attached import attach_with_kept_keys
from tests.bulk.support import PATIENT, WRAPPING_KEY, Base, Clinic, Patient


def set_in_transaction(connection):
    connection.exec_driver_sql("SET LOCAL search_path = ward, public")


def set_in_session(connection):
    connection.exec_driver_sql("SET search_path = ward, public")
    connection.commit()


@pytest.mark.parametrize(
    "name, chooses", [("begin", set_in_transaction), ("engine_connect", set_in_session)]
)
def test_a_schema_chosen_in_an_event_of_the_engine(postgresql, name, chooses):
    clinic = Clinic(postgresql)
    clinic.fill(3)
    elsewhere = clinic.stored()
    with clinic.engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA ward"))
        connection.execute(text("SET LOCAL search_path = ward"))
        Base.metadata.create_all(connection, checkfirst=False)
    event.listen(clinic.engine, name, chooses)
    clinic.fill(130, first=1000)
    former = clinic.versions()
    version = clinic.rotate()
    assert clinic.run().run().finished
    assert clinic.versions() == {("default", version): sum(former.values())}
    (counted,) = clinic.encryption.keys.count_values("default", [PATIENT])[:1]
    assert counted.values == 130
    event.remove(clinic.engine, name, chooses)
    clinic.engine.dispose()
    assert clinic.stored() == elsewhere


def test_dates_that_the_session_writes_in_another_order(postgresql):
    """psycopg reads no moment in them, and a run's own rows have some."""
    clinic = Clinic(postgresql)
    clinic.fill(3)
    version = clinic.rotate()
    ours = create_engine(clinic.engine.url, connect_args={"options": "-c datestyle=SQL,DMY"})
    assert Reencryption(ours, clinic.encryption, PATIENT).run().finished
    ours.dispose()
    assert {held for _, held in clinic.versions()} == {version}


def test_a_schema_that_the_engine_translates_to(postgresql):
    """Run, census and doctor; no table of that name is where the table is declared to be."""
    clinic = Clinic(postgresql)
    Base.metadata.drop_all(clinic.engine)
    clinic.encryption.detach()
    with clinic.engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA ward"))
    clinic.engine.update_execution_options(schema_translate_map={None: "ward"})
    clinic.encryption = attach_with_kept_keys(clinic.engine, WRAPPING_KEY)
    Base.metadata.create_all(clinic.engine)
    clinic.fill(3)
    version = clinic.rotate()
    assert {finding.verdict for finding in check_columns(clinic.engine, [PATIENT])} == {"ok"}
    assert clinic.run().run().finished
    assert {held for _, held in clinic.versions()} == {version}
    assert census(clinic.engine, PATIENT).is_current({"default": version})


def test_rows_that_a_policy_hides_do_not_count_as_missing(postgresql):
    """Neither by a run nor by what is counted before a key goes."""
    clinic = Clinic(postgresql)
    clinic.fill(4)
    version = clinic.rotate()
    role = f"r_{secrets.token_hex(4)}"
    with clinic.engine.begin() as connection:
        for statement in (
            f"CREATE ROLE {role} LOGIN",
            f"GRANT ALL ON SCHEMA public TO {role}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
            f"CREATE POLICY own ON patient TO {role} USING (id = 2)",
        ):
            connection.execute(text(statement))
    theirs = create_engine(postgresql.url.set(username=role))
    try:
        encryption = attach_with_kept_keys(theirs, WRAPPING_KEY)
        run = Reencryption(theirs, encryption, PATIENT)

        def hide_rows(state: ProgressState) -> None:
            with clinic.engine.begin() as connection:
                connection.execute(text("ALTER TABLE patient ENABLE ROW LEVEL SECURITY"))

        with pytest.raises(ConfigurationError, match="row level security hides"):
            run.run(progress=hide_rows)  # A run that has begun does not end without them either.
        version = clinic.rotate()
        for work in (
            run.run,
            run.dry_run,
            lambda: census(theirs, PATIENT),
            lambda: verify(theirs, encryption, PATIENT),
            lambda: encryption.keys.count_values("default", [PATIENT]),
        ):
            with pytest.raises(ConfigurationError, match="row level security hides") as caught:
                work()
            assert caught.value.reason == "row-security"
        assert clinic.run().run().finished  # The owner, from whom nothing is hidden.
        assert {held for _, held in clinic.versions()} == {version}
    finally:
        theirs.dispose()
        with clinic.engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


def test_transactions_that_an_application_begins_itself_on_sqlite(sqlite):
    """SQLAlchemy's recipe, by which the driver begins none: a batch is one all the same."""
    clinic = Clinic(sqlite)
    clinic.fill(130)
    version = clinic.rotate()
    began = []
    event.listen(
        clinic.engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None)
    )
    event.listen(clinic.engine, "begin", lambda c: began.append(c.exec_driver_sql("BEGIN")))
    clinic.engine.dispose()
    assert clinic.run().run().finished
    assert began
    assert {held for _, held in clinic.versions()} == {version}
    with clinic.engine.begin() as connection:
        connection.execute(insert(Patient), {"id": 1000, "ssn": "ssn", "notes": None, "seen": 0})
        connection.rollback()
    assert (1000,) not in clinic.values()
