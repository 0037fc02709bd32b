"""Columns with equal indexes are joined, and compared through subqueries of every kind."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    exists,
    func,
    insert,
    lateral,
    select,
    true,
    update,
)
from sqlalchemy.exc import SAWarning
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, with_loader_criteria

from encfields import BlindIndex, EncryptedType
from encfields.errors import CiphertextCopyError, UnsupportedOperationError
from encfields.index.transforms import casefold
from tests.database import Database
from tests.index.clinic import Claim, Patient, claim, fill, ids, patient


def rows(db: Database, statement: Any) -> list[tuple[Any, ...]]:
    with db.engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(statement))


def test_tables_are_joined(clinic):
    joined = select(patient.c.id, claim.c.id).join(claim, claim.c.ssn == patient.c.ssn)
    assert rows(clinic, joined) == [(1, 1), (1, 2), (2, 3)]
    unequal = select(patient.c.id, claim.c.id).join(claim, claim.c.ssn != patient.c.ssn)
    assert rows(clinic, unequal.where(claim.c.id < 3)) == [(2, 1), (2, 2), (3, 1), (3, 2)]
    outer = (
        select(claim.c.id, patient.c.ssn)
        .outerjoin_from(claim, patient, patient.c.ssn == claim.c.ssn)
        .where(claim.c.id.in_([3, 4]))
    )
    assert rows(clinic, outer) == [(3, "ssn-2"), (4, None)]


def test_the_where_clause_joins_too(clinic):
    crossed = select(patient.c.id, claim.c.id).where(claim.c.ssn == patient.c.ssn)
    assert rows(clinic, crossed) == [(1, 1), (1, 2), (2, 3)]
    named = select(patient.c.id, claim.c.id).where(claim.c.ssn.blind() == patient.c.ssn.blind())
    assert rows(clinic, named) == [(1, 1), (1, 2), (2, 3)]


def test_what_a_comparison_joins_is_no_cartesian_product(clinic):
    """SQLAlchemy warns of FROMs that nothing joins, and a subquery's index is looked up."""
    one = select(claim.c.id, claim.c.ssn).where(claim.c.id < 3)
    for other in (one.subquery(), one.cte()):
        crossed = select(patient.c.id, other.c.id).where(patient.c.ssn == other.c.ssn)
        with warnings.catch_warnings(action="error", category=SAWarning):
            assert rows(clinic, crossed) == [(1, 1), (1, 2)]


def test_a_table_is_joined_with_itself(clinic):
    other = claim.alias("other")
    pairs = select(claim.c.id, other.c.id).join(
        other, and_(claim.c.ssn == other.c.ssn, claim.c.id < other.c.id)
    )
    assert rows(clinic, pairs) == [(1, 2)]
    another = aliased(Claim)
    with clinic.session() as session:
        found = session.execute(
            select(Claim.id, another.id).join(
                another, and_(another.ssn == Claim.ssn, Claim.id < another.id)
            )
        )
        assert [tuple(row) for row in found] == [(1, 2)]


def test_a_subquery_limits_sorts_and_filters_before_it_is_compared(clinic):
    newest = select(claim.c.ssn).where(claim.c.ssn.is_not(None)).order_by(claim.c.id.desc())
    scalar = newest.where(claim.c.id < 4).limit(1).scalar_subquery()
    assert rows(clinic, select(patient.c.id).where(patient.c.ssn == scalar)) == [(2,)]
    correlated = (
        select(patient.c.ssn).where(patient.c.id == claim.c.id).correlate(claim).scalar_subquery()
    )
    assert rows(clinic, select(claim.c.id).where(claim.c.ssn == correlated)) == [(1,)]


def test_a_subquery_stands_on_the_left(clinic):
    third = select(Claim.ssn).where(Claim.id == 3).scalar_subquery()
    assert ids(clinic, select(Patient.id).where(third == Patient.ssn)) == [2]
    assert ids(clinic, select(Patient.id).where(Patient.id == 2, third == "ssn-2")) == [2]
    assert ids(clinic, select(Patient.id).where(Patient.id == 2, third.in_(["ssn-1"]))) == []


def test_a_lateral_subquery_is_joined(postgresql):
    db = Database(postgresql)
    db.create(patient.metadata)
    fill(db)
    newest = lateral(
        select(claim.c.id).where(claim.c.ssn == patient.c.ssn).order_by(claim.c.id.desc()).limit(1)
    )
    assert rows(db, select(patient.c.id, newest.c.id).join(newest, true())) == [(1, 2), (2, 3)]


