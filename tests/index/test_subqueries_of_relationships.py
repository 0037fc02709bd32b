"""A query that joins along relationships answers the same within a subquery as on a plain column.

SQLAlchemy makes the joins of a query that is executed before they are looked at, and those of a
subquery later: there a relationship is still in the place of its ON. ``with_only_columns()`` keeps
what was selected before, for the sake of the joins alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    ForeignKey,
    Integer,
    String,
    and_,
    func,
    literal,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.orm import aliased, declarative_base, mapped_column, relationship

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.database import Database


class Twin:
    """Companies and who works for them; plaintext or encrypted."""

    def __init__(self, prefix: str, secret: Callable[[], Any]) -> None:
        base: Any = declarative_base()
        self.metadata = base.metadata

        class Company(base):  # type: ignore[misc]
            __tablename__ = f"{prefix}_company"
            id = mapped_column(Integer, primary_key=True, autoincrement=False)
            name = mapped_column(secret())
            staff = relationship("Person", back_populates="company")
            namesakes = relationship(
                "Person", primaryjoin="foreign(Person.name) == Company.name", viewonly=True
            )

        class Person(base):  # type: ignore[misc]
            __tablename__ = f"{prefix}_person"
            id = mapped_column(Integer, primary_key=True, autoincrement=False)
            company_id = mapped_column(ForeignKey(Company.id))
            company = relationship(Company, back_populates="staff")
            name = mapped_column(secret())

        self.Company, self.Person = Company, Person

    def fill(self, db: Database) -> None:
        db.create(self.metadata)
        with db.session() as session:
            session.add_all(self.Company(id=n, name=name) for n, name in ((1, "Ada"), (2, "Bee")))
            session.flush()
            people = ((1, 1, "Ada"), (2, 1, "Cy"), (3, 2, "Ada"), (4, 2, None))
            session.add_all(self.Person(id=n, company_id=c, name=name) for n, c, name in people)
            session.commit()


def _columns(company: Any, person: Any) -> Any:
    return select(company.id.label("company"), person.id.label("person"), person.name.label("name"))


def _of_an_alias(t: Twin) -> Any:
    company, person = aliased(t.Company), aliased(t.Person)
    return _columns(company, person).join(person, company.staff).where(person.name == "Ada")


def _to_an_alias(t: Twin) -> Any:
    person = aliased(t.Person)
    return _columns(t.Company, person).join(person, t.Company.staff).where(person.name == "Ada")


def _of_type(t: Twin) -> Any:
    person = aliased(t.Person)
    return _columns(t.Company, person).join(t.Company.staff.of_type(person))


def _with_a_condition(t: Twin) -> Any:
    on = t.Company.staff.and_(t.Person.name == "Ada")
    return _columns(t.Company, t.Person).outerjoin(on)


def _by_an_index(t: Twin) -> Any:
    person = aliased(t.Person)
    return _columns(t.Company, person).join(person, t.Company.namesakes)


def _to_a_row_of_one(t: Twin) -> Any:
    company = aliased(t.Company)
    return _columns(company, t.Person).join(company, t.Person.company).where(company.name == "Bee")


def _by_hand(t: Twin) -> Any:
    person = aliased(t.Person)
    on = and_(person.company_id == t.Company.id, person.name == "Ada")
    return _columns(t.Company, person).join(person, on)


JOINED: dict[str, Callable[[Twin], Any]] = {
    "of an alias": _of_an_alias,
    "to an alias": _to_an_alias,
    "of_type": _of_type,
    "and_": _with_a_condition,
    "by an index": _by_an_index,
    "many to one": _to_a_row_of_one,
    "by hand": _by_hand,
}


def _others(joined: Any, *columns: Any) -> Any:
    return joined.with_only_columns(*columns, maintain_column_froms=True)


def _filtered_again(joined: Any) -> Any:
    inner = joined.subquery()
    return select(inner.c.person, inner.c.name).where(inner.c.name == "Ada")


def _of_a_cte(joined: Any) -> Any:
    inner = joined.cte()
    return select(inner.c.name, inner.c.person, inner.c.company)


FORMS: dict[str, Callable[[Twin, Any], Any]] = {
    "executed": lambda t, joined: joined,
    "count": lambda t, joined: select(func.count()).select_from(joined.subquery()),
    "subquery": lambda t, joined: select(joined.subquery()),
    "filtered again": lambda t, joined: _filtered_again(joined),
    "CTE": lambda t, joined: _of_a_cte(joined),
    "EXISTS": lambda t, joined: select(t.Company.id).where(joined.exists()),
    "other columns": lambda t, joined: _others(joined, func.count()),
    "UNION": lambda t, joined: union_all(_others(joined, literal(1)), select(literal(2))),
    "IN": lambda t, joined: select(t.Company.id, t.Company.name).where(
        t.Company.id.in_(_others(joined, joined.selected_columns.company))
    ),
    "scalar": lambda t, joined: select(
        t.Company.id, _others(joined, func.count()).scalar_subquery()
    ),
}


@pytest.fixture
def twins(db: Database) -> tuple[Database, Twin, Twin]:
    plain = Twin("plain", lambda: String(20))
    secret = Twin("secret", lambda: EncryptedType(String(20), index=BlindIndex(domain="name")))
    plain.fill(db)
    secret.fill(db)
    return db, plain, secret


@pytest.mark.parametrize("joined", JOINED)
def test_joins_along_relationships_are_answered_in_every_place(twins, joined):
    db, plain, secret = twins
    for name, form in FORMS.items():
        expected, found = (_rows(db, form(twin, JOINED[joined](twin))) for twin in (plain, secret))
        assert found == expected, name
        assert expected, name


def _rows(db: Database, statement: Any) -> list[str]:
    with db.session() as session:
        return sorted(str(tuple(row)) for row in session.execute(statement))


def test_a_query_joined_along_a_relationship_is_counted(twins):
    db, *both = twins
    counts = []
    for twin in both:
        person = aliased(twin.Person)
        with db.session() as session:
            query = session.query(twin.Company).join(person, twin.Company.staff)
            counts.append((query.count(), query.filter(person.name == "Ada").count()))
    assert counts == [(4, 2), (4, 2)]


def test_raw_sql_in_the_on_of_a_subquery_is_refused(twins):
    db, _, secret = twins
    raw = and_(secret.Person.company_id == secret.Company.id, literal_column("name") > "B")
    chosen = _columns(secret.Company, secret.Person)
    compared = chosen.join_from(secret.Company, secret.Person, raw)
    for statement in (
        select(func.count()).select_from(compared.subquery()),
        _others(compared, func.count()),
        union_all(_others(compared, literal(1)), select(literal(2))),
    ):
        with pytest.raises(UnsupportedOperationError, match="name"):
            _rows(db, statement)
