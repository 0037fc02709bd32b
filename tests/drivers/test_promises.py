"""What is promised of every driver."""

from __future__ import annotations

import traceback
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    bindparam,
    delete,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from encfields import EncryptedType
from encfields.bulk.error_codes import code_of
from encfields.bulk.reencryption import Options, Reencryption
from encfields.bulk.rows.spec import TableSpec
from encfields.errors import ContextMismatchError, EncFieldsError, MalformedMessageError
from encfields.message import read_header
from encfields.orm.write.pending import Pending
from encfields.testing import assert_absent
from tests.database import raw_select
from tests.drivers.conftest import Leg
from tests.drivers.model import EVERYTHING, KINDS, Note, Patient, Referral

CANARY = "canary-4711"
SCAN = b"\x00\xff\xfe'\\%s" + bytes(range(256))
UPSERTS: dict[str, Any] = {"sqlite": sqlite, "postgresql": postgresql}


def _patients(count: int) -> list[dict[str, Any]]:
    return [{"name": f"p{n}", "ssn": f"{CANARY}-{n}", "scan": SCAN} for n in range(count)]


def _executes(statement: Any, rows: Any) -> Callable[[Connection], Any]:
    return lambda connection: connection.execute(statement, rows)


def _sends(statement: str, rows: Any) -> Callable[[Connection], Any]:
    return lambda connection: connection.exec_driver_sql(statement, rows)


def _stored(driver: Leg, table: Any) -> list[Any]:
    return driver.run(lambda c: list(c.execute(raw_select(table.__table__)).mappings()))


# -- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_comes_back_as_it_was(driver: Leg, kind: str) -> None:
    values = KINDS[kind][1]
    rows = [{"id": n, kind: value} for n, value in enumerate([*values, None])]
    driver.run(lambda c: c.execute(insert(EVERYTHING), rows[0]))
    driver.run(lambda c: c.execute(insert(EVERYTHING), rows[1:]))
    statement = select(EVERYTHING.c[kind]).order_by(EVERYTHING.c.id)
    found = driver.run(lambda c: c.execute(statement).scalars().all())
    assert [(type(value), value) for value in found] == [
        (type(value), value) for value in [*values, None]
    ]


def test_what_text_reads_is_bytes_of_a_message(driver: Leg) -> None:
    driver.run(lambda c: c.execute(insert(Patient), _patients(1)))
    stored = driver.run(lambda c: c.execute(text("SELECT ssn FROM patient")).scalar_one())
    assert isinstance(stored, bytes | memoryview)
    assert read_header(bytes(stored)).key_id == "default"
    assert_absent(CANARY, _stored(driver, Patient))


def test_rows_can_be_streamed(driver: Leg) -> None:
    driver.run(lambda c: c.execute(insert(Patient), _patients(50)))

    def read(connection: Any) -> list[Any]:
        options = {"yield_per": 7}
        statement = select(Patient.name, Patient.ssn, Patient.scan).order_by(Patient.name)
        return list(connection.execute(statement, execution_options=options))

    found = driver.run(read)
    assert sorted(found) == sorted((p["name"], p["ssn"], p["scan"]) for p in _patients(50))


# -- writes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 300])
@pytest.mark.parametrize("way", ["execute", "values", "orm"])
def test_rows_with_keys_of_the_application(driver: Leg, way: str, count: int) -> None:
    rows = _patients(count)
    driver.insert(Patient, rows, way)
    found = driver.run(lambda c: c.execute(select(Patient.name, Patient.ssn, Patient.scan)).all())
    assert sorted(found) == sorted((p["name"], p["ssn"], p["scan"]) for p in rows)


def test_returning(driver: Leg) -> None:
    if not driver.engine.dialect.insert_returning:
        pytest.skip("the database has no RETURNING")
    statement = insert(Patient).returning(Patient.name, Patient.ssn)
    one = driver.run(lambda c: c.execute(statement, {"name": "a", "ssn": "1"}).all())
    many = driver.run(lambda c: c.execute(statement, [{"name": n, "ssn": n} for n in "bcd"]).all())
    assert one == [("a", "1")]
    assert sorted(many) == [("b", "b"), ("c", "c"), ("d", "d")]


