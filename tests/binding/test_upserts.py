"""Upserts: a value may only reach the row whose key was inserted."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    column,
    func,
    literal,
    literal_column,
    null,
    select,
)
from sqlalchemy import (
    insert as insert_plainly,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import (
    AmbiguousRowError,
    BindingError,
    CiphertextCopyError,
    EncFieldsError,
    IdentityChangeError,
    UnboundValueError,
)
from tests.binding.models import Card, Purchase, Seat
from tests.database import CANARY, Database

# Which early releases of SQLAlchemy 2.0 say of ON CONFLICT, once in a process.
pytestmark = pytest.mark.filterwarnings("ignore:Class OnConflict")

card: Any = Card.__table__
seat: Any = Seat.__table__


@pytest.fixture(params=["sqlite", "postgresql"])
def db_with_upsert(request):
    """The cards on a database with ON CONFLICT, and its ``insert``."""
    database = Database(request.getfixturevalue(request.param))
    database.create(Card.metadata)
    insert = {"sqlite": sqlite, "postgresql": postgresql}[request.param].insert
    with database.session() as session:
        session.add_all(Card(id=n, holder=f"holder-{n}", number=f"number-{n}") for n in (1, 2, 3))
        session.commit()
    return database, insert


def numbers(db) -> dict[int, str | None]:
    with db.begin() as connection:
        rows = connection.execute(select(card.c.id, card.c.number))
        return {row.id: row.number for row in rows}


BEFORE = {1: "number-1", 2: "number-2", 3: "number-3"}


def upsert(insert: Any, model: Any = card, **target: Any) -> Any:
    statement = insert(model)
    set_ = target.pop("set_", lambda excluded: {"number": excluded.number})
    target.setdefault("index_elements", ["id"])
    return statement.on_conflict_do_update(set_=set_(statement.excluded), **target)


@pytest.mark.parametrize("target", [["id"], [card.c.id], [Card.id]])
@pytest.mark.parametrize("model", [card, Card])
def test_excluded_with_the_key_as_target_works(db_with_upsert, target, model):
    db, insert = db_with_upsert
    statement = upsert(insert, model, index_elements=target)
    with db.begin() as connection:
        connection.execute(statement.values(id=1, number=CANARY))
        connection.execute(statement, [{"id": n, "number": f"new-{n}"} for n in (2, 7)])
        connection.execute(
            statement.values([{"id": 3, "number": "three"}, {"id": 8, "number": None}])
        )
    assert numbers(db) == {1: CANARY, 2: "new-2", 3: "three", 7: "new-7", 8: None}
    db.assert_no_plaintext()


def test_excluded_through_the_orm_with_returning(db_with_upsert):
    db, insert = db_with_upsert
    statement = upsert(insert, Card).returning(Card)
    with db.session() as session:
        made = session.scalars(statement, [{"id": n, "number": f"n-{n}"} for n in (3, 4)]).all()
        assert sorted((one.id, one.number) for one in made) == [(3, "n-3"), (4, "n-4")]


def test_excluded_under_a_condition_works(db_with_upsert):
    db, insert = db_with_upsert
    statement = upsert(insert, where=card.c.holder == "holder-2")
    with db.begin() as connection:
        connection.execute(statement, [{"id": n, "number": "new"} for n in (1, 2)])
    assert numbers(db) == {**BEFORE, 2: "new"}


def test_a_composite_key_as_target_works_in_any_order(db_with_upsert):
    db, insert = db_with_upsert
    for elements in (["hall", "number"], ["number", "hall"]):
        statement = upsert(
            insert, seat, index_elements=elements, set_=lambda excluded: {"guest": excluded.guest}
        )
        with db.begin() as connection:
            connection.execute(statement.values(hall="A", number=1, guest=elements[0]))
            assert connection.scalar(select(seat.c.guest)) == elements[0]


def test_the_primary_key_s_constraint_as_target_works(postgresql_db):
    metadata = MetaData()
    table = Table(
        "t",
        metadata,
        Column("id", Integer, autoincrement=False),
        Column("v", EncryptedType()),
        PrimaryKeyConstraint("id", name="t_key"),
    )
    postgresql_db.create(metadata)
    statement = postgresql.insert(table)
    for target in ("t_key", table.primary_key):
        named = statement.on_conflict_do_update(constraint=target, set_={"v": statement.excluded.v})
        with postgresql_db.begin() as connection:
            connection.execute(named.values(id=1, v=str(target)))
            assert connection.scalar(select(table.c.v)) == str(target)


@pytest.mark.parametrize("name", ["tenant_mail", "tenant_id_key", "place_pkey"])
def test_a_constraint_s_name_as_target_stands_for_its_columns(postgresql_db, name):
    table = place_of_tenants()
    postgresql_db.create(table.metadata)
    postgresql_db.create_key("tenant/1")
    statement = postgresql.insert(table)
    named = statement.on_conflict_do_update(
        constraint=name,
        set_={"note": statement.excluded.note},
        where=table.c.tenant == statement.excluded.tenant,
    )
    with postgresql_db.begin() as connection:
        for note in ("old", "new"):
            connection.execute(named, {"id": 1, "tenant": 1, "mail": "a", "note": note})
        assert connection.execute(select(table.c.id, table.c.note)).all() == [(1, "new")]


def test_a_constraint_that_has_other_columns_in_the_database_hits_no_row(postgresql_db):
    table = place_of_tenants()
    postgresql_db.create(table.metadata)
    postgresql_db.create_key("tenant/1")
    with postgresql_db.begin() as connection:
        connection.execute(
            insert_plainly(table), {"id": 1, "tenant": 1, "mail": "a", "note": "old"}
        )
        for change in (
            "DROP CONSTRAINT tenant_mail, DROP CONSTRAINT tenant_id_key",
            "ADD CONSTRAINT tenant_id_key UNIQUE (mail)",
        ):
            connection.exec_driver_sql(f"ALTER TABLE place {change}")
    statement = postgresql.insert(table)
    named = statement.on_conflict_do_update(
        constraint="tenant_id_key", set_={"note": statement.excluded.note}
    )
    with pytest.raises(ProgrammingError), postgresql_db.begin() as connection:
        connection.execute(named, {"id": 2, "tenant": 1, "mail": "a", "note": CANARY})
    with postgresql_db.begin() as connection:
        assert connection.scalar(select(table.c.note)) == "old"


def place_of_tenants() -> Table:
    return Table(
        "place",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant", Integer, nullable=False),
        Column("mail", String(40)),
        Column("note", EncryptedType(key="tenant/{tenant}")),
        UniqueConstraint("tenant", "mail", name="tenant_mail"),
        UniqueConstraint("tenant", "id", name="tenant_id_key"),
    )


def test_do_nothing_leaves_the_row_alone(db_with_upsert):
    db, insert = db_with_upsert
    with db.begin() as connection:
        connection.execute(
            insert(card).on_conflict_do_nothing(),
            [{"id": 1, "number": "lost"}, {"id": 7, "number": "n-7"}],
        )
    assert numbers(db) == {**BEFORE, 7: "n-7"}


def test_other_columns_may_be_set_whatever_the_target(db_with_upsert):
    db, insert = db_with_upsert
    statement = upsert(insert, index_elements=["holder"], set_=lambda e: {"holder": e.holder})
    with db.begin() as connection:
        connection.execute(statement.values(id=9, holder="holder-1", number="lost"))
    assert numbers(db) == BEFORE


def test_a_generated_default_key_conflicts_on_another_column(db_with_upsert):
    db, insert = db_with_upsert
    purchase: Any = Purchase.__table__
    statement = insert(purchase).on_conflict_do_update(
        index_elements=["id"], set_={"article": insert(purchase).excluded.article}
    )
    with db.begin() as connection:
        connection.execute(statement, [{"label": x, "article": x} for x in "ab"])
        rows = connection.execute(select(purchase.c.label, purchase.c.article)).all()
    assert sorted(tuple(row) for row in rows) == [("a", "a"), ("b", "b")]


REFUSED = {
    "a typed literal": (
        CiphertextCopyError,
        lambda insert: upsert(insert, set_=lambda e: {"number": literal(CANARY, String)}),
    ),
    "another excluded column": (
        CiphertextCopyError,
        lambda insert: upsert(insert, set_=lambda e: {"number": e.holder}),
    ),
    "another encrypted column": (
        CiphertextCopyError,
        lambda insert: upsert(insert, set_=lambda e: {"number": e.pin}),
    ),
    "the old value": (
        CiphertextCopyError,
        lambda insert: upsert(insert, set_=lambda e: {"number": card.c.number}),
    ),
    "a function": (
        CiphertextCopyError,
        lambda insert: upsert(insert, set_=lambda e: {"number": func.lower(e.holder)}),
    ),
    "by column": (
        CiphertextCopyError,
        lambda insert: upsert(insert, set_=lambda e: {card.c.number: e.holder}),
    ),
    "by attribute": (
        CiphertextCopyError,
        lambda insert: upsert(insert, Card, set_=lambda e: {Card.number: e.holder}),
    ),
    "the key": (IdentityChangeError, lambda insert: upsert(insert, set_=lambda e: {"id": 77})),
    "the key of another": (
        IdentityChangeError,
        lambda insert: upsert(insert, set_=lambda e: {"id": e.id + 1, "number": e.number}),
    ),
    "the key under another target": (
        IdentityChangeError,
        lambda insert: upsert(insert, index_elements=["holder"], set_=lambda e: {"id": e.id}),
    ),
}


@pytest.mark.parametrize("error, statement", REFUSED.values(), ids=REFUSED.keys())
def test_any_other_upsert_is_refused(db_with_upsert, error, statement):
    db, insert = db_with_upsert
    values = {"id": 1, "holder": "holder-2", "number": CANARY}
    with db.begin() as connection, db.refused(BindingError, card) as caught:
        connection.execute(statement(insert).values(values))
    # A plaintext that ON CONFLICT itself carries may be found as a value that no row awaits.
    assert type(caught.value) in (error, UnboundValueError)
    if error is not AmbiguousRowError:
        with db.begin() as connection, db.refused(BindingError, card):
            connection.execute(statement(insert), [values, {**values, "id": 2}])
    db.assert_no_plaintext()


@pytest.mark.parametrize(
    "set_",
    [{"number": card.c.holder}, {"number": card.c.pin}, {"id": 77}],
    ids=["plain column", "encrypted column", "key"],
)
def test_an_upsert_from_a_select_is_held_to_the_same(db_with_upsert, set_):
    db, insert = db_with_upsert
    source = select(card.c.id, card.c.holder).where(card.c.id == 1)
    statement = insert(card).from_select(["id", "holder"], source)
    with db.begin() as connection, db.refused(BindingError, card):
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=set_))


@pytest.mark.filterwarnings("ignore:Additional column names")
def test_a_name_that_is_not_the_column_s_key_is_held_to_the_same(db_with_upsert):
    db, insert = db_with_upsert
    table = Table(
        "named",
        MetaData(),
        Column("id", Integer, key="other", unique=True),
        Column("row", Integer, key="id", primary_key=True, autoincrement=False),
        Column("secret", EncryptedType(), key="number"),
    )
    db.create(table.metadata)
    statement = insert(table).values(id=1, number=CANARY)
    with db.begin() as connection:
        connection.execute(statement)
    statement = statement.values(other=1)
    with db.begin() as connection, pytest.raises(IntegrityError):  # as of a plain column
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["id"], set_={"number": statement.excluded.number}
            )
        )
    given = statement.on_conflict_do_update(index_elements=["id"], set_={"secret": CANARY})
    with db.begin() as connection, pytest.raises(IntegrityError):
        connection.execute(given)
    for set_ in ({"secret": literal(CANARY.encode())}, {"row": 2}):
        with db.begin() as connection, db.refused(EncFieldsError, table):
            connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=set_))
    db.assert_no_plaintext()
    for target in ("row", table.c.id):
        with db.begin() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[target], set_={"number": statement.excluded.number}
                )
            )
            assert connection.scalar(select(table.c.number)) == CANARY


def test_null_may_be_set(db_with_upsert):
    db, insert = db_with_upsert
    statement = upsert(insert, set_=lambda excluded: {"number": null()})
    with db.begin() as connection:
        connection.execute(statement.values(id=1, number="n"))
    assert numbers(db) == {**BEFORE, 1: None}


def test_a_text_key_that_matches_another_spelling_is_no_target(sqlite_db):
    table = Table(
        "t",
        MetaData(),
        Column("code", String(20, collation="NOCASE"), primary_key=True),
        Column("v", EncryptedType()),
    )
    sqlite_db.create(table.metadata)
    statement = sqlite.insert(table)
    statement = statement.on_conflict_do_update(
        index_elements=["code"], set_={"v": statement.excluded.v}
    )
    with sqlite_db.begin() as connection, sqlite_db.refused(AmbiguousRowError, table):
        connection.execute(statement.values(code="a", v=CANARY))


# -- MySQL and MariaDB -------------------------------------------------------------------------


@pytest.fixture
def mariadb_cards(mariadb_db):
    mariadb_db.create(Card.metadata)
    with mariadb_db.session() as session:
        session.add_all(Card(id=n, holder=f"holder-{n}", number=f"number-{n}") for n in (1, 2, 3))
        session.commit()
    return mariadb_db


def on_duplicate(**set_: Any) -> Any:
    return mysql.insert(card).on_duplicate_key_update(**set_)


def test_on_duplicate_key_may_set_other_columns(mariadb_cards):
    statement = mysql.insert(card)
    statement = statement.on_duplicate_key_update(pin=null(), holder=statement.inserted.holder)
    with mariadb_cards.begin() as connection:
        connection.execute(
            statement,
            [
                {"id": 1, "holder": "changed", "number": "lost"},
                {"id": 7, "holder": "new", "number": "n-7"},
            ],
        )
        assert connection.scalar(select(card.c.holder).where(card.c.id == 1)) == "changed"
    assert numbers(mariadb_cards) == {**BEFORE, 7: "n-7"}


def test_on_duplicate_key_may_not_set_an_encrypted_column(mariadb_cards):
    statement = mysql.insert(card)
    for value in (statement.inserted.number, CANARY, literal(CANARY), func.lower(CANARY)):
        with (
            mariadb_cards.begin() as connection,
            mariadb_cards.refused(BindingError, card) as caught,
        ):
            connection.execute(
                statement.on_duplicate_key_update(number=value).values(id=1, number=CANARY)
            )
        expected = AmbiguousRowError | CiphertextCopyError | UnboundValueError
        assert isinstance(caught.value, expected)


def test_on_duplicate_key_may_not_set_the_key(mariadb_cards):
    with mariadb_cards.begin() as connection, mariadb_cards.refused(IdentityChangeError, card):
        connection.execute(on_duplicate(id=77).values(id=1, number=CANARY))


@pytest.fixture
def notes(innodb_db: Database) -> tuple[Database, Any]:
    """A table without any other unique key than its own, with two rows."""
    table = Table(
        "note",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("title", String(20)),
        Column("body", EncryptedType(index=BlindIndex())),
        Column("other", EncryptedType()),
    )
    innodb_db.create(table.metadata)
    with innodb_db.begin() as connection:
        rows = [{"id": n, "title": f"t{n}", "body": f"b{n}", "other": "o"} for n in (1, 2)]
        connection.execute(insert_plainly(table), rows)
    return innodb_db, table


def on_duplicate_body(table: Any) -> Any:
    statement = mysql.insert(table)
    return statement.on_duplicate_key_update(body=statement.inserted.body)


def bodies(db: Database, table: Any) -> list[tuple[Any, ...]]:
    with db.begin() as connection:
        found = connection.execute(select(table.c.id, table.c.body, table.c.other))
        return sorted(tuple(row) for row in found)


def test_on_duplicate_key_of_the_only_unique_key_hits_the_inserted_row_s_key(notes):
    db, table = notes
    upsert = on_duplicate_body(table)
    with db.begin() as connection:
        connection.execute(upsert.values(id=1, body="new", other="lost"))
        connection.execute(upsert, [{"id": n, "body": f"n{n}", "other": "x"} for n in (2, 3, 2)])
        own = mysql.insert(table).on_duplicate_key_update(body="own")
        connection.execute(own.values(id=3, body="lost"))
        found = select(table.c.id).where(table.c.body.in_(["new", "n2", "own"]))
        assert sorted(connection.execute(found).scalars()) == [1, 2, 3]
    assert bodies(db, table) == [(1, "new", "o"), (2, "n2", "o"), (3, "own", "x")]


def test_a_unique_key_that_only_the_database_knows_is_found_out(notes):
    db, table = notes
    db.execute_plain("ALTER TABLE note ADD UNIQUE INDEX hidden (title)")
    upsert = on_duplicate_body(table)
    rows = [{"id": 9, "title": "t1", "body": CANARY}, {"id": 2, "title": "t2", "body": CANARY}]
    for given in (rows[0], rows):
        with pytest.raises(IdentityChangeError) as caught, db.begin() as connection:
            connection.execute(upsert, given)
        assert caught.value.row == {"id": "9"}
        assert bodies(db, table) == [(1, "b1", "o"), (2, "b2", "o")]
    with db.begin() as connection:
        connection.execute(upsert, {"id": 1, "title": "t1", "body": "new"})
    assert bodies(db, table) == [(1, "new", "o"), (2, "b2", "o")]


def test_under_autocommit_nobody_could_take_such_an_upsert_back(notes):
    db, table = notes
    engine = db.engine.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(AmbiguousRowError, match="set its key"), engine.connect() as connection:
        connection.execute(on_duplicate_body(table).values(id=1, body=CANARY))
    assert bodies(db, table) == [(1, "b1", "o"), (2, "b2", "o")]


def test_a_tenant_that_is_set_along_need_not_be_part_of_the_only_unique_key(innodb_db):
    table = Table(
        "visit",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant", Integer, nullable=False),
        Column("title", String(20)),
        Column("body", EncryptedType(key="tenant/{tenant}")),
    )
    for tenant in (1, 2):
        innodb_db.create_key(f"tenant/{tenant}")
    innodb_db.create(table.metadata)
    set_along = mysql.insert(table)
    set_along = set_along.on_duplicate_key_update(
        body=set_along.inserted.body, tenant=set_along.inserted.tenant
    )
    with innodb_db.begin() as connection:
        given = [{"id": n, "tenant": 1, "title": f"t{n}", "body": "old"} for n in (1, 2)]
        connection.execute(insert_plainly(table), given)
        connection.execute(set_along, [{"id": n, "tenant": 2, "body": "new"} for n in (2, 3)])
    innodb_db.execute_plain("ALTER TABLE visit ADD UNIQUE INDEX hidden (title)")
    with pytest.raises(IdentityChangeError), innodb_db.begin() as connection:
        connection.execute(set_along, {"id": 9, "tenant": 2, "title": "t1", "body": CANARY})
    with innodb_db.begin() as connection:
        found = connection.execute(select(table.c.id, table.c.tenant, table.c.body))
        assert sorted(map(tuple, found)) == [(1, 1, "old"), (2, 2, "new"), (3, 2, "new")]


def test_insert_ignore_and_or_replace_with_a_given_key_work(shop):
    prefix = {"sqlite": "OR REPLACE", "mariadb": "IGNORE"}.get(shop.backend.family)
    if prefix is None:
        prefix = ""
    with shop.begin() as connection:
        statement = card.insert().prefix_with(prefix) if prefix else card.insert()
        connection.execute(statement, [{"id": 1, "number": "n-1"}, {"id": 2, "number": "n-2"}])
    assert numbers(shop) == {1: "n-1", 2: "n-2"}


def test_under_a_trigger_a_row_may_keep_its_value_while_others_change(sqlite):
    database = Database(sqlite)
    database.create(Card.metadata)
    database.execute_plain("CREATE TABLE audit (id INTEGER)")
    database.execute_plain(
        "CREATE TRIGGER tr AFTER UPDATE ON card BEGIN INSERT INTO audit VALUES (new.id); END"
    )
    with database.begin() as connection:
        connection.execute(sqlite_insert(card).values(id=1, holder="old", number="kept"))
        changed = sqlite_insert(card).values(id=1, holder="new", number="other")
        set_ = {"holder": changed.excluded.holder}
        connection.execute(changed.on_conflict_do_update(index_elements=["id"], set_=set_))
    assert numbers(database) == {1: "kept"}


class Base(DeclarativeBase):
    pass


class Ship(Base):
    """Always loaded with its subclass's columns, so that ``excluded`` is an alias of a join."""

    __tablename__ = "ship"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(10))
    captain: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))
    __mapper_args__: Any = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "ship",
        "with_polymorphic": "*",
    }


