"""While a beacon key is rotated, a query finds rows under the old version, the new, and both."""

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
    case,
    delete,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.orm import (
    foreign,
    immediateload,
    joinedload,
    lazyload,
    registry,
    relationship,
    remote,
    selectinload,
    subqueryload,
)

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.database import CANARY, Database
from tests.index.clinic import sent
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


def _tables(versions: tuple[int, ...]) -> Any:
    """The tables as a deployment declares them that uses these versions."""
    metadata = MetaData()
    return tuple(
        Table(
            name,
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column(
                "v",
                EncryptedType(String(20), index=BlindIndex(domain="d", versions=versions)),
            ),
            Column("plain", String(20)),
        )
        for name in ("a", "b")
    )


old, now, then, new = _tables((1,)), _tables((1, 2)), _tables((2, 1)), _tables((2,))
a, b = now[0], now[1]

A_ROWS: list[Any] = [(1, "x"), (2, "y"), (3, "z"), (4, None)]
B_ROWS: list[Any] = [(1, "x"), (2, "x"), (3, "w"), (4, "y")]


class Holder:
    id: int
    v: str | None
    held: list[Held]
    alike: list[Holder]


class Held:
    id: int


_mapped = registry()
_mapped.map_imperatively(Held, b)
_mapped.map_imperatively(
    Holder,
    a,
    properties={
        "held": relationship(
            Held, primaryjoin=foreign(b.c.v) == a.c.v, order_by=b.c.id, viewonly=True
        ),
        "alike": relationship(
            Holder,
            primaryjoin=foreign(remote(a.c.plain)) == a.c.plain,
            viewonly=True,
            order_by=a.c.id,
        ),
    },
)


@pytest.fixture
def rotating(db: Database) -> Database:
    """Each value thrice: of the deployment before, of the one that writes both, and of the next.

    Row 10 * n + m is value n, written by deployment m.
    """
    db.encryption.keys.rotate_beacon("default")
    a.metadata.create_all(db.engine)
    with db.begin() as connection:
        for deployment, tables in enumerate((old, now, new)):
            for table, rows in zip(tables, (A_ROWS, B_ROWS), strict=True):
                values = [{"id": 10 * n + deployment, "v": v, "plain": v} for n, v in rows]
                connection.execute(insert(table), values)
    return db


CRITERIA: dict[str, Any] = {
    "==": lambda c: c == "x",
    "!=": lambda c: c != "x",
    "not ==": lambda c: not_(c == "x"),
    "in": lambda c: c.in_(["x", "z", "q"]),
    "in nothing": lambda c: c.in_([]),
    "in with NULL": lambda c: c.in_(["x", None]),
    "not in": lambda c: c.not_in(["x", "z"]),
    "not in with NULL": lambda c: c.not_in(["x", None]),
    "or": lambda c: or_(c == "x", c == "y"),
    "not or": lambda c: not_(or_(c == "x", c.is_(None))),
    "is null": lambda c: c.is_(None),
    "case": lambda c: case((c == "x", 1), (c != "x", 2), else_=3) > 1,
}


def _ids(db: Database, statement: Any, *parameters: Any) -> list[int]:
    with db.engine.connect() as connection:
        return sorted(connection.execute(statement, *parameters).scalars())


def test_a_row_is_found_under_whichever_version_it_has(rotating):
    for name, make in CRITERIA.items():
        by_index = _ids(rotating, select(a.c.id).where(make(a.c.v)))
        assert by_index == _ids(rotating, select(a.c.id).where(make(a.c.plain))), name


def test_a_row_of_a_subquery_is_found_under_whichever_version_it_has(rotating):
    inner = select(a.c.id, a.c.v, a.c.plain).subquery()
    for name, make in CRITERIA.items():
        looked_up = _ids(rotating, select(inner.c.id).where(make(inner.c.v)))
        assert looked_up == _ids(rotating, select(a.c.id).where(make(a.c.plain))), name
    by_row, of_table = (
        [
            _ids(rotating, select(rows.c.id).join(b, b.c.v == rows.c.v)),
            _ids(rotating, select(b.c.id).where(b.c.v.in_(select(rows.c.v)))),
        ]
        for rows in (inner, a)
    )
    assert by_row == of_table


def test_what_is_selected_is_what_is_grouped_by(rotating):
    met = case((a.c.v == "x", 1), else_=0)
    with rotating.begin() as connection:
        counted = connection.execute(select(met, func.count()).group_by(met).order_by(met))
        assert list(map(tuple, counted)) == [(0, 9), (1, 3)]


