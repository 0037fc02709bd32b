"""Reading: every shape delivers the row's own value, and refuses another row's."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    CompoundSelect,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    case,
    cast,
    except_,
    func,
    insert,
    literal,
    null,
    select,
    text,
    type_coerce,
    union,
    union_all,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    column_property,
    deferred,
    mapped_column,
    registry,
    undefer_group,
)

from encfields import EncryptedType
from encfields.errors import (
    ContextMismatchError,
    UnreadableError,
    UnsupportedOperationError,
)
from tests.binding.models import Base, Card, Purchase, Seat, Visit
from tests.binding.read_shapes import MARIADB_CANNOT, SHAPES
from tests.database import raw
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


@pytest.fixture
def bought(cards):
    """Each card with one purchase."""
    with cards.session() as session:
        session.add_all(
            Purchase(card_id=n, label=f"label-{n}", article=f"article-{n}") for n in (1, 2, 3)
        )
        session.commit()
    return cards


@on_each_database
@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_reads_its_own_rows_and_refuses_a_moved_value(bought, name):
    if "returning" in name:
        bought.backend.require_returning()
    if bought.backend.family == "mariadb" and name in MARIADB_CANNOT:
        name = "subquery"
    with bought.session() as session:
        assert SHAPES[name](session) == ["number-1", "number-2", "number-3"]

    bought.copy_cell(Card.number, source=2, target=1)

    with bought.session() as session, pytest.raises(ContextMismatchError) as caught:
        SHAPES[name](session)
    error = caught.value
    assert error.expected == {"enc:column": "card.number", "enc:row:id": "1"}
    assert error.found == {"enc:column": "card.number", "enc:row:id": "2"}
    assert (error.table, error.column, error.row) == ("card", "number", {"id": "1"})
    assert "id=1" in str(error)
    assert "2" in error.message


def test_the_other_rows_and_columns_stay_readable(cards):
    cards.copy_cell(Card.number, source=2, target=1)
    with cards.session() as session:
        assert session.scalar(select(Card.number).where(Card.id == 2)) == "number-2"
        assert session.scalar(select(Card.details).where(Card.id == 1)) == {"n": 1}
        assert session.scalar(select(Card.holder).where(Card.id == 1)) == "holder-1"


def test_null_is_read_as_none_in_every_form(shop):
    with shop.session() as session:
        session.add(Card(id=1))
        session.commit()
        assert session.get_one(Card, 1).number is None
        assert session.execute(select(Card.number, Card.pin, Card.details)).one() == (None,) * 3
        assert session.scalar(select(Card.id).where(Card.number.is_(None))) == 1
        assert session.scalar(select(Card.id).where(Card.number == None)) == 1  # noqa: E711
        assert session.scalar(select(Card.id).where(Card.number == null())) == 1
        assert session.scalar(select(Card.id).where(Card.number.is_not(None))) is None
        assert session.scalar(select(Card.id).where(Card.number != None)) is None  # noqa: E711
    assert shop.stored(Card.number, 1) is None


def test_count_exists_and_length_of_raw_bytes_work(cards):
    with cards.session() as session:
        assert session.scalar(select(func.count(Card.number))) == 3
        assert session.scalar(select(select(Card.number).where(Card.id == 1).exists())) is True
        assert session.scalar(select(func.length(raw(Card.number))).where(Card.id == 1)) > 200


@on_each_database
def test_insert_returning_delivers_the_value(shop):
    shop.backend.require_returning()
    statement = insert(Card).returning(Card)
    with shop.session() as session:
        made = session.scalars(statement, [{"id": n, "number": f"n-{n}"} for n in (1, 2)]).all()
        assert sorted((card.id, card.number) for card in made) == [(1, "n-1"), (2, "n-2")]


def test_type_coerce_to_large_binary_gives_the_message_and_never_the_value(cards):
    with cards.session() as session:
        message = session.scalar(select(type_coerce(Card.number, raw(Card.number).type)))
    assert bytes(message).startswith(b"\x02\x04\x78")
    assert b"number-" not in bytes(message)


def test_a_column_property_of_the_column_is_read(shop):
    mapping = registry()

    class Twice:
        id: int
        other: str

    mapping.map_imperatively(
        Twice, Card.__table__, properties={"other": column_property(Card.__table__.c.number)}
    )
    with shop.session() as session:
        session.add(Card(id=1, number="n-1"))
        session.flush()
        assert session.get_one(Twice, 1).other == "n-1"


class Own(DeclarativeBase):
    pass


class Person(Own):
    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    name: Mapped[str | None] = mapped_column(EncryptedType())
    story: Mapped[str | None] = deferred(mapped_column(EncryptedType()), group="long")

    @hybrid_property
    def alias(self):
        return self.name


_parent = aliased(Person)
Person.parent_name = column_property(
    select(_parent.name).where(_parent.id == Person.parent_id).scalar_subquery()
)


@pytest.fixture
def family(db):
    db.create(Own.metadata)
    with db.session() as session:
        session.add(Person(id=1, name="Ada", story="long"))
        session.flush()
        session.add(Person(id=2, name="Bea", parent_id=1))
        session.commit()
    return db


def test_a_hybrid_is_read_as_the_column_it_names(family):
    with family.session() as session:
        assert session.scalars(select(Person.alias).order_by(Person.id)).all() == ["Ada", "Bea"]


def test_a_column_property_that_is_a_subquery_is_bound_to_the_row_it_comes_from(family):
    with family.session() as session:
        assert session.get_one(Person, 2).parent_name == "Ada"
    family.copy_cell(Person.name, source=2, target=1)
    with family.session() as session, pytest.raises(ContextMismatchError):
        session.get(Person, 2)


def test_a_deferred_group_is_loaded_on_demand_and_ahead(family):
    with family.session() as session:
        assert session.get_one(Person, 1).story == "long"
    with family.session() as session:
        person = session.scalars(
            select(Person).options(undefer_group("long")).where(Person.id == 1)
        ).one()
        session.expunge(person)
        assert person.story == "long"


# -- what cannot be traced to a row ------------------------------------------------------------

UNTRACEABLE = {
    "subquery": lambda: select(select(Card.number).subquery().c.number),
    "cte": lambda: select(select(Card.number).cte().c.number),
    "nested subquery": lambda: select(
        select(select(Card.id, Card.number).subquery().c.number).subquery().c.number
    ),
    "part of a key": lambda: select(select(Seat.hall, Seat.guest).subquery().c.guest),
    "bound value": lambda: select(literal("x", EncryptedType())),
    "type_coerce": lambda: select(type_coerce(Card.holder, EncryptedType())),
    "key of another alias": lambda: select(
        select(Card.number, aliased(Card).id.label("id"))
        .join_from(Card, Seat, Seat.number > 0)
        .subquery()
        .c.number
    ),
}


@pytest.mark.parametrize("statement", UNTRACEABLE.values(), ids=UNTRACEABLE.keys())
def test_a_result_that_cannot_be_traced_to_its_row_is_refused_unsent(cards, statement):
    with cards.session() as session, cards.statements() as seen:
        with pytest.raises(UnreadableError):
            session.execute(statement()).all()
        assert seen == []


def test_a_union_of_two_encrypted_columns_gives_the_values_of_both(cards):
    both = union_all(select(Card.id, Card.number), select(Visit.id, Visit.reason))
    with cards.session() as session:
        session.add(Visit(id=7, reason="r"))
        session.flush()
        numbers = session.execute(select(Card.id, Card.number)).all()
        assert sorted(session.execute(both).all()) == sorted([*numbers, (7, "r")])


def null_first(kind=union_all):
    return kind(select(Card.id, null().label("number")), select(Card.id, Card.number))


def number_below_holder():
    return union_all(select(Card.id, Card.holder), select(Card.id, Card.number.label("n")))


def recursive_from_null():
    rows = select(Card.id, null().label("number")).where(Card.id == 1).cte(recursive=True)
    return rows.union_all(select(Card.id, Card.number).join(rows, Card.id == rows.c.id + 1))


BELOW_ANOTHER_COLUMN = {
    "of no type": null_first,
    "of another type": number_below_holder,
    "UNION": lambda: null_first(union),
    "EXCEPT": lambda: null_first(except_),
    "in a subquery": lambda: select(null_first().subquery()),
    "in an EXISTS": lambda: select(Card.id).where(null_first().exists()),
    "in a recursive CTE": lambda: select(recursive_from_null()),
    "of a UNION in a UNION": lambda: union_all(null_first(), select(Card.id, Card.number)),
}


@pytest.mark.parametrize(
    "statement", BELOW_ANOTHER_COLUMN.values(), ids=BELOW_ANOTHER_COLUMN.keys()
)
def test_no_message_is_delivered_for_a_column_that_a_unions_first_select_does_not_have(
    cards, statement
):
    with cards.session() as session, cards.statements() as seen:
        with pytest.raises(UnreadableError, match="select it in the first one"):
            session.execute(statement()).all()
        assert seen == []


@pytest.mark.parametrize(
    "nothing",
    [null(), cast(null(), String), cast(None, String(20)).label("number")],
    ids=["NULL", "of a type", "with a name"],
)
def test_a_later_select_of_a_union_may_have_null_in_a_columns_place(cards, nothing):
    rows: CompoundSelect[Any] = union_all(
        select(Card.id, Card.number), select(Card.id + 10, nothing)
    )
    with cards.session() as session:
        numbers = {row[0]: row[1] for row in session.execute(rows)}
        assert numbers[1] is not None
        assert numbers[11] is None


def test_what_has_no_name_beside_messages_is_told_as_that(sqlite_cards):
    unnamed = select(Card.id, Card.holder + "x").subquery()
    rows: CompoundSelect[Any] = union_all(select(Card.id, Card.number), select(unnamed))
    with (
        sqlite_cards.session() as session,
        pytest.raises(UnsupportedOperationError, match="without a name"),
    ):
        session.execute(rows)


def test_a_subquery_of_a_union_of_two_encrypted_columns_is_refused(cards):
    both = union_all(select(Card.id, Card.number), select(Visit.id, Visit.reason)).subquery()
    with cards.session() as session, pytest.raises(UnreadableError):
        session.execute(select(both.c.number)).all()


def test_raw_case_of_null_only_is_still_no_value(cards):
    statement = select(case((Card.id == 1, raw(Card.number)), else_=raw(Card.number)))
    with cards.session() as session:
        assert all(bytes(v).startswith(b"\x02\x04\x78") for v in session.scalars(statement))


def test_raw_text_typed_as_encrypted_is_refused(cards):
    statement = text("SELECT number FROM card").columns(number=EncryptedType())
    with cards.session() as session, pytest.raises(UnreadableError):
        session.execute(statement).all()


def test_tables_of_the_same_column_in_other_metadata_read_the_same(cards):
    again = Table(
        "card",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("number", EncryptedType()),
    )
    with cards.begin() as connection:
        assert connection.scalar(select(again.c.number).where(again.c.id == 1)) == "number-1"


def test_to_metadata_copies_read_and_write(cards):
    copy = Base.metadata.tables["card"].to_metadata(MetaData())
    with cards.begin() as connection:
        connection.execute(insert(copy).values(id=9, number="n-9"))
        assert connection.scalar(select(copy.c.number).where(copy.c.id == 9)) == "n-9"
    with cards.session() as session:
        assert session.get_one(Card, 9).number == "n-9"


@pytest.mark.parametrize("is_insert", [False, True], ids=["select", "returning"])
def test_a_row_of_core_has_the_column_under_the_name_that_the_table_gives_it(cards, is_insert):
    table: Any = Card.__table__
    statement: Any = select(table)
    if is_insert:
        cards.backend.require_returning()
        statement = insert(table).values(id=9, number="number-9").returning(*table.c)
    with cards.engine.connect() as connection:
        names = {str(name): type(name) for name in connection.execute(statement).keys()}  # noqa: SIM118
    assert names["number"] is type(table.c.number.name)
