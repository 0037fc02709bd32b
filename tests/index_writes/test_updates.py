"""UPDATE: the indexes change in the same statement as the value, and only then."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    func,
    insert,
    lambda_stmt,
    literal,
    null,
    select,
    text,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, synonym

from encfields import BlindIndex, EncryptedType
from encfields.errors import (
    BindingError,
    CiphertextCopyError,
    UnboundValueError,
)
from tests.database import CANARY
from tests.index_writes.expected import (
    MEMBER,
    PATIENT,
    SEAT,
    Index,
    check_indexes,
    stored,
    utf8,
)
from tests.index_writes.models import Member, Patient, Seat
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

patient: Any = Patient.__table__
member: Any = Member.__table__
seat: Any = Seat.__table__


def numbers(db) -> list[str | None]:
    rows = check_indexes(db, patient, *PATIENT)
    return [row["ssn"] for row in sorted(rows, key=lambda row: row["id"])]


OLD = ["123-45-0001", "123-45-0002", "123-45-0003"]


def set_ssn(value: Any = "new") -> Any:
    return update(patient).values(ssn=value)


PINNED = {
    "keyword": lambda: set_ssn().where(patient.c.id == 2),
    "dict": lambda: update(patient).values({"ssn": "new"}).where(patient.c.id == 2),
    "column": lambda: update(patient).values({patient.c.ssn: "new"}).where(patient.c.id == 2),
    "ORM": lambda: update(Patient).values(ssn="new").where(Patient.id == 2),
    "ORM attribute": lambda: update(Patient).values({Patient.ssn: "new"}).where(Patient.id == 2),
    "ordered values": lambda: (
        update(patient)
        .ordered_values((patient.c.name, "x"), (patient.c.ssn, "new"))
        .where(patient.c.id == 2)
    ),
    "ordered values of names": lambda: (
        update(patient).ordered_values(("ssn", "new"), ("name", "x")).where(patient.c.id == 2)
    ),
    "with other columns": lambda: (
        update(patient)
        .values(ssn="new", name=func.upper(patient.c.name), notes="n")
        .where(patient.c.id == 2)
    ),
    "lambda": lambda: (
        lambda_stmt(lambda: update(patient))
        + (lambda s: s.where(patient.c.id == 2).values(ssn="new"))
    ),
    "found by the value": lambda: set_ssn().where(
        patient.c.id == 2, patient.c.ssn == "123-45-0002"
    ),
    "bindparam": lambda: set_ssn().where(patient.c.id == bindparam("k", 2)),
}


@pytest.mark.parametrize("statement", PINNED.values(), ids=PINNED.keys())
def test_an_update_writes_the_indexes_of_its_row(patients, statement):
    with patients.begin() as connection:
        assert connection.execute(statement()).rowcount == 1
    assert numbers(patients) == ["123-45-0001", "new", "123-45-0003"]


PARAMETERS = {
    "bindparam in values": lambda c: c.execute(
        update(patient).where(patient.c.id == bindparam("k")).values(ssn=bindparam("v")),
        [{"k": 1, "v": "one"}, {"k": 2, "v": "two"}, {"k": 3, "v": None}],
    ),
    "one at a time": lambda c: [
        c.execute(
            update(patient).where(patient.c.id == bindparam("k")).values(ssn=bindparam("v")),
            {"k": k, "v": v},
        )
        for k, v in ((1, "one"), (2, "two"), (3, None))
    ],
    "set by name of the parameter": lambda c: c.execute(
        update(patient).where(patient.c.id == bindparam("k")),
        [{"k": 1, "ssn": "one"}, {"k": 2, "ssn": "two"}, {"k": 3, "ssn": None}],
    ),
    "set by name, one at a time": lambda c: [
        c.execute(
            update(patient).where(patient.c.id == bindparam("k")).values(name="x"),
            {"k": k, "ssn": v},
        )
        for k, v in ((1, "one"), (2, "two"), (3, None))
    ],
}


@pytest.mark.parametrize("write", PARAMETERS.values(), ids=PARAMETERS.keys())
def test_parameters_write_the_indexes_of_each_row(patients, write):
    with patients.begin() as connection:
        write(connection)
    assert numbers(patients) == ["one", "two", None]


NULLS = {
    "None": lambda: set_ssn(None),
    "NULL": lambda: set_ssn(null()),
    "ORM's None": lambda: update(Patient).values(ssn=None),
    "ORM's NULL": lambda: update(Patient).values({Patient.ssn: null()}),
    "ordered": lambda: update(patient).ordered_values((patient.c.ssn, null())),
    "lambda": lambda: lambda_stmt(lambda: update(patient).values(ssn=null())),
}


@pytest.mark.parametrize("statement", NULLS.values(), ids=NULLS.keys())
def test_null_takes_the_indexes_away_from_any_rows(patients, statement):
    with patients.begin() as connection:
        assert connection.execute(statement()).rowcount == 3
    assert numbers(patients) == [None, None, None]
    assert set(stored(patients, patient, "ssn_bidx").values()) == {None}
    assert set(stored(patients, patient, "ssn_last4_bidx").values()) == {None}
    assert None not in stored(patients, patient, "mail_casefold_bidx").values()


def test_an_update_of_other_columns_does_not_mention_the_indexes(patients):
    before = patients.rows(patient)
    with patients.begin() as connection, patients.statements() as seen:
        connection.execute(update(patient).values(name="x"))
        connection.execute(update(patient).where(patient.c.id == 1).values(notes="n"))
        connection.execute(
            update(patient).where(patient.c.id == bindparam("k")), {"k": 2, "name": "y"}
        )
    assert len(seen) == 3
    assert not any("bidx" in context.statement for context in seen)
    names = [column.name for column in patient.columns]
    for old, new in zip(sorted(before), sorted(patients.rows(patient)), strict=True):
        for name, was, now in zip(names, old, new, strict=True):
            assert (was == now) or name in ("name", "notes")
    assert numbers(patients) == OLD


def test_only_the_indexes_of_what_is_set_are_written(patients):
    with patients.begin() as connection, patients.statements() as seen:
        connection.execute(update(patient).where(patient.c.id == 1).values(mail="NEW@x.org"))
    assert "mail_casefold_bidx" in seen[0].statement
    assert "ssn" not in seen[0].statement
    assert numbers(patients) == OLD


def test_an_update_is_one_statement(patients):
    with patients.begin() as connection, patients.statements() as seen:
        connection.execute(set_ssn().where(patient.c.id == 1))
    assert len(seen) == 1


def test_the_statement_is_cached(patients):
    with patients.begin() as connection, patients.statements() as seen:
        for n in (1, 2, 3):
            connection.execute(set_ssn(f"new-{n}").where(patient.c.id == n))
    assert [context.cache_hit.name for context in seen][1:] == ["CACHE_HIT", "CACHE_HIT"]
    assert numbers(patients) == ["new-1", "new-2", "new-3"]


def test_the_application_s_statement_and_parameters_are_left_as_they_are(patients):
    statement = set_ssn().where(patient.c.id == 1)
    rows = [{"k": 1, "ssn": "a"}, {"k": 2, "ssn": "b"}]
    printed = str(statement)
    with patients.begin() as connection:
        connection.execute(statement)
        connection.execute(update(patient).where(patient.c.id == bindparam("k")), rows)
    assert str(statement) == printed
    assert rows == [{"k": 1, "ssn": "a"}, {"k": 2, "ssn": "b"}]


@pytest.mark.parametrize("name", ["sqlite_db", "postgresql_db"])
def test_returning_delivers_the_new_value_and_no_index(request, name):
    db = request.getfixturevalue(name)
    db.create(Patient.metadata)
    with db.session() as session:
        session.add(Patient(id=2, ssn="old"))
        session.commit()
        change = update(patient).values(ssn="new").where(patient.c.id == 2).returning(patient)
        row = session.execute(change).mappings().one()
        assert list(row) == ["id", "name", "ssn", "mail", "notes"]
        entity = update(Patient).values(ssn="newer").where(Patient.id == 2).returning(Patient)
        assert session.scalars(entity).one().ssn == "newer"
        session.commit()
    check_indexes(db, patient, *PATIENT)


def test_a_composite_key(clinic):
    with clinic.begin() as connection:
        connection.execute(
            insert(seat),
            [{"hall": h, "number": n, "guest": f"{h}{n}"} for h in "AB" for n in (1, 2)],
        )
        change = update(seat).where(seat.c.hall == "A", seat.c.number == 1)
        connection.execute(change.values(guest="new"))
        connection.execute(change.values(hall="C", guest="moved"))
    rows = check_indexes(clinic, seat, *SEAT)
    assert {(r["hall"], r["number"]): r["guest"] for r in rows}["C", 1] == "moved"


def test_a_core_update_may_set_the_tenant_with_the_value(clinic):
    with clinic.begin() as connection:
        connection.execute(insert(member).values(id=1, tenant_id=10, iban="i"))
        connection.execute(update(member).where(member.c.id == 1).values(iban="i", tenant_id=20))
    check_indexes(clinic, member, *MEMBER)
    with clinic.begin() as connection:
        connection.execute(
            update(member).where(member.c.id == 1, member.c.tenant_id == 20).values(iban="new")
        )
    check_indexes(clinic, member, *MEMBER)


# -- defaults ----------------------------------------------------------------------------------


def with_defaults() -> Table:
    return Table(
        "thing",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("label", String(20)),
        Column("scalar", EncryptedType(index=BlindIndex()), default="scalar"),
        Column(
            "called",
            EncryptedType(index=BlindIndex()),
            default=lambda context: f"of {context.get_current_parameters()['id']}",
        ),
        Column("changed", EncryptedType(index=BlindIndex()), onupdate=lambda: "changed"),
    )


THING = tuple(
    Index(f"{name}_bidx", f"thing.{name}", {name: utf8}) for name in ("scalar", "called", "changed")
)
DEFAULTED = {
    "values": lambda c, t: [c.execute(insert(t).values(id=n)) for n in (1, 2)],
    "executemany": lambda c, t: c.execute(insert(t), [{"id": n} for n in (1, 2)]),
    "many values": lambda c, t: c.execute(insert(t).values([{"id": n} for n in (1, 2)])),
}


@pytest.mark.parametrize("write", DEFAULTED.values(), ids=DEFAULTED.keys())
def test_a_python_default_is_indexed(db, write):
    table = with_defaults()
    db.create(table.metadata)
    with db.begin() as connection:
        write(connection, table)
    rows = check_indexes(db, table, *THING)
    assert [row["scalar"] for row in rows] == ["scalar", "scalar"]
    assert sorted(row["called"] for row in rows) == ["of 1", "of 2"]


def test_an_onupdate_default_is_indexed(db):
    table = with_defaults()
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": n} for n in (1, 2, 3)])
        connection.execute(update(table).where(table.c.id == 1).values(label="x"))
        by_key = update(table).where(table.c.id == bindparam("k"))
        connection.execute(by_key, [{"k": 2, "label": "y"}])
    rows = {row["id"]: row["changed"] for row in check_indexes(db, table, *THING)}
    assert rows == {1: "changed", 2: "changed", 3: None}
    with db.begin() as connection:
        connection.execute(update(table).where(table.c.id == 1).values(changed="given"))
        connection.execute(update(table).where(table.c.id == 2).values(changed=null()))
    rows = {row["id"]: row["changed"] for row in check_indexes(db, table, *THING)}
    assert rows == {1: "given", 2: None, 3: None}


# -- names -------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Renamed(Base):
    """Attributes, keys and names all differ."""

    __table__ = Table(
        "renamed",
        Base.metadata,
        Column("col_id", Integer, key="key_id", primary_key=True, autoincrement=False),
        Column("col_value", EncryptedType(index=BlindIndex()), key="key_value"),
        Column("col_plain", String(20), key="key_plain"),
    )
    attr_id = __table__.c.key_id
    attr_value = __table__.c.key_value
    attr_plain = __table__.c.key_plain


class Spoken(Base):
    __tablename__ = "spoken"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ssn: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex()))
    number: Mapped[str | None] = synonym("ssn")


RENAMED = (Index("col_value_bidx", "renamed.col_value", {"key_value": utf8}),)
SPOKEN = (Index("ssn_bidx", "spoken.ssn", {"ssn": utf8}),)


def test_attributes_keys_and_names_may_all_differ(db):
    db.create(Base.metadata)
    model: Any = Renamed
    table = model.__table__
    with db.session() as session:
        session.add_all(model(attr_id=n, attr_value=f"v-{n}") for n in (1, 2))
        session.flush()
        session.get_one(model, 1).attr_value = "new"
        session.execute(update(model), [{"attr_id": 2, "attr_value": "bulk"}])
        session.execute(insert(model), [{"attr_id": n, "attr_value": f"v-{n}"} for n in (3, 4)])
        session.execute(insert(model).values(attr_id=5, attr_value="v-5"))
        session.flush()
        session.execute(update(model).where(model.attr_id == 3).values(attr_value="set"))
        session.execute(update(model).where(model.attr_id == 4).values({model.attr_value: "by"}))
        session.execute(update(table).where(table.c.key_id == 5).values(key_value="core"))
        session.commit()
        values = session.scalars(select(model.attr_value).order_by(model.attr_id)).all()
        assert values == ["new", "bulk", "set", "by", "core"]
        found = session.scalars(select(model.attr_id).where(model.attr_value == "set")).all()
        assert found == [3]
    check_indexes(db, table, *RENAMED)


def test_a_synonym_stands_for_its_attribute(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add(Spoken(id=1, number="a"))
        session.flush()
        session.execute(update(Spoken).where(Spoken.id == 1).values(number="b"))
        session.execute(update(Spoken).where(Spoken.id == 1).values({Spoken.number: "c"}))
        session.commit()
    assert check_indexes(db, Spoken, *SPOKEN)[0]["ssn"] == "c"


@pytest.mark.parametrize("name", ["With Blank", "per%cent", "co:lon", "sel.ect", "brace{d}", "ä"])
def test_a_name_that_needs_quotes(db, name):
    table = Table(
        f"{name} table",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column(name, EncryptedType(index=BlindIndex())),
    )
    value = table.c[name]
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": n, name: f"v-{n}"} for n in (1, 2)])
        connection.execute(update(table).where(table.c.id == 2).values({value: "new"}))
    check_indexes(db, table, Index(f"{name}_bidx", f"{name} table.{name}", {name: utf8}))


# -- what is refused ---------------------------------------------------------------------------

OF_OURS = b"sixteen bytes..."
REFUSED = {
    "INSERT of an index": lambda: insert(patient).values(id=9, ssn=CANARY, ssn_bidx=OF_OURS),
    "INSERT of an index alone": lambda: insert(patient).values(id=9, ssn_bidx=OF_OURS),
    "INSERT of None": lambda: insert(patient).values(id=9, ssn=CANARY, ssn_bidx=None),
    "INSERT of NULL": lambda: insert(patient).values(id=9, ssn=CANARY, ssn_bidx=null()),
    "INSERT of NULL alone": lambda: insert(patient).values(id=9, ssn_bidx=null()),
    "INSERT of a literal": lambda: insert(patient).values(
        id=9, ssn=CANARY, ssn_bidx=literal(OF_OURS)
    ),
    "INSERT of many": lambda: insert(patient).values(
        [{"id": 9, "ssn": CANARY, "ssn_bidx": OF_OURS}, {"id": 8, "ssn": "a", "ssn_bidx": OF_OURS}]
    ),
    "INSERT of a function": lambda: insert(patient).values(
        id=9, ssn=CANARY, ssn_bidx=func.coalesce(literal(OF_OURS))
    ),
    "ORM's INSERT": lambda: insert(Patient).values(id=9, ssn=CANARY, ssn_bidx=OF_OURS),
    "UPDATE of an index": lambda: set_ssn(CANARY).values(ssn_bidx=OF_OURS).where(patient.c.id == 1),
    "UPDATE of an index alone": lambda: (
        update(patient).values(ssn_bidx=OF_OURS).where(patient.c.id == 1)
    ),
    "UPDATE of a second index": lambda: (
        set_ssn(CANARY).values(ssn_last4_bidx=OF_OURS).where(patient.c.id == 1)
    ),
    "UPDATE to None": lambda: update(patient).values(ssn_bidx=None),
    "UPDATE to NULL": lambda: update(patient).values(ssn_bidx=null()),
    "UPDATE of a value, its index to NULL": lambda: (
        set_ssn(CANARY).values(ssn_bidx=null()).where(patient.c.id == 1)
    ),
    "UPDATE to NULL, its index to a value": lambda: (
        set_ssn(null()).values(ssn_bidx=OF_OURS).where(patient.c.id == 1)
    ),
    "UPDATE from another row": lambda: update(patient).values(ssn_bidx=patient.c.ssn_last4_bidx),
    "UPDATE of a literal": lambda: update(patient).values(ssn_bidx=literal(OF_OURS)),
    "UPDATE of text": lambda: update(patient).values(ssn_bidx=text("'x'")),
    "ordered UPDATE": lambda: update(patient).ordered_values((patient.c.ssn_bidx, null())),
    "ORM's UPDATE": lambda: update(Patient).values({patient.c.ssn_bidx: null()}),
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_the_column_of_an_index_is_written_by_nobody_else(clinic_once, statement):
    with clinic_once.session() as session:
        session.add_all(Patient(id=n, ssn=f"123-45-{n:04}") for n in (1, 2))
        session.commit()
    with clinic_once.begin() as connection, clinic_once.refused(BindingError, patient) as caught:
        connection.execute(statement())
    assert isinstance(caught.value, UnboundValueError | CiphertextCopyError)
    assert "bidx" in str(caught.value) or "blind index" in str(caught.value)


@pytest.mark.parametrize("name", ["INSERT of a literal", "UPDATE of a literal", "INSERT of None"])
def test_it_is_written_by_nobody_else_on_any_database(patients, name):
    with patients.begin() as connection, patients.refused(BindingError, patient):
        connection.execute(REFUSED[name]())


REFUSED_PARAMETERS = {
    "INSERT": lambda c: c.execute(insert(patient), {"id": 9, "ssn": "a", "ssn_bidx": OF_OURS}),
    "INSERT of many": lambda c: c.execute(
        insert(patient), [{"id": n, "ssn": "a", "ssn_bidx": OF_OURS} for n in (8, 9)]
    ),
    "INSERT of None": lambda c: c.execute(
        insert(patient), [{"id": n, "ssn": "a", "ssn_bidx": None} for n in (8, 9)]
    ),
    "INSERT through a bindparam": lambda c: c.execute(
        insert(patient).values(id=9, ssn="a", ssn_bidx=bindparam("b")), {"b": OF_OURS}
    ),
    "UPDATE": lambda c: c.execute(
        update(patient).where(patient.c.id == bindparam("k")), {"k": 1, "ssn_bidx": OF_OURS}
    ),
    "UPDATE of many": lambda c: c.execute(
        update(patient).where(patient.c.id == bindparam("k")),
        [{"k": n, "ssn": "a", "ssn_bidx": OF_OURS} for n in (1, 2)],
    ),
    "UPDATE to None": lambda c: c.execute(
        update(patient).where(patient.c.id == bindparam("k")),
        [{"k": n, "ssn_bidx": None} for n in (1, 2)],
    ),
}


@pytest.mark.parametrize("write", REFUSED_PARAMETERS.values(), ids=REFUSED_PARAMETERS.keys())
def test_parameters_do_not_write_it_either(patients, write):
    with patients.begin() as connection, patients.refused(BindingError, patient):
        write(connection)


@on_each_database
def test_an_update_of_an_alias_is_refused(patients):
    other = patient.alias("other")
    for values in ({"ssn": null()}, {"ssn": CANARY}, {"ssn_bidx": null()}):
        with patients.begin() as connection, patients.refused(BindingError, patient):
            connection.execute(update(other).values(values).where(other.c.id == 1))
    if patients.backend.family != "mariadb":
        with patients.begin() as connection:
            connection.execute(update(other).values(name="x").where(other.c.id == 1))
    assert numbers(patients) == OLD


def test_a_multi_table_update_of_an_index_is_refused(mariadb_db):
    mariadb_db.create(Patient.metadata)
    with mariadb_db.session() as session:
        session.add_all([Patient(id=1, ssn="a"), Seat(hall="A", number=1, guest="g")])
        session.commit()
    other = patient.alias()
    refused = {patient.c.ssn: "b", patient.c.ssn_bidx: null(), other.c.ssn: null()}
    for column, value in refused.items():
        statement = (
            update(seat)
            .values({seat.c.hall: "B", column: value})
            .where(column.table.c.id == seat.c.number)
        )
        with mariadb_db.begin() as connection, mariadb_db.refused(BindingError, patient):
            connection.execute(statement)


@pytest.mark.parametrize("value", [None, null()], ids=["None", "null()"])
@pytest.mark.parametrize("is_join", [False, True], ids=["of tables", "of a join"])
def test_null_may_be_set_in_other_tables_and_empties_the_index(innodb_db, value, is_join):
    innodb_db.create(Patient.metadata)
    with innodb_db.session() as session:
        session.add_all([Patient(id=1, ssn="a"), Patient(id=2, ssn="a")])
        session.add(Seat(hall="A", number=1, guest="g"))
        session.commit()
    condition = patient.c.id == seat.c.number
    target = seat.join(patient, condition) if is_join else seat
    statement = update(target).values({patient.c.ssn: value}).where(condition)
    with innodb_db.begin() as connection:
        assert connection.execute(statement).rowcount == 1
        assert connection.scalars(select(patient.c.id).where(patient.c.ssn == "a")).all() == [2]
    assert innodb_db.stored(patient.c.ssn, 1) is None
    assert innodb_db.stored(patient.c.ssn_bidx, 1) is None


def test_a_write_inside_a_cte_is_refused(postgresql_db):
    postgresql_db.create(Patient.metadata)
    with postgresql_db.session() as session:
        session.add(Patient(id=1, ssn="a"))
        session.commit()
    for values in ({"ssn": null()}, {"ssn_bidx": null()}):
        changed = update(patient).values(values).returning(patient.c.id).cte("changed")
        with (
            postgresql_db.begin() as connection,
            postgresql_db.refused(UnboundValueError, patient),
        ):
            connection.execute(select(changed.c.id))


def test_a_write_of_other_columns_inside_a_cte_works(postgresql_db):
    postgresql_db.create(Patient.metadata)
    made = insert(patient).values(id=1, name="n").returning(patient.c.id).cte("made")
    with postgresql_db.begin() as connection:
        assert connection.scalars(select(made.c.id)).all() == [1]
    changed = update(patient).values(name="m").returning(patient.c.id).cte("changed")
    with postgresql_db.begin() as connection:
        assert connection.scalars(select(changed.c.id)).all() == [1]
    assert check_indexes(postgresql_db, patient, *PATIENT)[0]["ssn"] is None