def test_a_named_bind_finds_a_row_under_whichever_version_it_has(rotating):
    one = select(a.c.id).where(a.c.v == bindparam("q"))
    other = select(a.c.id).where(a.c.v != bindparam("q"))
    listed = select(a.c.id).where(a.c.v.in_(bindparam("q", expanding=True)))
    unlisted = select(a.c.id).where(a.c.v.not_in(bindparam("q", expanding=True)))
    assert _ids(rotating, one, {"q": "x"}) == [10, 11, 12]
    assert _ids(rotating, one, {"q": "y"}) == [20, 21, 22]
    assert _ids(rotating, one, {"q": None}) == []
    assert _ids(rotating, one, {"q": "x" * 21}) == []
    assert _ids(rotating, other, {"q": "x"}) == [20, 21, 22, 30, 31, 32]
    assert _ids(rotating, listed, {"q": ["x", "z"]}) == [10, 11, 12, 30, 31, 32]
    assert _ids(rotating, listed, {"q": ["y"]}) == [20, 21, 22]
    assert _ids(rotating, unlisted, {"q": ["x", "z"]}) == [20, 21, 22]
    with sent(rotating):
        _ids(rotating, one, {"q": CANARY})


def test_a_named_bind_without_a_single_value_is_refused(rotating):
    listed = select(a.c.id).where(a.c.v.in_(bindparam("q", expanding=True)))
    with pytest.raises(UnsupportedOperationError, match="bind 'q' cannot have an empty list"):
        _ids(rotating, listed, {"q": []})


def test_rows_are_changed_under_whichever_version_they_have(rotating):
    with rotating.begin() as connection:
        done = connection.execute(update(a).where(a.c.v == "x").values(plain="new"))
        assert done.rowcount == 3
        connection.execute(
            update(a).where(a.c.v == bindparam("q")).values(plain=bindparam("n")),
            [{"q": "y", "n": "many"}, {"q": "nothing", "n": "none"}],
        )
        assert connection.execute(delete(a).where(a.c.v.in_(["z"]))).rowcount == 3
    assert _ids(rotating, select(a.c.id).where(a.c.plain == "new")) == [10, 11, 12]
    assert _ids(rotating, select(a.c.id).where(a.c.plain == "many")) == [20, 21, 22]


SUBQUERIES: dict[str, Any] = {
    "in": lambda c, d: c.in_(select(d)),
    "not in": lambda c, d: c.not_in(select(d).where(b.c.id.between(19, 49))),
    "not (in)": lambda c, d: not_(c.in_(select(d).where(b.c.id.between(29, 49)))),
    "not in nothing": lambda c, d: c.not_in(select(d).where(b.c.id < 0)),
    "in is unknown": lambda c, d: case((c.in_(select(d)), 1), (c.not_in(select(d)), 2)).is_(None),
    "in nothing is known": lambda c, d: c.in_(select(d).where(b.c.id < 0)).is_(None),
    "not in with NULL": lambda c, d: c.not_in(select(d).where(b.c.id > 39)),
    "== scalar": lambda c, d: c == select(d).where(b.c.id == 41).scalar_subquery(),
    "!= scalar": lambda c, d: c != select(d).where(b.c.id == 41).scalar_subquery(),
}


def test_a_subquery_of_rows_with_both_versions_is_answered(rotating):
    """What every deployment's rows have in common with rows that were filled."""
    with rotating.begin() as connection:
        for tables in (old, new):
            connection.execute(delete(tables[1]))
        rows = [{"id": 10 * n + 1, "v": v, "plain": v} for n, v in [*B_ROWS, (5, None)]]
        connection.execute(insert(b), rows)
    for name, make in SUBQUERIES.items():
        by_index = _ids(rotating, select(a.c.id).where(make(a.c.v, b.c.v)))
        by_name = _ids(rotating, select(a.c.id).where(make(a.c.plain, b.c.plain)))
        assert by_index == by_name, name


ASKED: dict[str, Any] = {
    "==": lambda t, other: t.c.v == "x",
    "in": lambda t, other: t.c.v.in_(["x", "q"]),
    "not !=": lambda t, other: not_(t.c.v != "x"),
    "in a subquery": lambda t, other: t.c.v.in_(select(other.c.v).where(other.c.id == 10)),
    "== a subquery": lambda t, other: (
        t.c.v == select(other.c.v).where(other.c.id == 10).scalar_subquery()
    ),
    "exists": lambda t, other: exists().where(other.c.v == t.c.v, other.c.id == 10),
}