def test_upsert(driver: Leg) -> None:
    ids = [uuid.uuid4(), uuid.uuid4()]

    def write(ssn: str, *, with_key: bool = True) -> None:
        rows = [
            {"id": key, "name": str(key)[:8], "ssn": f"{ssn}-{key}", "scan": None} for key in ids
        ]
        statement: Any
        if dialect := UPSERTS.get(driver.server):
            statement = dialect.insert(Patient)
            statement = statement.on_conflict_do_update(
                index_elements=[Patient.id], set_={"ssn": statement.excluded.ssn}
            )
        else:
            statement = mysql.insert(Patient)
            set_ = dict(statement.inserted.items()) if with_key else {"ssn": statement.inserted.ssn}
            statement = statement.on_duplicate_key_update(set_)
        driver.run(lambda c: c.execute(statement, rows))
        found = driver.run(lambda c: dict(c.execute(select(Patient.id, Patient.ssn)).all()))
        assert found == {key: f"{ssn}-{key}" for key in ids}

    write("first")
    write("second")
    if driver.server not in UPSERTS:
        with pytest.raises(EncFieldsError):  # the clause is not told which key was met
            write("third", with_key=False)


def test_update(driver: Leg) -> None:
    driver.run(lambda c: c.execute(insert(Patient), _patients(5)))
    ids = driver.run(lambda c: dict(c.execute(select(Patient.name, Patient.id)).all()))
    one = update(Patient).where(Patient.id == ids["p0"]).values(ssn="new", scan=None)
    nobody = update(Patient).where(Patient.id == uuid.uuid4()).values(ssn="new")
    assert driver.run(lambda c: c.execute(one).rowcount) == 1
    assert driver.run(lambda c: c.execute(nobody).rowcount) == 0
    table: Any = Patient.__table__
    many = update(table).where(table.c.id == bindparam("key")).values(ssn=bindparam("value"))
    rows = [{"key": ids[f"p{n}"], "value": f"new-{n}"} for n in (1, 2, 3)]
    driver.run(lambda c: c.execute(many, rows))

    def change(session: Any) -> None:
        session.scalars(select(Patient).where(Patient.id == ids["p4"])).one().ssn = "by the ORM"

    driver.session(change)
    found = driver.run(lambda c: dict(c.execute(select(Patient.name, Patient.ssn)).all()))
    assert found == {"p0": "new", "p1": "new-1", "p2": "new-2", "p3": "new-3", "p4": "by the ORM"}


# -- look-ups, tenants -------------------------------------------------------------------------


def test_look_ups(driver: Leg) -> None:
    driver.run(lambda c: c.execute(insert(Patient), _patients(5)))

    def names(condition: Any) -> list[str]:
        statement = select(Patient.name).where(condition).order_by(Patient.name)
        return driver.run(lambda c: list(c.execute(statement).scalars()))

    assert names(Patient.ssn == f"{CANARY}-3") == ["p3"]
    assert names(Patient.ssn == f"{CANARY}-9") == []
    assert names(Patient.ssn.in_([f"{CANARY}-1", f"{CANARY}-2", f"{CANARY}-9"])) == ["p1", "p2"]
    assert names(Patient.ssn.is_(None)) == []
    gone = delete(Patient).where(Patient.ssn.in_([f"{CANARY}-0", f"{CANARY}-1"]))
    assert driver.run(lambda c: c.execute(gone).rowcount) == 2


def test_named_binds_while_the_key_of_an_index_is_rotated(driver: Leg) -> None:
    """Both versions' hashes are one parameter, of any bytes, that the database takes apart."""
    if len(driver.encryption.keys.list_beacons("default")) == 1:
        driver.encryption.keys.rotate_beacon("default")
    codes = [f"{CANARY}-{n}" for n in range(24)]
    rows = [{"id": n, "code": code} for n, code in enumerate(codes)]
    driver.run(lambda c: c.execute(insert(Referral), rows))
    listed = select(Referral.id).where(Referral.code.in_(bindparam("q", expanding=True)))
    found = driver.run(lambda c: c.execute(listed, {"q": codes}).scalars().all())
    assert sorted(found) == list(range(24))
    one = select(Referral.id).where(Referral.code == bindparam("q"))
    each = driver.run(lambda c: [c.execute(one, {"q": code}).scalar() for code in codes])
    assert each == list(range(24))
    q: Any = bindparam("q")
    optional = select(Referral.id).where(or_(q.is_(None), Referral.code == q))
    given = (codes[3], None, codes[4])
    several = driver.run(
        lambda c: [sorted(c.execute(optional, {"q": code}).scalars()) for code in given]
    )
    assert several == [[3], list(range(24)), [4]]


def test_tenants(driver: Leg) -> None:
    rows = [{"tenant": t, "number": n, "body": f"{t}{n}"} for n in (1, 2) for t in "abc"]
    driver.run(lambda c: c.execute(insert(Note), rows))
    found = driver.run(lambda c: c.execute(select(Note.tenant, Note.number, Note.body)).all())
    assert sorted(found) == sorted((r["tenant"], r["number"], r["body"]) for r in rows)
    keys = {read_header(bytes(row["body"])).key_id for row in _stored(driver, Note)}
    assert keys == {"tenant/a", "tenant/b", "tenant/c"}


