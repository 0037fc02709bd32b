"""PostgreSQL's DISTINCT ON: by hashes it is answered, by ciphertext refused, however spelt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Select, literal_column, select, text
from sqlalchemy.dialects import postgresql

from encfields.errors import UnsupportedOperationError
from tests.database import Database
from tests.index.clinic import Base, Claim, fill

hashed: Any = Claim.ssn.blind()
labelled = hashed.label("hashed")


def distinct_on(statement: Any, *clauses: Any) -> Any:
    """As SQLAlchemy 2.1 would have it, or as 2.0 has it."""
    if not hasattr(postgresql, "distinct_on"):
        return statement.distinct(*clauses)
    return statement.ext(postgresql.distinct_on(*clauses))


@pytest.fixture
def claims(shared_tables: None, postgresql_db: Database) -> Database:
    postgresql_db.share(Base.metadata, fill=fill)
    return postgresql_db


BY_HASHES: dict[str, Select[Any]] = {
    "as it is": distinct_on(select(Claim.id), hashed).order_by(hashed, Claim.id),
    "labelled": distinct_on(select(Claim.id, labelled), labelled).order_by(labelled, Claim.id),
    "by its name": distinct_on(select(Claim.id, labelled), "hashed").order_by("hashed", Claim.id),
    "its column": distinct_on(select(Claim.id), Claim.__table__.c.ssn_bidx).order_by(
        Claim.__table__.c.ssn_bidx.desc(), Claim.id
    ),
}


@pytest.mark.parametrize("name", BY_HASHES)
def test_one_row_for_each_hash(claims: Database, name: str) -> None:
    with claims.session() as session:
        assert sorted(session.scalars(BY_HASHES[name])) == [1, 3, 4, 5]


def test_values_of_one_row_for_each_of_another_column(claims: Database) -> None:
    with claims.session() as session:
        asked = distinct_on(select(Claim.ssn), Claim.amount).order_by(Claim.amount)
        assert session.scalars(asked).all() == ["ssn-1", "ssn-1", "ssn-2", "ssn-9", None]


BY_CIPHERTEXT: dict[str, Callable[[], Select[Any]]] = {
    "the column": lambda: distinct_on(select(Claim.id), Claim.ssn),
    "its name": lambda: distinct_on(select(Claim.id, Claim.ssn), "ssn"),
    "raw SQL": lambda: distinct_on(select(Claim.id), text("ssn")),
    "a raw name": lambda: distinct_on(select(Claim.id), literal_column("claim.ssn")),
    "the second of two": lambda: distinct_on(
        distinct_on(select(Claim.id), Claim.amount), literal_column("ssn")
    ),
}


@pytest.mark.parametrize("name", BY_CIPHERTEXT)
def test_one_row_for_each_ciphertext_is_refused(claims: Database, name: str) -> None:
    with claims.session() as session, claims.statements() as seen:
        with pytest.raises(UnsupportedOperationError, match=r"claim\.ssn: "):
            session.execute(BY_CIPHERTEXT[name]())
        assert seen == []