def test_rows_of_another_table_are_updated_by_a_join(clinic):
    with clinic.begin() as connection:
        connection.execute(
            update(patient)
            .where(patient.c.ssn == claim.c.ssn, claim.c.amount == 30)
            .values(name="claimed")
        )
    assert rows(clinic, select(patient.c.id).where(patient.c.name == "claimed")) == [(2,)]


def test_correlated_exists_counts_and_sums(clinic):
    total = select(func.sum(claim.c.amount)).where(claim.c.ssn == patient.c.ssn).scalar_subquery()
    with clinic.engine.connect() as connection:
        found = connection.execute(select(patient.c.id, total).order_by(patient.c.id))
        assert [(n, s and int(s)) for n, s in found] == [(1, 30), (2, 30), (3, None), (4, None)]
    has = exists().where(claim.c.ssn == patient.c.ssn, claim.c.amount > 10)
    assert rows(clinic, select(patient.c.id).where(has)) == [(1,), (2,)]


# -- what the ORM adds stays ----------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Contact(Base):
    __tablename__ = "contact"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(10))
    mail: Mapped[str | None] = mapped_column(
        EncryptedType(String(40), index=BlindIndex(domain="mail"))
    )
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "contact"}  # noqa: RUF012


class Friend(Contact):
    __mapper_args__ = {"polymorphic_identity": "friend"}  # noqa: RUF012


@pytest.fixture
def contacts(db: Database) -> Database:
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all(
            [
                Contact(id=1, mail="one"),
                Friend(id=2, mail="two"),
                Friend(id=3, mail="one"),
                Contact(id=4, mail="two"),
                Contact(id=5, mail="five"),
            ]
        )
        session.commit()
    return db


def test_a_subquery_of_a_subclass_has_rows_of_that_subclass_only(contacts):
    other = aliased(Friend)
    for friend in (Friend, other):
        found = select(Contact.id).where(
            Contact.mail.in_(select(friend.mail).where(friend.id == 2)), Contact.id != 2
        )
        assert ids(contacts, found) == [4]
        every = select(Contact.id).where(Contact.mail.in_(select(friend.mail)))
        assert ids(contacts, every) == [1, 2, 3, 4]
    with contacts.session() as session:
        session.get(Contact, 5).mail = "six"
        session.add(Contact(id=6, mail="six"))
        session.commit()
    assert ids(contacts, select(Contact.id).where(Contact.mail.in_(select(Friend.mail)))) == [
        1,
        2,
        3,
        4,
    ]
    first = select(Friend.mail).order_by(Friend.id).limit(1).scalar_subquery()
    assert ids(contacts, select(Contact.id).where(Contact.mail == first)) == [2, 4]


def test_loader_criteria_reach_into_subqueries(contacts):
    hidden = with_loader_criteria(Friend, Friend.id != 3)
    found = select(Contact.id).where(Contact.mail.in_(select(Friend.mail))).options(hidden)
    with contacts.session() as session:
        assert sorted(session.scalars(found)) == [2, 4]


# -- what is not equal is refused -----------------------------------------------------------------


def _table(name: str, **options: Any) -> Table:
    inner = options.pop("inner", String(20))
    key = options.pop("key", "default")
    return Table(
        name,
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant", Integer),
        Column("v", EncryptedType(inner, key=key, index=BlindIndex(**options))),
    )


UNEQUAL: dict[str, tuple[Table, Table]] = {
    "domains": (_table("a", domain="one"), _table("b", domain="two")),
    "no domain": (_table("a"), _table("b")),
    "transforms": (_table("a", domain="d"), _table("b", transform=casefold, domain="d")),
    "lengths": (_table("a", domain="d"), _table("b", domain="d", bits=256)),
    "keys": (_table("a", domain="d"), _table("b", domain="d", key="other")),
    "truncated": (_table("a", domain="d", bits=16), _table("b", domain="d", bits=16)),
    "templates": (
        _table("a", domain="d", key="t/{tenant}"),
        _table("b", domain="d", key="u/{tenant}"),
    ),
    "versions": (_table("a", domain="d", versions=(1,)), _table("b", domain="d", versions=(2,))),
}


