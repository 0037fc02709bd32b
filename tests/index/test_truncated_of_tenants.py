"""A truncated index under tenants' keys is asked for several tenants at once."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Integer, String, Uuid, and_, bindparam, func, or_, select
from sqlalchemy.orm import aliased, declarative_base, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.database import Database

KEY = "tenant/{tenant}"
KINDS: dict[str, tuple[Any, list[Any]]] = {
    "integers": (Integer, [1, 2, 3]),
    "UUIDs": (Uuid, [uuid.UUID(int=number) for number in (1, 2, 3)]),
}
VALUES = [f"value {number}" for number in range(12)]
X, Y = VALUES[3], VALUES[8]

ASKED: dict[str, Any] = {
    "a list of tenants": lambda m, c, t: and_(m.tenant.in_(t[:2]), c == X),
    "a list of each": lambda m, c, t: and_(m.tenant.in_(t[:2]), c.in_([X, Y])),
    "all tenants": lambda m, c, t: and_(m.tenant.in_(t), c == X),
    "a value for each": lambda m, c, t: or_(
        and_(m.tenant == t[0], c == X), and_(m.tenant == t[1], c == Y)
    ),
    "the tenant last": lambda m, c, t: or_(
        and_(c == X, m.tenant == t[0]), and_(c == Y, t[1] == m.tenant)
    ),
    "either value": lambda m, c, t: or_(
        and_(m.tenant == t[0], or_(c == X, c == Y)), and_(m.tenant == t[2], c == X)
    ),
    "or NULL": lambda m, c, t: and_(m.tenant.in_(t[:2]), or_(c == X, c.is_(None))),
    "no such value": lambda m, c, t: and_(m.tenant.in_(t), c == "none"),
    "a column beside": lambda m, c, t: and_(m.tenant.in_(t), c == X, m.id > 20),
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def tenants(request: pytest.FixtureRequest, db: Database) -> tuple[Any, list[Any]]:
    """A model with each value in each tenant, many of which share the four bits of a hash."""
    base: Any = declarative_base()
    kind, tenants = request.param

    class Row(base):  # type: ignore[misc]
        __tablename__ = "truncated_row"
        id = mapped_column(Integer, primary_key=True)
        tenant = mapped_column(kind, nullable=False)
        plain = mapped_column(String(20))
        sealed = mapped_column(EncryptedType(String(20), key=KEY, index=BlindIndex(bits=4)))

    db.create(base.metadata)
    for tenant in tenants:
        db.create_key(f"tenant/{tenant}")
    with db.session() as session:
        pairs = [(tenant, value) for tenant in tenants for value in [*VALUES, None]]
        session.add_all(
            Row(id=key, tenant=tenant, plain=value, sealed=value)
            for key, (tenant, value) in enumerate(pairs, start=1)
        )
        session.commit()
    return Row, tenants


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_it_finds_in_each_tenant_what_a_plaintext_column_finds(db, tenants, asked):
    row, known = tenants
    with db.session() as session:
        for model in (row, aliased(row)):
            found = [
                [one.id for one in session.scalars(select(model).where(condition).order_by("id"))]
                for condition in (asked(model, c, known) for c in (model.plain, model.sealed))
            ]
            assert found[0] == found[1]
            columns = select(model.id, model.sealed).where(asked(model, model.sealed, known))
            assert sorted(one.id for one in session.execute(columns)) == found[0]


def test_each_execution_has_its_own_tenants_and_values(db, tenants):
    row, known = tenants
    given: list[Any] = [(bindparam(f"t{n}"), bindparam(f"v{n}")) for n in range(2)]
    statement = select(row).where(
        or_(*(and_(row.tenant == tenant, row.sealed == value) for tenant, value in given))
    )
    with db.session() as session:
        for first, second in ((X, Y), (Y, X), (X, X), (None, Y)):
            for one, other in (
                (known[0], known[1]),
                (known[2], known[0]),
                (known[1], known[1]),
                (None, known[2]),
            ):
                values = {"t0": one, "v0": first, "t1": other, "v1": second}
                found = session.scalars(statement, values).all()
                expected = {(one, first), (other, second)} - {(one, None), (None, first)}
                assert {(each.tenant, each.plain) for each in found} == expected


def test_with_a_condition_that_the_rows_do_not_tell_it_is_refused(db, tenants):
    row, known = tenants
    each = [and_(row.tenant == tenant, row.sealed == X, row.id > 3) for tenant in known[:2]]
    with db.session() as session, pytest.raises(UnsupportedOperationError, match="look alike"):
        session.scalars(select(row).where(or_(*each))).all()


@pytest.mark.parametrize("hides", ["limit", "count", "unselected"])
def test_where_rows_cannot_be_left_out_it_is_refused(db, tenants, hides):
    row, known = tenants
    asked = and_(row.tenant.in_(known), row.sealed == X)
    statement = {
        "limit": select(row).where(asked).limit(1),
        "count": select(func.count()).select_from(row).where(asked),
        "unselected": select(row.id).where(asked),
    }[hides]
    with db.session() as session, pytest.raises(UnsupportedOperationError, match="look alike"):
        session.execute(statement).all()