@pytest.mark.parametrize("before, now_on", [(old, now), (now, then), (then, now), (new, then)])
def test_processes_of_two_deployments_find_each_other_s_rows(db, before, now_on):
    """Each step is deployed to one process after the other: two declarations write at a time."""
    db.create(now[0].metadata)
    db.encryption.keys.rotate_beacon("default")
    with db.begin() as connection:
        for table in now:
            connection.execute(insert(table), [{"id": 10, "v": "x"}, {"id": 20, "v": "y"}])
        for mine, others in ((before, now_on), (now_on, before)):
            theirs, table = others[0], mine[0]
            for writer, ten, twenty in ((theirs, "x", "y"), (table, "y", "x")):
                for id_, value in ((10, ten), (20, twenty)):
                    connection.execute(update(writer).where(writer.c.id == id_).values(v=value))
            for name, make in ASKED.items():
                found = select(theirs.c.id).where(make(*others))
                assert connection.scalars(found).all() == [20], name


def test_a_subquery_s_first_row_is_the_same_under_either_version(rotating):
    first = select(b.c.v).order_by(b.c.id).limit(1).scalar_subquery()
    with rotating.begin() as connection:
        connection.execute(insert(old[1]), [{"id": 1, "v": "y"}])
    assert _ids(rotating, select(a.c.id).where(a.c.v == first, a.c.id != 22)) == [20, 21]


def test_rows_with_both_versions_meet_rows_with_one(rotating):
    """Only two rows that share no version cannot be compared in the database."""
    joined = select(a.c.id, b.c.id).join(b, a.c.v == b.c.v).where(a.c.id.in_([10, 11, 12]))
    with rotating.engine.connect() as connection:
        pairs = {tuple(row) for row in connection.execute(joined)}
    every = {(x, y) for x in (10, 11, 12) for y in (10, 11, 12, 20, 21, 22)}
    assert pairs == every - {(10, 12), (10, 22), (12, 10), (12, 20)}


@pytest.mark.parametrize("load", [lazyload, selectinload, immediateload, joinedload])
def test_relationships_are_loaded_under_whichever_version_a_row_has(rotating, load):
    """Two load by a join, which compares column with column; two look the value up."""
    every = [10, 11, 12, 20, 21, 22]
    by_join = {10: [10, 11, 20, 21], 11: every, 12: [11, 12, 21, 22]}
    statement = select(Holder).options(load(Holder.held)).where(a.c.v == "x").order_by(a.c.id)
    with rotating.session() as session:
        holders = session.scalars(statement).unique().all()
        found = {holder.id: [one.id for one in holder.held] for holder in holders}
    joins = load in (joinedload, selectinload)
    assert found == (by_join if joins else dict.fromkeys((10, 11, 12), every))


@pytest.mark.parametrize("load", [selectinload, subqueryload, joinedload])
def test_a_loader_s_criteria_about_both_ends_find_either_version(rotating, load):
    """Those about the class that is loaded are also met by the rows that it is loaded for."""
    holder: Any = Holder
    alike = load(holder.alike.and_(holder.v == "x"))
    statement = select(Holder).where(holder.id < 20).options(alike).order_by(holder.id)
    with rotating.session() as session:
        holders = session.scalars(statement).unique().all()
        found = {holder.id: [one.id for one in holder.alike] for holder in holders}
    assert found == {key: [10, 11, 12] for key in (10, 11, 12)}


def test_a_query_that_groups_by_the_column_is_refused_while_its_index_has_two_versions(rotating):
    """Rows of one value have hashes of either version, by neither of which they are one group."""
    grouped = select(b.c.v).group_by(b.c.v)
    with pytest.raises(UnsupportedOperationError, match="GROUP BY"):
        _ids(rotating, select(a.c.id).where(a.c.v.in_(grouped)))


def test_not_in_a_subquery_is_not_confused_by_rows_that_lack_a_version(rotating):
    found = select(a.c.id).where(a.c.v.not_in(select(b.c.v).where(b.c.id.in_([10, 31]))))
    assert _ids(rotating, found.where(a.c.id.in_([10, 11, 20, 21, 40]))) == [20, 21]


def test_a_rotated_index_is_finally_queried_only_under_the_new_version(rotating):
    (table, _) = new
    assert _ids(rotating, select(table.c.id).where(table.c.v == "x")) == [11, 12]
    (table, _) = old
    assert _ids(rotating, select(table.c.id).where(table.c.v == "x")) == [10, 11]
