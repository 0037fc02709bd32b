"""A boolean with a blind index is asked for its truth value as a plaintext column is."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    ForeignKey,
    Integer,
    and_,
    case,
    delete,
    exists,
    false,
    func,
    not_,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.orm import (
    aliased,
    declarative_base,
    immediateload,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectinload,
    with_loader_criteria,
)

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnreadableError, UnsupportedOperationError
from tests.database import Database
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

INDEX = BlindIndex(accept_leakage="a test")
TESTS: dict[str, Any] = {
    "is_(True)": lambda c: c.is_(True),
    "is_(False)": lambda c: c.is_(False),
    "is_not(True)": lambda c: c.is_not(True),
    "is_not(False)": lambda c: c.is_not(False),
    "is_(true())": lambda c: c.is_(true()),
    "is_not(false())": lambda c: c.is_not(false()),
    "true() ==": lambda c: true() == c,
    "false() !=": lambda c: false() != c,
    "not of is_(True)": lambda c: not_(c.is_(True)),
    "not of is_not(True)": lambda c: ~c.is_not(True),
    "not": lambda c: ~c,
    "not_()": not_,
    "not of not": lambda c: not_(~c),
    "or": lambda c: or_(c.is_(True), c.is_(None)),
    "and not": lambda c: and_(~c, c.is_not(None)),
    "case": lambda c: case((c.is_(False), 1), else_=0) == 1,
    "itself": lambda c: c,
    "itself in and": lambda c: and_(c, c.is_not(None)),
    "itself in or": lambda c: or_(c, c.is_(None)),
    "itself before &": lambda c: c & c.is_not(None),
    "itself after &": lambda c: c.is_not(None) & c,
    "itself before |": lambda c: c | c.is_(None),
    "itself twice": lambda c: (c & ~c) | c,
    "not of &": lambda c: ~(c & c.is_not(None)),
    "not of and": lambda c: not_(and_(c, c.is_not(None))),
    "not of and with not": lambda c: not_(and_(not_(c), c.is_not(None))),
    "itself in case": lambda c: case((c, 1), (c.is_(None), 2), else_=0) >= 1,
}


@pytest.fixture
def flags(db: Database) -> Any:
    """Rows 1 to 3 are true, false and NULL, in plaintext and encrypted."""
    base: Any = declarative_base()

    class Flag(base):  # type: ignore[misc]
        __tablename__ = "flag"
        id = mapped_column(Integer, primary_key=True)
        plain = mapped_column(Boolean)
        sealed = mapped_column(EncryptedType(Boolean, index=INDEX))
        unindexed = mapped_column(EncryptedType(Boolean))

    db.create(base.metadata)
    with db.session() as session:
        values = enumerate((True, False, None), start=1)
        session.add_all(Flag(id=key, plain=value, sealed=value) for key, value in values)
        session.commit()
    return Flag


@pytest.mark.parametrize("asked", TESTS.values(), ids=TESTS)
def test_its_truth_is_asked_for_as_of_a_plaintext_column(db, flags, asked):
    with db.session() as session:
        for model in (flags, aliased(flags)):
            found = [
                session.scalars(select(model.id).where(asked(column)).order_by(model.id)).all()
                for column in (model.plain, model.sealed)
            ]
            assert found[0] == found[1]
        selected = select(asked(flags.plain), asked(flags.sealed)).order_by(flags.id)
        for plain, sealed in session.execute(selected):
            assert sealed == plain


def test_rows_are_written_by_its_truth(db, flags):
    with db.session() as session:
        session.execute(update(flags).where(flags.sealed.is_(True)).values(plain=None))
        session.execute(delete(flags).where(~flags.sealed))
        session.commit()
        left = session.execute(select(flags.id, flags.plain).order_by(flags.id))
        assert [tuple(row) for row in left] == [(1, None), (3, None)]


@pytest.mark.parametrize("name", ["is_(True)", "is_not(True)", "is_(False)", "not"])
def test_objects_are_found_by_its_truth_as_in_the_database(db, flags, name):
    with db.session() as session:
        found = session.scalars(select(flags).order_by(flags.id)).all()
        asked = update(flags).where(TESTS[name](flags.sealed)).values(plain=None)
        session.execute(asked, execution_options={"synchronize_session": "evaluate"})
        changed = [one.plain for one in found]
        session.commit()
        assert [one.plain for one in found] == changed


def test_without_an_index_it_is_refused(db, flags):
    with db.session() as session:
        for refused in (lambda: flags.unindexed.is_(True), lambda: ~flags.unindexed):
            with pytest.raises(UnsupportedOperationError):
                session.execute(select(flags.id).where(refused()))


@pytest.fixture
def houses(db: Database) -> Any:
    """Two houses with a room each; the second is not heated, and its room's value is NULL."""
    base: Any = declarative_base()

    class House(base):  # type: ignore[misc]
        __tablename__ = "house"
        id = mapped_column(Integer, primary_key=True)
        tenant = mapped_column(Integer, default=1)
        plain = mapped_column(Boolean)
        sealed = mapped_column(EncryptedType(Boolean, key="of/{tenant}", index=INDEX))

    class Room(base):  # type: ignore[misc]
        __tablename__ = "room"
        id = mapped_column(Integer, primary_key=True)
        house_id = mapped_column(ForeignKey("house.id"))
        plain = mapped_column(Boolean)
        sealed = mapped_column(EncryptedType(Boolean, index=INDEX))

    for name in ("plain", "sealed"):
        flag = getattr(Room, name)
        both = and_(Room.house_id == House.id, flag)
        setattr(House, f"{name}_rooms", relationship(Room, primaryjoin=both, viewonly=True))
    db.create(base.metadata)
    db.encryption.keys.create("of/1")
    with db.session() as session:
        session.add_all(House(id=n, plain=n == 1, sealed=n == 1) for n in (1, 2))
        session.flush()
        rooms = ((1, 1, True), (2, 1, False), (3, 2, None), (4, 2, True))
        session.add_all(Room(id=n, house_id=of, plain=v, sealed=v) for n, of, v in rooms)
        session.commit()
    return House, Room


