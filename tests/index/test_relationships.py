"""Relationships over equal indexes load and are queried like any other."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Integer, String, and_, or_, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    WriteOnlyMapped,
    aliased,
    contains_eager,
    immediateload,
    joinedload,
    lazyload,
    mapped_column,
    raiseload,
    relationship,
    selectinload,
    subqueryload,
    with_parent,
)

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnreadableError
from tests.database import CANARY, Database
from tests.index.clinic import Claim, Patient, ids, sent
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

CLAIMS = {1: [1, 2], 2: [3], 3: [], 4: []}
PATIENTS = {1: 1, 2: 1, 3: 2, 4: None, 5: None}
LOADERS = {
    "lazyload": lazyload,
    "selectinload": selectinload,
    "joinedload": joinedload,
    "immediateload": immediateload,
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_collection_is_loaded(clinic, name):
    load = LOADERS[name]
    with clinic.session() as session:
        people = session.scalars(select(Patient).options(load(Patient.claims))).unique().all()
        assert {p.id: [c.id for c in p.claims] for p in people} == CLAIMS


@pytest.mark.parametrize("name", LOADERS)
def test_a_reference_is_loaded(clinic, name):
    load = LOADERS[name]
    with clinic.session() as session:
        claims = session.scalars(select(Claim).options(load(Claim.patient))).unique().all()
        assert {c.id: c.patient and c.patient.id for c in claims} == PATIENTS


@pytest.mark.parametrize("name", LOADERS)
def test_loading_goes_on_from_what_was_found_by_index(clinic, name):
    load = LOADERS[name]
    statement = (
        select(Patient)
        .options(load(Patient.claims), raiseload("*"))
        .where(Patient.ssn.in_(["ssn-1", "ssn-3"]))
    )
    with clinic.session() as session:
        people = session.scalars(statement).unique().all()
        assert {p.id: [c.id for c in p.claims] for p in people} == {1: [1, 2], 3: []}


@pytest.mark.parametrize("name", ["selectinload", "lazyload", "immediateload", "joinedload"])
def test_a_collection_of_a_limited_query_is_loaded(clinic, name):
    statement = select(Patient).options(LOADERS[name](Patient.claims)).order_by(Patient.id).limit(2)
    with clinic.session() as session:
        people = session.scalars(statement).unique().all()
        assert {p.id: [c.id for c in p.claims] for p in people} == {1: [1, 2], 2: [3]}


def test_a_reference_of_a_limited_query_is_loaded_by_a_join(clinic):
    statement = select(Claim).options(joinedload(Claim.patient)).order_by(Claim.id).limit(2)
    with clinic.session() as session:
        claims = session.scalars(statement).all()
        assert {c.id: c.patient and c.patient.id for c in claims} == {1: 1, 2: 1}


@pytest.mark.parametrize("attribute", [Patient.claims, Claim.patient], ids=["many", "one"])
def test_subqueryload_is_refused_with_a_way_out(sqlite_clinic, attribute):
    statement = select(attribute.class_).options(subqueryload(attribute))
    with (
        sqlite_clinic.session() as session,
        pytest.raises(UnreadableError, match=r"selectinload\(\), not subqueryload\(\)"),
    ):
        session.scalars(statement).all()


def test_related_rows_are_asked_for(clinic):
    many, one = Patient.claims, Claim.patient
    assert ids(clinic, select(Patient.id).where(many.any())) == [1, 2]
    assert ids(clinic, select(Patient.id).where(~many.any())) == [3, 4]
    assert ids(clinic, select(Patient.id).where(many.any(Claim.amount == 30))) == [2]
    assert ids(clinic, select(Patient.id).where(many.any(Claim.ssn == "ssn-1"))) == [1]
    assert ids(clinic, select(Patient.id).where(many.any(ssn="ssn-1"))) == [1]
    assert ids(clinic, select(Claim.id).where(one.has())) == [1, 2, 3]
    assert ids(clinic, select(Claim.id).where(~one.has())) == [4, 5]
    assert ids(clinic, select(Claim.id).where(one.has(name="name-2"))) == [3]
    assert ids(clinic, select(Claim.id).where(one.has(Patient.ssn == "ssn-2"))) == [3]
    assert ids(clinic, select(Claim.id).where(one.has(Patient.claims.any()))) == [1, 2, 3]
    either = or_(many.any(Claim.id == 3), Patient.ssn == "ssn-3")
    assert ids(clinic, select(Patient.id).where(either)) == [2, 3]


def test_relationships_are_joined(clinic):
    assert ids(clinic, select(Claim.id).join(Claim.patient)) == [1, 2, 3]
    assert ids(clinic, select(Claim.id).outerjoin(Claim.patient)) == [1, 2, 3, 4, 5]
    assert ids(clinic, select(Patient.id).join(Patient.claims).distinct()) == [1, 2]
    found = select(Claim.id).join(Claim.patient).where(Patient.ssn == "ssn-2")
    assert ids(clinic, found) == [3]
    other = aliased(Patient)
    found = select(Claim.id).join(Claim.patient.of_type(other)).where(other.ssn == "ssn-2")
    assert ids(clinic, found) == [3]
    more = select(Claim.id).join(Claim.patient.and_(Patient.ssn != "ssn-1"))
    assert ids(clinic, more) == [3]


def test_a_join_delivers_what_it_loaded(clinic):
    statement = (
        select(Patient)
        .join(Patient.claims)
        .options(contains_eager(Patient.claims))
        .where(Claim.amount > 10)
        .order_by(Claim.id)
    )
    with clinic.session() as session:
        people = session.scalars(statement).unique().all()
        assert {p.id: [c.id for c in p.claims] for p in people} == {1: [2], 2: [3]}


@pytest.mark.parametrize("name", ["lazyload", "selectinload", "joinedload"])
def test_criteria_of_a_loader_are_asked_with_each_value_anew(sqlite_clinic, name):
    """From the second time on SQLAlchemy gives the values to a statement that it has cached."""
    load = LOADERS[name]
    for ssn, expected in (("ssn-1", 1), ("ssn-1", 1), ("ssn-2", 2), ("none", None)):
        statement = select(Claim).options(load(Claim.patient.and_(Patient.ssn == ssn)))
        with sqlite_clinic.session() as session:
            claims = session.scalars(statement).unique().all()
            found = {c.patient.id for c in claims if c.patient is not None}
        assert found == ({expected} if expected else set())


def test_loading_takes_criteria_along(clinic):
    with clinic.session() as session:
        for load in (selectinload, joinedload, lazyload):
            session.expunge_all()
            option = load(Patient.claims.and_(Claim.amount > 10))
            people = session.scalars(select(Patient).options(option)).unique().all()
            assert {p.id: [c.id for c in p.claims] for p in people} == {
                1: [2],
                2: [3],
                3: [],
                4: [],
            }
            session.expunge_all()
            option = load(Claim.patient.and_(Patient.ssn != "ssn-1"))
            claims = session.scalars(select(Claim).options(option)).unique().all()
            assert {c.id: c.patient and c.patient.id for c in claims if c.id < 4} == {
                1: None,
                2: None,
                3: 2,
            }


def test_rows_are_found_by_an_object_they_are_related_to(clinic):
    with clinic.session() as session:
        one, two = session.get(Patient, 1), session.get(Patient, 2)
        claim = session.get(Claim, 3)
        of_one = select(Claim.id).where(with_parent(one, Patient.claims))
        assert sorted(session.scalars(of_one)) == [1, 2]
        of_none = Claim.patient == None  # noqa: E711
        assert session.scalars(select(Claim.id).where(of_none)).all() == [5]
        assert sorted(session.scalars(select(Claim.id).where(~of_none))) == [1, 2, 3, 4]
        assert session.scalars(select(Claim.id).where(Claim.patient == two)).all() == [3]
        assert sorted(session.scalars(select(Claim.id).where(Claim.patient != two))) == [1, 2, 4, 5]
        found = select(Patient.id).where(Patient.claims.contains(claim))
        assert session.scalars(found).all() == [2]


def test_a_changed_value_leads_elsewhere(clinic):
    with clinic.session() as session:
        claim = session.get(Claim, 3)
        assert claim.patient.id == 2
        claim.ssn = "ssn-3"
        session.commit()
        assert claim.patient.id == 3
        assert [c.id for c in session.get(Patient, 2).claims] == []


def test_loading_never_tells_the_database_a_value(clinic):
    with clinic.session() as session:
        session.add_all([Patient(id=7, ssn=CANARY), Claim(id=7, ssn=CANARY)])
        session.commit()
    for load in LOADERS.values():
        with clinic.session() as session, sent(clinic):
            claim = session.scalars(
                select(Claim).options(load(Claim.patient)).filter_by(id=7)
            ).one()
            assert claim.patient.id == 7
            person = session.scalars(
                select(Patient).options(load(Patient.claims)).filter_by(id=7)
            ).unique()
            assert [c.id for c in person.one().claims] == [7]


# -- relationships that write, that are only written, and to the class itself ---------------------


class Other(DeclarativeBase):
    pass


class Account(Other):
    __tablename__ = "account"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    iban: Mapped[str | None] = mapped_column(
        EncryptedType(String(40), index=BlindIndex(domain="iban"))
    )
    sponsor_iban: Mapped[str | None] = mapped_column(
        EncryptedType(String(40), index=BlindIndex(domain="iban"))
    )
    payments: Mapped[list[Payment]] = relationship(
        primaryjoin="foreign(Payment.iban) == Account.iban", back_populates="account"
    )
    later: WriteOnlyMapped[Payment] = relationship(
        primaryjoin="foreign(Payment.iban) == Account.iban", viewonly=True
    )
    sponsor: Mapped[Account | None] = relationship(
        primaryjoin="foreign(Account.sponsor_iban) == remote(Account.iban)", viewonly=True
    )


class Payment(Other):
    __tablename__ = "payment"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    iban: Mapped[str | None] = mapped_column(
        EncryptedType(String(40), index=BlindIndex(domain="iban"))
    )
    account: Mapped[Account | None] = relationship(
        primaryjoin="foreign(Payment.iban) == Account.iban", back_populates="payments"
    )


@pytest.fixture
def bank(db: Database) -> Database:
    db.create(Other.metadata)
    with db.session() as session:
        session.add_all(
            [
                Account(id=1, iban="iban-1", payments=[Payment(id=1), Payment(id=2)]),
                Account(id=2, iban="iban-2", sponsor_iban="iban-1"),
                Account(id=3, iban="iban-3", sponsor_iban="iban-2"),
            ]
        )
        session.commit()
    return db


def test_a_relationship_that_writes_copies_the_value(bank):
    assert ids(bank, select(Payment.id).where(Payment.iban == "iban-1")) == [1, 2]
    with bank.session() as session:
        session.get(Payment, 2).account = session.get(Account, 2)
        session.commit()
        assert [p.id for p in session.get(Account, 1).payments] == [1]
        assert [p.id for p in session.get(Account, 2).payments] == [2]
    assert ids(bank, select(Payment.id).where(Payment.iban == "iban-2")) == [2]


def test_a_relationship_to_the_class_itself_is_loaded_and_asked(bank):
    for load in LOADERS.values():
        with bank.session() as session:
            rows = session.scalars(select(Account).options(load(Account.sponsor))).unique().all()
            assert {a.id: a.sponsor and a.sponsor.id for a in rows} == {1: None, 2: 1, 3: 2}
    assert ids(bank, select(Account.id).where(Account.sponsor.has())) == [2, 3]
    assert ids(bank, select(Account.id).where(Account.sponsor.has(iban="iban-1"))) == [2]
    sponsor = aliased(Account)
    joined = select(Account.id).join(Account.sponsor.of_type(sponsor))
    assert ids(bank, joined.where(sponsor.iban == "iban-2")) == [3]


def test_a_collection_that_is_only_written_is_selected(bank):
    with bank.session() as session:
        later: Any = session.get(Account, 1).later
        assert sorted(p.id for p in session.scalars(later.select())) == [1, 2]
        chosen = later.select().where(and_(Payment.id > 1, Payment.iban == "iban-1"))
        assert [p.id for p in session.scalars(chosen)] == [2]


def test_no_attribute_is_made_for_the_column_of_an_index():
    for model in (Patient, Claim, Account, Payment):
        assert [column.name for column in model.__table__.c if column.name.endswith("_bidx")]
        assert not any(prop.key.endswith("_bidx") for prop in model.__mapper__.attrs)