# -- refusals ----------------------------------------------------------------------------------


def test_a_value_of_another_row_does_not_open(driver: Leg) -> None:
    driver.run(lambda c: c.execute(insert(Patient), _patients(2)))
    move = text("UPDATE patient SET ssn = :moved WHERE name = 'p1'")
    moved = text("SELECT ssn FROM patient WHERE name = 'p0'")
    driver.run(lambda c: c.execute(move, {"moved": bytes(c.execute(moved).scalar_one())}))
    with pytest.raises(ContextMismatchError):
        driver.run(lambda c: c.execute(select(Patient.name, Patient.ssn)).all())


OTHER_TYPES = {"INTEGER": "4711", "DATE": "'2026-01-31'", "NUMERIC(9, 2)": "47.11"}


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_a_column_whose_type_holds_no_message_is_named(driver: Leg, kind: str) -> None:
    """As when a model is deployed before the migration that encrypts its column."""
    early = Table(
        "early",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("held", EncryptedType()),
    )

    def read(connection: Connection) -> None:
        connection.execute(text("DROP TABLE IF EXISTS early"))
        connection.execute(text(f"CREATE TEMPORARY TABLE early (id INTEGER, held {kind})"))
        connection.execute(text(f"INSERT INTO early VALUES (1, {OTHER_TYPES[kind]})"))
        connection.execute(select(early.c.held)).all()

    with pytest.raises(MalformedMessageError) as caught:
        driver.run(read)
    assert (caught.value.table, caught.value.column) == ("early", "held")
    assert "never encrypted" in str(caught.value)


def test_no_error_shows_a_plaintext(driver: Leg) -> None:
    row = {"name": "a", "ssn": CANARY, "scan": CANARY.encode()}
    driver.run(lambda c: c.execute(insert(Patient), row))
    failures: list[tuple[Any, Any]] = [
        (IntegrityError, row),
        (IntegrityError, [{**row, "name": "b"}, row]),
        ((StatementError, EncFieldsError), {**row, "id": "no uuid"}),
    ]
    for error, rows in failures:
        with pytest.raises(error) as caught:
            driver.run(_executes(insert(Patient), rows))
        shown = "".join(traceback.format_exception(caught.value))
        assert_absent(CANARY, shown, repr(vars(caught.value)))


def test_the_code_of_an_error_is_the_server_s(driver: Leg) -> None:
    """Whether a run tries again, and what it says that a role lacks, hang on it."""
    codes = {"sqlite": None, "postgresql": "42P01"}
    with pytest.raises(DBAPIError) as caught:
        driver.run(lambda c: c.execute(text("SELECT 1 FROM nowhere")))
    assert code_of(caught.value.orig) == codes.get(driver.server, 1146)


@pytest.mark.parametrize("value", [CANARY, SCAN, 47110815], ids=["str", "bytes", "int"])
def test_a_value_that_is_not_sealed_is_not_sent(driver: Leg, value: Any) -> None:
    marks = {"qmark": "?, ?, ?", "numeric_dollar": "$1, $2, $3"}
    mark = marks.get(driver.engine.dialect.paramstyle, "%s, %s, %s")
    statement = f"INSERT INTO note (tenant, number, body) VALUES ({mark})"
    row = ("a", 1, Pending(value))
    for rows in (row, [row, ("a", 2, Pending(value))]):
        with pytest.raises(Exception) as caught:  # noqa: PT011 (each driver has its own)
            driver.run(_sends(statement, rows))
        assert_absent(
            value if isinstance(value, bytes) else str(value),
            "".join(traceback.format_exception(caught.value)),
        )
    assert _stored(driver, Note) == []


# -- bulk runs ---------------------------------------------------------------------------------


def test_a_run_moves_values_to_the_new_key_version(driver: Leg) -> None:
    if driver.is_async:
        pytest.skip("bulk runs take a synchronous engine")
    driver.run(lambda c: c.execute(insert(Patient), _patients(40)))
    version = driver.encryption.keys.rotate("default").version
    spec = TableSpec.from_table(Patient.__table__)  # type: ignore[arg-type]
    options = Options(batch_rows=15, range_rows=20)
    report = Reencryption(driver.engine, driver.encryption, spec, options=options).run()
    assert report.finished
    stored = _stored(driver, Patient)
    assert {read_header(bytes(row[c])).version for row in stored for c in ("ssn", "scan")} == {
        version
    }
    found = driver.run(lambda c: c.execute(select(Patient.name, Patient.ssn, Patient.scan)).all())
    assert sorted(found) == sorted((p["name"], p["ssn"], p["scan"]) for p in _patients(40))