@pytest.mark.parametrize("name", UNEQUAL)
def test_columns_whose_indexes_differ_are_not_joined(sqlite_db, name):
    a, b = UNEQUAL[name]
    for criterion in (a.c.v == b.c.v, a.c.v.in_(select(b.c.v)), b.c.v != a.c.v):
        with (
            sqlite_db.engine.connect() as connection,
            pytest.raises(UnsupportedOperationError, match="no full-length blind index in common"),
        ):
            connection.execute(select(a.c.id).where(criterion))


def test_while_a_key_is_rotated_the_versions_in_common_join(sqlite_db):
    a, b = _table("a", domain="d", versions=(1,)), _table("b", domain="d", versions=(1, 2))
    for table in (a, b):
        sqlite_db.create(table.metadata)
    sql = str(select(a.c.id).where(a.c.v == b.c.v).compile(sqlite_db.engine))
    assert "a.v_bidx = b.v_bidx" in sql
    assert "v_bidx_v2" not in sql


IN_A_QUERY: dict[str, tuple[Any, list[int], list[int]]] = {
    "UNION": (
        select(Claim.ssn).where(Claim.id == 1).union(select(Claim.ssn).where(Claim.id > 2)),
        [1, 2],
        [],
    ),
    "UNION ALL of three, in parentheses": (
        select(Claim.ssn)
        .where(Claim.id == 3)
        .union_all(
            select(Claim.ssn)
            .where(Claim.id == 4)
            .union_all(select(Patient.ssn).where(Patient.id == 3))
        ),
        [2, 3],
        [1],
    ),
    "DISTINCT": (select(Claim.ssn).distinct(), [1, 2], []),
    "DISTINCT, of a UNION": (
        select(Claim.ssn).where(Claim.id < 3).distinct().union(select(Claim.ssn.label("other"))),
        [1, 2],
        [],
    ),
    "GROUP BY": (select(Claim.ssn).group_by(Claim.ssn).having(func.count() > 1), [1], [2, 3]),
    "GROUP BY another column too": (
        select(Claim.ssn).group_by(Claim.ssn, Claim.amount).having(func.sum(Claim.amount) > 20),
        [2],
        [],
    ),
}


@pytest.mark.parametrize("name", IN_A_QUERY)
def test_a_value_is_in_a_query_that_unites_or_groups_values(clinic, name):
    """As with a plain column: a NULL of the query makes NOT IN unknown."""
    query, found, others = IN_A_QUERY[name]
    assert ids(clinic, select(Patient.id).where(Patient.ssn.in_(query))) == found
    assert ids(clinic, select(Patient.id).where(~Patient.ssn.in_(query))) == others


def test_an_index_asked_for_by_name_is_in_a_union_of_such(sqlite_clinic):
    ends = Claim.ssn.blind()
    query = select(ends).where(Claim.id == 1).union(select(ends).where(Claim.id == 3))
    asked = Patient.ssn.blind()
    for found, expected in ((asked.in_(query), [1, 2]), (asked.not_in(query), [3])):
        assert ids(sqlite_clinic, select(Patient.id).where(found)) == expected


def test_a_list_may_have_columns_and_values(clinic):
    """As with a plain column: a NULL among them makes NOT IN unknown."""
    pairs = select(Patient.id, Claim.id).where(Claim.id.in_([3, 5]))
    listed: Any
    for listed in ([Claim.ssn, "ssn-3"], ("ssn-3", Claim.ssn), {Claim.ssn, "ssn-3"}):
        assert rows(clinic, pairs.where(Patient.ssn.in_(listed))) == [(2, 3), (3, 3), (3, 5)]
        assert rows(clinic, pairs.where(Patient.ssn.not_in(listed))) == [(1, 3)]
        assert rows(clinic, pairs.where(~Patient.ssn.in_(listed))) == [(1, 3)]
    assert rows(clinic, pairs.where(Patient.ssn.in_([Claim.ssn]))) == [(2, 3)]


def test_insert_is_no_join(sqlite_clinic):
    """The copy of a ciphertext stays refused, whatever is indexed."""
    source = select(patient.c.id + 100, patient.c.ssn)
    with sqlite_clinic.begin() as connection, pytest.raises(CiphertextCopyError):
        connection.execute(insert(claim).from_select(["id", "ssn"], source))
