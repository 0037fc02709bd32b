"""A filter that an execution may lack: one bind is compared, and asked whether it is NULL."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import (
    String,
    TypeDecorator,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
    with_loader_criteria,
)

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from encfields.testing import assert_absent
from tests.database import CANARY, Database
from tests.index.clinic import sent

Condition = Callable[[Any, Any], Any]


class Base(DeclarativeBase):
    pass


class Trimmed(TypeDecorator[str]):
    """Keeps no empty text."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value or None


class Twin(Base):
    """One value in two columns, the second one encrypted."""

    __tablename__ = "twin"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[int]
    plain: Mapped[str | None] = mapped_column(String(20))
    secret: Mapped[str | None] = mapped_column(EncryptedType(String(20), index=BlindIndex()))
    trimmed: Mapped[str | None] = mapped_column(EncryptedType(Trimmed, index=BlindIndex()))
    of_tenant: Mapped[str | None] = mapped_column(
        EncryptedType(String(20), key="tenant/{tenant}", index=BlindIndex())
    )


def _fill(db: Database) -> None:
    values = ["a", "b", None, "a"]
    with db.session() as session:
        for n, value in enumerate(values, start=1):
            in_all = {"secret": value, "trimmed": value, "of_tenant": value}
            session.add(Twin(id=n, tenant=1 + n // 4, plain=value, **in_all))
        session.commit()


@pytest.fixture
def twins(shared_tables: None, db: Database) -> Database:
    db.share(Base.metadata, ("tenant/1", "tenant/2"), fill=_fill)
    return db


@pytest.fixture
def sqlite_twins(shared_tables: None, sqlite_db: Database) -> Database:
    sqlite_db.share(Base.metadata, ("tenant/1", "tenant/2"), fill=_fill)
    return sqlite_db


OPTIONAL: dict[str, Condition] = {
    "IS NULL first": lambda c, q: or_(q.is_(None), c == q),
    "IS NULL last": lambda c, q: or_(c == q, q.is_(None)),
    "compared with None": lambda c, q: or_(q == None, q == c),  # noqa: E711
    "IS NOT NULL": lambda c, q: or_(c == q, and_(q.is_not(None), c != q), Twin.id == 3),
    "negated": lambda c, q: ~and_(q.is_not(None), c != q),
    "asked twice": lambda c, q: and_(or_(q.is_(None), c == q), or_(q.is_(None), c != "z")),
    "cast": lambda c, q: or_(cast(q, String(20)).is_(None), c == q),
    "in a list of columns": lambda c, q: or_(q.is_(None), q.in_([c, c])),
    "in a row": lambda c, q: or_(q.is_(None), tuple_(Twin.tenant, c) == tuple_(1, q), c == q),
    "told apart": lambda c, q: or_(c.is_not_distinct_from(q), q.is_(None)),
    "in a CASE": lambda c, q: case((q.is_(None), True), (c == q, True), else_=False),
    "in a subquery": lambda c, q: or_(
        q.is_(None), Twin.id.in_(select(Twin.id).where(c == q).correlate(None))
    ),
}


def _found(session: Any, condition: Any, q: str | None) -> list[int]:
    return sorted(session.scalars(select(Twin.id).where(condition), {"q": q}))


@pytest.mark.parametrize("name", OPTIONAL)
def test_it_is_answered_as_of_a_plain_column(twins: Database, name: str) -> None:
    condition = OPTIONAL[name]
    typed: Any = bindparam("q", type_=String)
    with twins.session() as session:
        for q in ("a", None, "z", None):
            expected = _found(session, condition(Twin.plain, typed), q)
            assert _found(session, condition(Twin.secret, bindparam("q")), q) == expected
            assert _found(session, condition(Twin.secret, typed), q) == expected


def test_the_value_is_sent_nowhere(sqlite_twins: Database) -> None:
    for name, condition in OPTIONAL.items():
        given: Any = bindparam("q")
        with sent(sqlite_twins), sqlite_twins.session() as session:
            _found(session, condition(Twin.secret, given), CANARY)
        own = literal(CANARY)
        if name not in ("negated", "IS NOT NULL"):
            with sent(sqlite_twins), sqlite_twins.session() as session:
                assert _found(session, condition(Twin.secret, own), None) == []


def test_rows_are_changed_and_deleted_by_it(twins: Database) -> None:
    q: Any = bindparam("q")
    optional = or_(q.is_(None), Twin.secret == q)
    with twins.session() as session:
        kept = session.get_one(Twin, 2)
        for value, count in (("b", 1), ("z", 0), (None, 4)):
            renamed = update(Twin).where(optional).values(plain=value)
            changed: Any = session.execute(renamed, {"q": value})
            assert changed.rowcount == count
        assert kept.plain is None
        table: Any = Twin.__table__
        given: Any = bindparam("q", "a")
        gone = delete(table).where(or_(given.is_(None), table.c.secret == given))
        deleted: Any = session.execute(gone)
        assert deleted.rowcount == 2


def test_a_value_in_the_statement_is_that_of_its_execution(sqlite_twins: Database) -> None:
    """SQLAlchemy keeps the compiled statement of the first."""
    every = [1, 2, 3, 4]
    with sqlite_twins.session() as session:
        for value, expected in ((None, every), ("b", [2]), (None, every), ("a", [1, 4])):
            q: Any
            for q in (
                bindparam("q", value),
                bindparam("q", callable_=partial(str.lower, value) if value else lambda: None),
                literal(value, String),
            ):
                statement = select(Twin.id).where(or_(q.is_(None), Twin.secret == q))
                assert sorted(session.scalars(statement)) == expected


def test_what_its_type_stores_as_null_is_null(sqlite_twins: Database) -> None:
    q: Any = bindparam("q")
    with sqlite_twins.session() as session:
        for value, expected in (("", [1, 2, 3, 4]), ("a", [1, 4]), (None, [1, 2, 3, 4])):
            assert _found(session, or_(q.is_(None), Twin.trimmed == q), value) == expected


def test_no_tenant_is_no_lack_of_a_filter(sqlite_twins: Database) -> None:
    t: Any = bindparam("t")
    q: Any = bindparam("q")
    beside = or_(q.is_(None), and_(Twin.tenant == t, Twin.of_tenant == q))
    within = and_(Twin.tenant == t, or_(q.is_(None), Twin.of_tenant == q))
    with sqlite_twins.session() as session:
        for tenant, value, found, found_within in (
            (1, "a", [1], [1]),
            (2, "a", [4], [4]),
            (None, "a", [], []),
            (2, None, [1, 2, 3, 4], [4]),
        ):
            given = {"t": tenant, "q": value}
            for condition, expected in ((beside, found), (within, found_within)):
                asked = select(Twin.id).where(condition)
                assert sorted(session.scalars(asked, given)) == expected


def test_any_other_use_of_the_bind_says_what_to_do(sqlite_twins: Database) -> None:
    q: Any = bindparam("q")
    with sqlite_twins.statements() as seen, sqlite_twins.session() as session:
        for other in (func.coalesce(q, "x") == "x", Twin.plain == q, q.in_([None])):
            with pytest.raises(UnsupportedOperationError, match=r"IS NULL") as caught:
                _found(session, or_(q.is_(None), other, Twin.secret == q), CANARY)
            assert_absent(CANARY, caught.value)
    assert seen == []


def test_a_criterion_in_places_of_several_tenants_says_to_name_one(sqlite_twins: Database) -> None:
    among = select(Twin.id).where(Twin.tenant == 2).correlate(None)
    asked = (
        select(Twin.id)
        .where(Twin.tenant == 1, Twin.id.not_in(among))
        .options(with_loader_criteria(Twin, Twin.of_tenant == bindparam("q")))
    )
    with (
        sqlite_twins.session() as session,
        pytest.raises(UnsupportedOperationError, match=r"name one tenant.*and_\(tenant == "),
    ):
        session.scalars(asked, {"q": "a"}).all()