def _asked_in_places(houses: tuple[Any, Any], name: str) -> dict[str, Any]:
    house, room = houses
    of_room, of_house = getattr(room, name), getattr(house, name)
    rooms = getattr(house, f"{name}_rooms")
    part = select(room.id, room.house_id, of_room).subquery()
    is_of_house = room.house_id == house.id
    return {
        "ON": select(house.id, room.id).join(room, and_(is_of_house, of_room)),
        "ON alone": select(house.__table__.c.id, room.__table__.c.id).select_from(
            house.__table__.join(room.__table__, room.__table__.c[name])
        ),
        "ON of an outer join": select(house.id, room.id).outerjoin(
            room, and_(is_of_house, not_(of_room))
        ),
        "exists": select(house.id).where(exists().where(is_of_house, of_room)),
        "not exists": select(house.id).where(~exists().where(is_of_house, not_(of_room))),
        "any": select(house.id).where(rooms.any()),
        "in a subquery": select(house.id).where(
            house.id.in_(select(room.house_id).where(not_(of_room)))
        ),
        "a subquery's column": select(part.c.id).where(part.c[name]),
        "a tenant's": select(house.id).where(house.tenant == 1, of_house),
        "a tenant's in a list": select(house.id).where(house.tenant.in_([1]), not_(of_house)),
        "with_loader_criteria": select(room.id).options(with_loader_criteria(room, of_room)),
        "counted": select(func.count()).select_from(room).where(of_room),
        "summed": select(func.sum(case((of_room, 1), else_=0))),
        "a CTE's": select(select(room.id).where(of_room).cte().c.id),
    }


PLACES = [
    "ON",
    "ON alone",
    "ON of an outer join",
    "exists",
    "not exists",
    "any",
    "in a subquery",
    "a subquery's column",
    "a tenant's",
    "a tenant's in a list",
    "with_loader_criteria",
    "counted",
    "summed",
    "a CTE's",
]


@pytest.mark.parametrize("place", PLACES)
def test_it_is_a_condition_by_itself(db, houses, place):
    with db.session() as session:
        found = [
            sorted(
                (tuple(row) for row in session.execute(_asked_in_places(houses, name)[place])),
                key=str,
            )
            for name in ("plain", "sealed")
        ]
    assert found[0] == found[1]
    assert found[0]


@pytest.mark.parametrize("load", [lazyload, selectinload, joinedload, immediateload])
def test_it_is_a_condition_of_a_relationship(db, houses, load):
    house, _ = houses
    with db.session() as session:
        query = select(house).options(load(house.plain_rooms), load(house.sealed_rooms))
        for one in session.scalars(query).unique():
            assert [room.id for room in one.sealed_rooms] == [room.id for room in one.plain_rooms]


def test_it_is_a_condition_of_a_filter(db, houses):
    if db.backend.name in ("mariadb", "mysql"):
        pytest.skip("it has no FILTER")
    _, room = houses
    with db.session() as session:
        counts = (func.count().filter(column) for column in (room.plain, room.sealed))
        plain, sealed = session.execute(select(*counts).select_from(room)).one()
        assert plain == sealed == 2


@pytest.mark.parametrize("strategy", ["auto", "evaluate", "fetch"])
def test_rows_are_written_where_it_is_a_condition(db, flags, strategy):
    with db.session() as session:
        found = session.scalars(select(flags).order_by(flags.id)).all()
        asked = update(flags).where(flags.sealed).values(plain=None)
        session.execute(asked, execution_options={"synchronize_session": strategy})
        assert [one.plain for one in found] == [None, False, None]
        gone = delete(flags).where(flags.id < 3, flags.sealed)
        session.execute(gone, execution_options={"synchronize_session": "fetch"})
        session.commit()
        assert session.scalars(select(flags.id).order_by(flags.id)).all() == [2, 3]


def test_of_a_row_with_another_ones_hash_it_is_not_true(db, flags):
    with db.plain.begin() as connection:
        connection.execute(
            text(
                "UPDATE flag SET sealed_bidx = (SELECT hash FROM (SELECT sealed_bidx AS hash "
                "FROM flag WHERE id = 1) AS first) WHERE id = 2"
            )
        )
    with db.session() as session:
        found = session.scalars(select(flags).where(flags.sealed)).all()
        assert [one.id for one in found] == [1]


REFUSED = {
    "where": lambda c: select(c.class_.id).where(c),
    "case": lambda c: select(case((c, 1), else_=2)),
    "and": lambda c: select(c.class_.id).where(and_(c, c.class_.id > 0)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_as_a_condition_by_itself_it_is_refused_without_an_index(db, flags, name):
    with db.session() as session, pytest.raises(UnsupportedOperationError):
        session.execute(REFUSED[name](flags.unindexed))


def test_what_a_case_gives_is_no_condition(db, flags):
    table = flags.__table__
    with db.engine.connect() as connection, pytest.raises(UnsupportedOperationError):
        connection.execute(select(case((table.c.sealed, 1), else_=table.c.sealed)))
    with db.engine.connect() as connection, pytest.raises(UnreadableError):
        connection.execute(select(case((table.c.sealed, table.c.sealed), else_=None)))
