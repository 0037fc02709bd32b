"""An index under a key of each tenant's own is asked where the statement tells the tenant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Integer,
    String,
    UniqueConstraint,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    lambda_stmt,
    literal,
    not_,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    with_loader_criteria,
)

from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import KeyNotFoundError, UnreadableError, UnsupportedOperationError
from encfields.index.transforms import last
from tests.database import CANARY, Database
from tests.index.clinic import ids, sent

KEY = "tenant/{tenant_id}"


class Base(DeclarativeBase):
    pass


class Member(Base):
    __tablename__ = "member"
    __table_args__ = (UniqueConstraint("tenant_id", "ssn"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant_id: Mapped[int]
    name: Mapped[str | None] = mapped_column(String(20))
    ssn: Mapped[str | None] = mapped_column(
        EncryptedType(String(20), key=KEY, index=[BlindIndex(), BlindIndex(last(1), bits=8)])
    )
    cards: Mapped[list[Card]] = relationship(
        primaryjoin="foreign(Card.member_id) == Member.id", order_by="Card.id", viewonly=True
    )


class Card(Base):
    __tablename__ = "card"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    member_id: Mapped[int]
    tenant_id: Mapped[int]
    number: Mapped[str | None] = mapped_column(
        EncryptedType(String(20), key=KEY, index=BlindIndex())
    )
    member: Mapped[Member | None] = relationship(
        primaryjoin="foreign(Card.member_id) == Member.id", viewonly=True
    )


member: Any = Member.__table__


@pytest.fixture
def club(shared_tables: None, db: Database) -> Database:
    """Members 1 to 3 of tenant 1 and 11 to 13 of tenant 2, whose numbers are the same."""
    db.share(Base.metadata, ("tenant/1", "tenant/2"), fill=_fill)
    return db


@pytest.fixture
def sqlite_club(shared_tables: None, sqlite_db: Database) -> Database:
    sqlite_db.share(Base.metadata, ("tenant/1", "tenant/2"), fill=_fill)
    return sqlite_db


def _fill(db: Database) -> None:
    with db.session() as session:
        for tenant, first in ((1, 1), (2, 11)):
            for n in range(3):
                session.add(Member(id=first + n, tenant_id=tenant, ssn=f"ssn-{n}", name=f"n-{n}"))
                session.add(
                    Card(id=first + n, tenant_id=tenant, member_id=first + n, number=f"card-{n}")
                )
        session.commit()


def test_one_value_of_two_tenants_has_two_hashes(club):
    with club.plain.connect() as connection:
        hashes = connection.exec_driver_sql("SELECT ssn_bidx FROM member ORDER BY id").scalars()
        stored = [bytes(one) for one in hashes]
    assert len(set(stored)) == 6


def test_the_same_value_twice_is_refused_within_a_tenant_only(club):
    with club.session() as session:
        session.add(Member(id=20, tenant_id=2, ssn="ssn-9"))
        session.commit()
        session.add(Member(id=21, tenant_id=1, ssn="ssn-9"))
        session.commit()
        session.add(Member(id=22, tenant_id=1, ssn="ssn-9"))
        with pytest.raises(IntegrityError):
            session.commit()


other: Any = aliased(Member)
one = Member.tenant_id == 1
tenant_2 = Member.tenant_id == 2
ssn = Member.ssn == "ssn-1"
carried: Any = select(
    Member.id, Member.tenant_id, Member.ssn, Member.ssn.blind().label("k")
).subquery()

copy: Any = member.alias("copy")
of_copies: Any = (
    select(Member.tenant_id, copy.c.tenant_id.label("theirs"), copy.c.id, copy.c.ssn)
    .join(copy, Member.name == copy.c.name)
    .where(one)
    .subquery()
)
set_equal: Any = (
    select(Card.tenant_id.label("theirs"), Member.id, Member.tenant_id, Member.ssn)
    .join(Card, and_(Card.member_id == Member.id, Card.tenant_id == Member.tenant_id))
    .subquery()
)

inside: Any = select(Member.id, Member.tenant_id, Member.ssn).where(tenant_2).subquery()
inside_cte: Any = (
    select(Member.id.label("key"), Member.tenant_id, Member.ssn).where(tenant_2).cte("members")
)


def _of_copies_in_a_lambda(number: str) -> Any:
    """SQLAlchemy copies the alias in its FROM, because `number` is a parameter."""
    return lambda_stmt(lambda: select(copy).where(copy.c.tenant_id == 2, copy.c.ssn == number))


def _with_number_of_copy(number: str) -> Callable[[Any], Any]:
    return lambda statement: statement.where(copy.c.ssn == number)


PINNED: dict[str, tuple[Callable[[], Any], list[int]]] = {
    "where": (lambda: select(Member.id).where(Member.tenant_id == 2, ssn), [12]),
    "value first": (lambda: select(Member.id).where(literal(2) == Member.tenant_id, ssn), [12]),
    "and": (lambda: select(Member.id).where(and_(one, and_(ssn, Member.id > 0))), [2]),
    "in": (
        lambda: select(Member.id).where(one, Member.ssn.in_(["ssn-0", "ssn-2", "ssn-8"])),
        [1, 3],
    ),
    "!=": (lambda: select(Member.id).where(one, Member.ssn != "ssn-1"), [1, 3]),
    "not in": (lambda: select(Member.id).where(one, Member.ssn.not_in(["ssn-1"])), [1, 3]),
    "or beside it": (lambda: select(Member.id).where(one, or_(ssn, Member.id == 3)), [2, 3]),
    "case": (lambda: select(Member.id).where(one, case((ssn, 1), else_=0) == 1), [2]),
    "filter_by": (lambda: select(Member.id).filter_by(tenant_id=2, ssn="ssn-1"), [12]),
    "unknown tenant's NULL": (
        lambda: select(Member.id).where(Member.tenant_id == bindparam("t", None, Integer), ssn),
        [],
    ),
    "alias": (lambda: select(other.id).where(other.tenant_id == 2, other.ssn == "ssn-1"), [12]),
    "each alias": (
        lambda: (
            select(other.id)
            .join(Member, Member.name == other.name)
            .where(one, ssn, other.tenant_id == 2, other.ssn == "ssn-1")
        ),
        [12],
    ),
    "enclosing select": (
        lambda: select(Member.id).where(one, select(Card.id).where(ssn).correlate(Member).exists()),
        [2],
    ),
    "enclosing select of a relationship": (
        lambda: select(Member.id).where(Member.cards.any(and_(Card.tenant_id == 2, ssn)), tenant_2),
        [12],
    ),
    "inside any()": (
        lambda: select(Member.id).where(
            Member.cards.any(and_(Card.tenant_id == 2, Card.number == "card-1"))
        ),
        [12],
    ),
    "inside exists": (
        lambda: select(Card.id).where(
            exists().where(Member.id == Card.member_id, Member.tenant_id == 2, ssn)
        ),
        [12],
    ),
    "inside a subquery": (
        lambda: select(Card.id).where(Card.member_id.in_(select(Member.id).where(one, ssn))),
        [2],
    ),
    "inner join's ON": (
        lambda: (
            select(Card.id)
            .join(Member, and_(Member.id == Card.member_id, Member.tenant_id == 2))
            .where(ssn)
        ),
        [12],
    ),
    "ON, left of an outer join": (
        lambda: (
            select(Card.id)
            .join(Member, and_(Member.id == Card.member_id, Member.tenant_id == 2))
            .outerjoin(other, other.id == Member.id)
            .where(ssn)
        ),
        [12],
    ),
    "where, of a comparison in ON": (
        lambda: (
            select(Card.id)
            .join(Member, and_(Member.id == Card.member_id, ssn))
            .where(Member.tenant_id == 2)
        ),
        [12],
    ),
    "where, of an outer join's ON": (
        lambda: (
            select(Card.id)
            .outerjoin(Member, and_(Member.id == Card.member_id, ssn))
            .where(Member.tenant_id == 2)
        ),
        [12],
    ),
    "outer join's ON, beside it": (
        lambda: (
            select(Member.id)
            .outerjoin(
                other, and_(other.id == Member.id, other.tenant_id == 2, other.ssn == "ssn-1")
            )
            .where(other.id != None)  # noqa: E711
        ),
        [12],
    ),
    "or of both": (
        lambda: select(Member.id).where(or_(and_(one, ssn), and_(tenant_2, Member.ssn != "ssn-1"))),
        [2, 11, 13],
    ),
    "case, of both": (
        lambda: select(Member.id).where(case((and_(tenant_2, ssn), 1), else_=0) == 1),
        [12],
    ),
    "not of both": (lambda: select(Member.id).where(~and_(tenant_2, ssn), tenant_2), [11, 13]),
    "loader criteria": (
        lambda: (
            select(Member.id)
            .where(ssn)
            .options(with_loader_criteria(Member, Member.tenant_id == 2))
        ),
        [12],
    ),
    "loader criteria of both, of several tenants": (
        lambda: select(Member.id).options(
            with_loader_criteria(Member, and_(Member.tenant_id.in_([1, 2]), ssn))
        ),
        [2, 12],
    ),
    "loader criteria of both, in two places, beside a tenant in one": (
        lambda: (
            select(Member.id)
            .where(tenant_2, exists().where(other.id == Member.id))
            .options(
                with_loader_criteria(Member, and_(Member.tenant_id == 2, ssn), include_aliases=True)
            )
        ),
        [12],
    ),
    "scalar subquery's own": (
        lambda: select(Card.id).where(
            Card.id == 1,
            select(Member.ssn).where(Member.id == 12, Member.tenant_id == 2).scalar_subquery()
            == "ssn-1",
        ),
        [1],
    ),
    "another table's, which it equals": (
        lambda: (
            select(Member.id)
            .join(Card, and_(Card.member_id == Member.id, Card.tenant_id == Member.tenant_id))
            .where(Card.tenant_id == 2, ssn)
        ),
        [12],
    ),
    "another table's, by way of a third": (
        lambda: (
            select(Member.id)
            .join(other, other.tenant_id == Member.tenant_id)
            .join(Card, and_(Card.tenant_id == other.tenant_id, Card.member_id == other.id))
            .where(Card.tenant_id.in_([2]), other.id == 11, ssn)
        ),
        [12],
    ),
    "outside of exists, which it equals": (
        lambda: select(Card.id).where(
            Card.tenant_id == 2,
            exists().where(Member.id == Card.member_id, Member.tenant_id == Card.tenant_id, ssn),
        ),
        [12],
    ),
    "beside exists in an AND, which it equals": (
        lambda: select(Card.id).where(
            or_(
                Card.id == 0,
                and_(
                    Card.tenant_id == 2,
                    exists().where(
                        Member.id == Card.member_id, Member.tenant_id == Card.tenant_id, ssn
                    ),
                ),
            )
        ),
        [12],
    ),
    "counted": (lambda: select(func.count()).select_from(Member).where(one, ssn), [1]),
    "the subquery that it is selected from": (
        lambda: select(inside.c.id).where(inside.c.ssn == "ssn-1"),
        [12],
    ),
    "the CTE of a subquery": (
        lambda: select(
            (
                outside := select(
                    inside_cte.c.key, inside_cte.c.ssn, inside_cte.c.tenant_id
                ).subquery()
            ).c.key
        ).where(literal("ssn-1") == outside.c.ssn),
        [12],
    ),
    "rows": (
        lambda: select(Member.id).where(
            tuple_(Member.tenant_id, Member.ssn).in_([(1, "ssn-1"), (2, "ssn-2")])
        ),
        [2, 13],
    ),
    "not among rows": (
        lambda: select(Member.id).where(
            tuple_(Member.tenant_id, Member.ssn).not_in([(1, "ssn-1"), (2, "ssn-2")])
        ),
        [1, 3, 11, 12],
    ),
    "what the subquery sets it equal to": (
        lambda: select(set_equal.c.id).where(set_equal.c.theirs == 2, set_equal.c.ssn == "ssn-1"),
        [12],
    ),
    "an alias beside its table": (
        lambda: select(of_copies.c.id).where(of_copies.c.theirs == 2, of_copies.c.ssn == "ssn-1"),
        [12],
    ),
    "an alias of the table in a lambda": (lambda: _of_copies_in_a_lambda("ssn-1"), [12]),
    "an alias of the table in a lambda's parts": (
        lambda: (
            lambda_stmt(lambda: select(copy).where(copy.c.tenant_id == 2))
            + _with_number_of_copy("ssn-1")
        ),
        [12],
    ),
    "a subquery that carries the index": (
        lambda: select(carried.c.id).where(carried.c.tenant_id == 2, carried.c.ssn == "ssn-1"),
        [12],
    ),
}


def test_where_the_tenant_is_known_its_rows_are_found(club):
    found = {name: ids(club, make()) for name, (make, _) in PINNED.items()}
    assert found == {name: expected for name, (_, expected) in PINNED.items()}


def test_one_statement_asks_for_each_tenant(club):
    statement = select(Member.id).where(Member.tenant_id == bindparam("t"), ssn)
    with club.session() as session:
        for tenant, expected in ((1, 2), (2, 12), (1, 2)):
            assert session.scalars(statement, {"t": tenant}).all() == [expected]
        for tenant, expected in ((1, 2), (2, 12)):
            found = select(Member.id).where(Member.tenant_id == tenant, ssn)
            assert session.scalars(found).all() == [expected]


def test_a_truncated_index_is_judged_within_its_tenant(club):
    with club.session() as session:
        for tenant, expected in ((1, 2), (2, 12)):
            found = select(Member).where(
                Member.tenant_id == tenant, Member.ssn.blind("last1") == "1"
            )
            assert [m.id for m in session.scalars(found)] == [expected]


def test_update_and_delete_know_the_tenant(club):
    with club.session() as session:
        done = session.execute(update(Member).where(tenant_2, ssn).values(name="new"))
        assert done.rowcount == 1
        done = session.execute(delete(Member).where(one, Member.ssn.in_(["ssn-0", "ssn-1"])))
        assert done.rowcount == 2
        session.commit()
        names = session.execute(select(Member.id, Member.name).order_by(Member.id))
        assert [tuple(row) for row in names] == [(3, "n-2"), (11, "n-0"), (12, "new"), (13, "n-2")]


def test_many_parameters_are_each_of_their_own_tenant(club):
    statement = (
        update(member)
        .where(member.c.tenant_id == bindparam("t"), member.c.ssn == bindparam("q"))
        .values(name=bindparam("n"))
    )
    with club.begin() as connection:
        connection.execute(
            statement, [{"t": 1, "q": "ssn-1", "n": "a"}, {"t": 2, "q": "ssn-1", "n": "b"}]
        )
        rows = connection.execute(
            select(member.c.id, member.c.name).where(member.c.name.in_(["a", "b"]))
        )
        assert sorted(tuple(row) for row in rows) == [(2, "a"), (12, "b")]


def test_relationships_between_tenants_rows_load(club):
    for load in (selectinload, joinedload):
        found = select(Member).options(load(Member.cards)).where(tenant_2, ssn)
        with club.session() as session:
            assert [c.number for c in session.scalars(found).unique().one().cards] == ["card-1"]


def test_the_database_is_not_told_the_value(club):
    with sent(club):
        ids(club, select(Member.id).where(one, Member.ssn == CANARY))


def test_a_tenant_without_a_key_is_an_error_that_names_the_key(club):
    engine = club.backend.create_engine()
    attach(engine, SqlKeyStore(keyrings.local(bytes(32))))
    with Session(engine) as session, pytest.raises(KeyNotFoundError) as caught:
        session.scalars(select(Member.id).where(Member.tenant_id == 7, ssn)).all()
    assert caught.value.key_id == "tenant/7"
    assert (caught.value.table, caught.value.column) == ("member", "ssn")


UNPINNED: dict[str, Callable[[], Any]] = {
    "another table's, which it need not equal": lambda: (
        select(Member.id).join(Card, Card.member_id == Member.id).where(Card.tenant_id == 2, ssn)
    ),
    "another table's, which it equals or not": lambda: (
        select(Member.id)
        .join(Card, Card.member_id == Member.id)
        .where(Card.tenant_id == 2, or_(Card.tenant_id == Member.tenant_id, Card.id == 2), ssn)
    ),
    "a row of the same table outside": lambda: (
        select(Member.id)
        .join(Card, Card.member_id == Member.id)
        .where(
            Card.tenant_id == 1,
            select(Card.id)
            .where(Card.tenant_id == Member.tenant_id, ssn)
            .correlate(Member)
            .exists(),
        )
    ),
    "a row of the same table inside": lambda: (
        select(Member.id)
        .join(Card, Card.tenant_id == Member.tenant_id)
        .where(select(Card.id).where(Card.tenant_id == 1, ssn).correlate(Member).exists())
    ),
    "exists in an OR, which it equals": lambda: select(Card.id).where(
        or_(
            Card.tenant_id == 1,
            exists().where(Member.tenant_id == Card.tenant_id, ssn),
        )
    ),
    "nowhere": lambda: select(Member.id).where(ssn),
    "another column": lambda: select(Member.id).where(Member.id == 1, ssn),
    "every tenant but": lambda: select(Member.id).where(Member.tenant_id.not_in([2]), ssn),
    "tenants of a query": lambda: select(Member.id).where(
        Member.tenant_id.in_(select(other.tenant_id)), ssn
    ),
    "every other tenant": lambda: select(Member.id).where(Member.tenant_id != 1, ssn),
    "later tenants": lambda: select(Member.id).where(Member.tenant_id > 1, ssn),
    "not": lambda: select(Member.id).where(~(Member.tenant_id != 1).is_(True), ssn),
    "or": lambda: select(Member.id).where(or_(Member.tenant_id == 1, Member.id == 1), ssn),
    "or of both, by one comparison": lambda: select(Member.id).where(
        or_(and_(one, ssn), and_(tenant_2, ssn))
    ),
    "beside one of two uses of the same comparison": lambda: select(Member.id).where(
        or_(and_(tenant_2, ssn), ssn)
    ),
    "beside one of two uses in several clauses": lambda: (
        select(Member.id, ssn.label("found"))
        .outerjoin(Card, and_(tenant_2, ssn))
        .where(Member.id > 0)
    ),
    "beside an or of it": lambda: select(Member.id).where(
        or_(and_(one, Member.id > 0), and_(Member.id == 3, or_(ssn, tenant_2)))
    ),
    "a column": lambda: select(Member.id).where(Member.tenant_id == Member.id, ssn),
    "an expression": lambda: select(Member.id).where(Member.tenant_id == func.abs(1), ssn),
    "the alias": lambda: (
        select(Member.id).join(other, other.id == Member.id).where(other.tenant_id == 1, ssn)
    ),
    "the class, for the alias": lambda: (
        select(Member.id).join(other, other.id == Member.id).where(one, other.ssn == "ssn-1")
    ),
    "outer join's ON": lambda: (
        select(Card.id)
        .outerjoin(Member, and_(Member.id == Card.member_id, Member.tenant_id == 2))
        .where(ssn)
    ),
    "full join's ON": lambda: (
        select(Card.id)
        .join(Member, and_(Member.id == Card.member_id, Member.tenant_id == 2), full=True)
        .where(ssn)
    ),
    "right of an outer join": lambda: (
        select(Card.id)
        .outerjoin(Member, Member.id == Card.member_id)
        .where(Card.tenant_id == 1, ssn)
    ),
    "right of an outer join, where it may be NULL": lambda: (
        select(Card.id)
        .outerjoin(Member, and_(Member.id == Card.member_id, ssn))
        .where(Member.tenant_id.is_not_distinct_from(1))
    ),
    "inside a subquery": lambda: select(Member.id).where(
        Member.id.in_(select(other.id).where(other.tenant_id == 1)), ssn
    ),
    "inside a subquery of the same table": lambda: select(Member.id).where(
        Member.id.in_(select(Member.id).where(one)), ssn
    ),
    "inside exists": lambda: select(Member.id).where(
        exists().where(Card.member_id == Member.id, Card.tenant_id == 1), ssn
    ),
    "outside a subquery with rows of its own": lambda: select(Member.id).where(
        one, Member.id.in_(select(Member.id).where(ssn))
    ),
    "outside a scalar subquery with rows of its own": lambda: select(Member.id).where(
        one, select(Member.ssn).where(Member.id == 12).scalar_subquery() == "ssn-1"
    ),
    "outside a FROM": lambda: select((s := select(Member).where(ssn).subquery()).c.id).where(
        s.c.tenant_id == 1
    ),
    "inside a FROM, of the table beside its alias": lambda: select(of_copies.c.id).where(
        of_copies.c.ssn == "ssn-1"
    ),
    "inside a FROM, under OR": lambda: select(
        (
            s := select(Member.id, Member.tenant_id, Member.ssn.blind().label("k"))
            .where(or_(one, Member.id == 1))
            .subquery()
        ).c.id
    ).where(s.c.k == "ssn-1"),
    "one part of a union": lambda: (
        select(Member.id).where(one, ssn).union_all(select(Member.id).where(ssn))
    ),
    "update": lambda: update(Member).where(ssn).values(name="x"),
    "delete": lambda: delete(Member).where(ssn),
    "having": lambda: (
        select(Member.tenant_id).where(ssn).group_by(Member.tenant_id).having(Member.tenant_id == 1)
    ),
    "the same comparison where it is known and where it is not": lambda: select(Member.id).where(
        one, ssn, Member.id.in_(select(Member.id).where(ssn))
    ),
}


@pytest.mark.parametrize("name", UNPINNED)
def test_where_the_tenant_is_not_known_for_certain_it_is_refused(sqlite_club, name):
    with (
        sqlite_club.refused(UnsupportedOperationError, member) as caught,
        sqlite_club.session() as session,
    ):
        session.execute(UNPINNED[name](), execution_options={"synchronize_session": False})
    assert caught.value.reason == "tenant-unknown"
    assert "add member.tenant_id == ... to the WHERE" in caught.value.message


def _united(*selects: Any) -> Any:
    return union_all(select(Member.id, Member.tenant_id, Member.ssn), *selects).subquery()


def _in_the_tenants_place(column: Any) -> Any:
    return select(Member.id, column.label("tenant_id"), Member.ssn)


TENANTS_OF_A_UNION: dict[str, Any] = {
    "another column": _united(_in_the_tenants_place(Member.id)),
    "a value": _united(_in_the_tenants_place(literal(1))),
    "another column, in a UNION of the UNION": _united(
        union_all(_in_the_tenants_place(Member.id), _in_the_tenants_place(Member.tenant_id))
    ),
    "that of another row": union_all(
        select(Member.id, Member.tenant_id, other.ssn).join(other, other.name == Member.name),
        select(other.id, other.tenant_id, Member.ssn).join(other, other.name == Member.name),
    ).subquery(),
}


@pytest.mark.parametrize("name", TENANTS_OF_A_UNION)
def test_where_a_union_has_something_else_in_the_tenants_place_it_is_refused(sqlite_club, name):
    """Otherwise rows would be missing whose tenant is another one than the WHERE names."""
    united = TENANTS_OF_A_UNION[name]
    asked = select(united.c.id).where(united.c.tenant_id == 1, united.c.ssn == "ssn-1")
    with sqlite_club.engine.connect() as connection, pytest.raises(UnreadableError):
        connection.execute(asked)


def test_a_union_that_has_something_else_in_the_tenants_place_is_read(sqlite_club):
    united = TENANTS_OF_A_UNION["another column"]
    with sqlite_club.engine.connect() as connection:
        read = connection.scalars(select(united.c.ssn).where(united.c.id == 12)).all()
    assert read == ["ssn-1", "ssn-1"]


GIVEN_NULL: dict[str, Callable[[Any], Any]] = {
    "in the WHERE": lambda both: both,
    "under OR": lambda both: or_(both, Member.id == 3),
    "in a CASE": lambda both: case((both, 1), else_=2) == 2,
    "in NOT EXISTS": lambda both: ~exists().where(Card.member_id == Member.id, both),
}
DEPENDING_ON_NULL: dict[str, Callable[[Any], Any]] = {
    "under NOT": lambda both: select(Member.id).where(not_(both)),
    "under NOT and OR": lambda both: select(Member.id).where(not_(or_(both, Member.id == 3))),
    "in a NOT that a CASE has": lambda both: select(Member.id).where(
        case((not_(both), 1), else_=2) == 1
    ),
    "tested for NULL": lambda both: select(Member.id).where(func.coalesce(both, True)),
    "delivered": select,
    "under NOT, differing": lambda both: select(Member.id).where(
        not_(and_(Member.tenant_id == bindparam("t"), Member.ssn != "ssn-1"))
    ),
}


def test_a_tenant_that_is_null_answers_what_it_does_of_a_plain_column(sqlite_club):
    tenant = Member.tenant_id == bindparam("t")
    with sqlite_club.session() as session:
        for name, condition in GIVEN_NULL.items():
            plain = select(Member.id).where(condition(and_(tenant, Member.name == "n-1")))
            asked = select(Member.id).where(condition(and_(tenant, Member.ssn == "ssn-1")))
            for t in (None, 1):
                expected = sorted(session.scalars(plain, {"t": t}))
                assert sorted(session.scalars(asked, {"t": t})) == expected, (name, t)


@pytest.mark.parametrize("name", DEPENDING_ON_NULL)
def test_where_null_is_distinguished_from_false_a_tenant_that_is_null_is_refused(sqlite_club, name):
    statement = DEPENDING_ON_NULL[name](
        and_(Member.tenant_id == bindparam("t"), Member.ssn == "ssn-1")
    )
    with sqlite_club.session() as session:
        assert session.scalars(statement, {"t": 1}).all()
        with sqlite_club.refused(UnsupportedOperationError, member) as caught:
            session.scalars(statement, {"t": None})
    assert "the bind 't' is given NULL for tenant_id" in caught.value.message


def test_one_bind_for_two_tenants_is_refused(sqlite_club):
    q: Any = bindparam("q")
    statement = (
        select(Member.id)
        .join(other, other.name == Member.name)
        .where(Member.tenant_id == 1, Member.ssn == q, other.tenant_id == 2, other.ssn == q)
    )
    with (
        sqlite_club.session() as session,
        pytest.raises(UnsupportedOperationError, match="bind 'q'"),
    ):
        session.execute(statement, {"q": "ssn-1"})


def test_an_index_under_one_key_for_all_needs_no_tenant(db):
    """The index's own key=: equal values of two tenants look alike, and are found at once."""

    class Local(DeclarativeBase):
        pass

    class Shared(Local):
        __tablename__ = "shared"
        id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
        tenant_id: Mapped[int]
        ssn: Mapped[str] = mapped_column(
            EncryptedType(String(20), key=KEY, index=BlindIndex(key="default"))
        )

    for tenant in (1, 2):
        db.create_key(f"tenant/{tenant}")
    db.create(Local.metadata)
    with db.begin() as connection:
        rows = [{"id": n, "tenant_id": n % 2 + 1, "ssn": f"ssn-{n // 2}"} for n in range(4)]
        connection.execute(insert(Shared), rows)
    assert ids(db, select(Shared.id).where(Shared.ssn == "ssn-1")) == [2, 3]


@pytest.mark.parametrize(
    "beside",
    [
        lambda q: and_(func.lower(q) != "x", Member.ssn == q),
        lambda q: or_(Member.name == q, Member.ssn == q),
        lambda q: and_(Member.ssn == q, Member.id.in_(select(Card.id).where(Card.id != q))),
    ],
    ids=["in a function", "with a plain column", "in a subquery"],
)
def test_a_value_looked_up_for_several_tenants_is_sent_nowhere_else(sqlite_club, beside):
    listed = Member.tenant_id.in_([1, 2])
    asked = select(Member.id).where(listed, beside(bindparam("q")))
    with (
        sqlite_club.statements() as seen,
        sqlite_club.session() as session,
        pytest.raises(UnsupportedOperationError, match="bind 'q'") as caught,
    ):
        session.scalars(asked, {"q": CANARY}).all()
    assert (caught.value.column, caught.value.reason, seen) == ("ssn", "shared-bind", [])