class Tanker(Ship):
    __tablename__ = "tanker"

    id: Mapped[int] = mapped_column(ForeignKey("ship.id"), primary_key=True)
    cargo: Mapped[str | None] = mapped_column(EncryptedType())
    __mapper_args__: Any = {"polymorphic_identity": "tanker"}  # noqa: RUF012


def test_a_class_that_is_loaded_with_its_subclass_is_upserted(db_with_upsert):
    db, insert = db_with_upsert
    db.create(Base.metadata)
    made = insert(Ship)
    statement = made.on_conflict_do_update(
        index_elements=["id"], set_={"captain": made.excluded.captain}
    )
    with db.session() as session:
        for captain in ("Ahab", "Nemo"):
            rows = [{"id": n, "kind": "ship", "captain": captain} for n in (1, 2)]
            session.execute(statement, rows)  # SQLAlchemy can insert two so, and not one
        assert session.scalars(select(Ship.id).where(Ship.captain == "Nemo")).all() == [1, 2]


@pytest.mark.filterwarnings("ignore:Additional column names")
@pytest.mark.parametrize(
    "name", ["NUMBER", "Holder", "ID", column("NUMBER"), literal_column('"number"')]
)
def test_a_column_that_only_the_database_knows_by_that_name_is_not_set(db_with_upsert, name):
    db, insert = db_with_upsert
    statement = insert(card).on_conflict_do_update(index_elements=["id"], set_={name: CANARY})

    with (
        pytest.raises(CiphertextCopyError, match="SQLAlchemy does not know"),
        db.begin() as connection,
    ):
        connection.execute(statement, {"id": 1, "holder": "x", "number": "new"})

    assert numbers(db) == BEFORE


def test_a_target_that_an_index_of_another_collation_answers_to_does_not_name_the_row(sqlite_db):
    table = Table(
        "member",
        MetaData(),
        Column("login", String(20), primary_key=True),
        Column("v", EncryptedType()),
    )
    Index("member_login", table.c.login.collate("NOCASE"), unique=True)
    sqlite_db.create(table.metadata)
    with sqlite_db.begin() as connection:
        connection.execute(table.insert(), {"login": "ada", "v": "old"})
    statement = sqlite.insert(table).values(login="ADA", v=CANARY)
    excluded = statement.excluded

    def upsert_by_login(**given: Any) -> Any:
        return statement.on_conflict_do_update(index_elements=["login"], **given)

    with sqlite_db.begin() as connection:
        connection.execute(upsert_by_login(set_={"v": excluded.v}))
        assert connection.execute(select(table)).all() == [("ada", CANARY)]
        connection.execute(upsert_by_login(set_={"login": excluded.login, "v": excluded.v}))
        assert connection.execute(select(table)).all() == [("ADA", CANARY)]


COLLATED = {
    "sqlite": ["CREATE UNIQUE INDEX visitor_login ON visitor (login COLLATE NOCASE)"],
    "postgresql": [
        "CREATE COLLATION regardless (provider = icu, locale = 'und-u-ks-level2',"
        " deterministic = false)",
        "CREATE UNIQUE INDEX visitor_login ON visitor (login COLLATE regardless)",
    ],
}


def test_a_row_of_another_spelling_that_an_undeclared_index_finds_is_left_as_it_was(db_with_upsert):
    db, insert = db_with_upsert
    table = Table(
        "visitor",
        MetaData(),
        Column("login", String(20), primary_key=True),
        Column("v", EncryptedType()),
    )
    db.create(table.metadata)
    with db.plain.begin() as connection:
        for statement in COLLATED[db.name]:
            connection.exec_driver_sql(statement)
    with db.begin() as connection:
        connection.execute(table.insert(), {"login": "ada", "v": "old"})
    upsert = insert(table).values(login="ADA", v=CANARY)
    kept = upsert.on_conflict_do_update(index_elements=["login"], set_={"v": upsert.excluded.v})

    with db.refused(IdentityChangeError, table), db.begin() as connection:
        connection.execute(kept)

    with db.begin() as connection:
        assert connection.execute(select(table)).all() == [("ada", "old")]
        same = insert(table).values(login="ada", v="new")
        connection.execute(
            same.on_conflict_do_update(index_elements=["login"], set_={"v": same.excluded.v})
        )
        assert connection.execute(select(table)).all() == [("ada", "new")]
