"""An UPDATE may name its row by another unique key than the one that its values are bound to."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    cast,
    event,
    exists,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, with_loader_criteria

from encfields import BlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError
from tests.database import CANARY, Database


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user_"
    id: Mapped[int] = mapped_column(primary_key=True)
    mail: Mapped[str | None] = mapped_column(String(40), unique=True)
    team: Mapped[str] = mapped_column(String(9))
    visits: Mapped[int] = mapped_column(default=1)
    ssn: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex(unique=True)))
    notes: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex()))


class Plain(Base):
    """The same without encryption."""

    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    mail: Mapped[str | None] = mapped_column(String(40), unique=True)
    team: Mapped[str] = mapped_column(String(9))
    visits: Mapped[int] = mapped_column(default=1)
    ssn: Mapped[str | None] = mapped_column(String(20), unique=True)
    notes: Mapped[str | None] = mapped_column(String(20))


@pytest.fixture
def users(db: Database) -> Database:
    db.create(Base.metadata)
    with db.session() as session:
        for of in (User, Plain):
            session.add_all(
                of(id=n, mail=f"m{n}", team="x", ssn=f"s{n}", notes=f"n{n}") for n in (1, 2, 3)
            )
        session.commit()
    return db


def _left(connection: Any, of: Any) -> list[tuple[Any, ...]]:
    columns = of.id, of.mail, of.visits, of.ssn, of.notes
    return [tuple(row) for row in connection.execute(select(*columns).order_by(of.id))]


STATEMENTS: dict[str, Any] = {
    "a plain column": lambda of: update(of).where(of.mail == "m2").values(notes="new"),
    "an encrypted one": lambda of: update(of).where(of.ssn == "s2").values(notes="new"),
    "itself": lambda of: update(of).where(of.ssn == "s2").values(ssn="other", visits=7),
    "filter_by": lambda of: update(of).filter_by(mail="m2").values(notes=None, ssn="new"),
    "a list of one": lambda of: update(of).where(of.mail.in_(["m2"])).values(notes="new"),
    "a list of one encrypted": lambda of: (
        update(of).where(of.ssn.in_(["s2"])).values(notes="new", ssn="other")
    ),
    "more": lambda of: (
        update(of)
        .where(of.mail == "m2", of.team == "x", of.notes == "n2")
        .values(notes="new", visits=of.visits + 1)
    ),
    "more that does not hold": lambda of: (
        update(of).where(of.mail == "m2", of.team == "y").values(notes="new")
    ),
    "a subquery too": lambda of: (
        update(of)
        .where(of.mail == "m2", exists().where(Plain.id == of.id).correlate(of))
        .values(notes="new")
        if of is User
        else update(of).where(of.mail == "m2").values(notes="new")
    ),
    "no row": lambda of: update(of).where(of.mail == "nobody").values(notes="new"),
    "NULL": lambda of: update(of).where(of.mail == bindparam("q", None)).values(notes="new"),
}


@pytest.mark.parametrize("strategy", ["auto", "evaluate", "fetch", False])
@pytest.mark.parametrize("name", STATEMENTS)
def test_it_does_what_it_does_of_plain_columns(users, name, strategy):
    told = []
    for of in (User, Plain):
        with users.session() as session:
            known = session.scalars(select(of).order_by(of.id)).all()
            statement = STATEMENTS[name](of)
            if strategy == "evaluate" and "subquery" in name:
                strategy = "fetch"
            options = {"synchronize_session": strategy}
            result = session.execute(statement, execution_options=options)
            seen = [] if strategy is False else [(one.notes, one.ssn, one.visits) for one in known]
            session.commit()
            told.append((result.rowcount, seen, _left(session, of)))
    assert told[0] == told[1]
    users.assert_no_plaintext()


SPELT: dict[str, Any] = {
    "a value first": (lambda t: literal("m2") == t.c.mail, {}),
    "a bind first": (lambda t: bindparam("q") == t.c.mail, {"q": "m2"}),
    "not distinct from": (lambda t: t.c.mail.is_not_distinct_from("m2"), {}),
    "the key, not distinct from": (lambda t: t.c.id.is_not_distinct_from(2), {}),
    "a list that is a bind": (
        lambda t: t.c.mail.in_(bindparam("q", expanding=True)),
        {"q": ["m2"]},
    ),
    "a list of keys that is a bind": (
        lambda t: t.c.id.in_(bindparam("q", expanding=True)),
        {"q": (2,)},
    ),
    "CAST": (lambda t: t.c.mail == cast("m2", String(40)), {}),
    "a function": (lambda t: t.c.mail == func.lower("M2"), {}),
    "a function of a bind": (lambda t: t.c.mail == func.lower(bindparam("q")), {"q": "M2"}),
    "a function for the key": (lambda t: t.c.id == func.abs(-2), {}),
    "a function of NULL": (lambda t: t.c.mail == func.coalesce(bindparam("q"), "m2"), {"q": None}),
    "an operator": (lambda t: t.c.mail == literal("m") + "2", {}),
    "a bind with a name of ours": (
        lambda t: t.c.mail == bindparam("encfields_found_id"),
        {"encfields_found_id": "m2"},
    ),
}


@pytest.mark.parametrize("name", SPELT)
def test_a_row_is_named_however_its_key_is_spelt(users, name):
    condition, given = SPELT[name]
    told = []
    for of in (User, Plain):
        table: Any = of.__table__
        statement = update(table).where(condition(table)).values(notes="new")
        with users.begin() as connection:
            rowcount = connection.execute(statement, given).rowcount
            told.append((rowcount, _left(connection, of)))
    assert told[0] == told[1]
    assert told[0][0] == 1


@pytest.mark.parametrize(
    "condition",
    [
        lambda t: t.c.mail == func.concat("m", t.c.id),
        lambda t: t.c.mail == select(Plain.mail).where(Plain.id == t.c.id).scalar_subquery(),
        # Neither need say the same when the row is looked for and in the UPDATE.
        lambda t: t.c.mail == select(Plain.mail).where(Plain.id == 2).scalar_subquery(),
        lambda t: t.c.mail == func.next_of_some_sequence(),
        lambda t: t.c.mail == literal_column("'m2'"),
        lambda t: t.c.mail.in_(bindparam("q", ["m1", "m2"], expanding=True)),
        lambda t: t.c.mail.is_not_distinct_from(None),
    ],
)
def test_what_may_say_something_else_for_another_row_or_later_is_refused(users, condition):
    table: Any = User.__table__
    with users.refused(AmbiguousRowError, table), users.begin() as connection:
        connection.execute(update(table).values(notes="new").where(condition(table)))


@pytest.mark.parametrize(
    "condition",
    [
        lambda t: t.c.mail.in_(select(Plain.mail)),
        lambda t: t.c.mail == select(Plain.mail).where(Plain.id == 2).scalar_subquery(),
        lambda t: exists().where(Plain.id == t.c.id, Plain.mail == t.c.mail),
    ],
    ids=["a list", "a value", "existence"],
)
def test_a_class_that_the_where_asks_is_not_the_one_that_is_updated(users, condition):
    """SQLAlchemy's statement has it for its own class, and it has attributes of the same names."""
    table: Any = User.__table__
    statement = update(table).values(notes="new").where(condition(table), table.c.id == 2)
    with users.begin() as connection:
        assert connection.execute(statement).rowcount == 1
        assert [row[-1] for row in _left(connection, User)] == ["n1", "new", "n3"]


def test_a_key_that_is_mapped_as_optional_is_found_or_not(db):
    """As dataclasses annotate one that the database gives."""

    class Own(DeclarativeBase):
        pass

    class Member(Own):
        __tablename__ = "member"
        id: Mapped[int | None] = mapped_column(primary_key=True)
        mail: Mapped[str] = mapped_column(String(40), unique=True)
        notes: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))

    db.create(Own.metadata)
    with db.session() as session:
        session.add(Member(mail="m1", notes="old"))
        session.commit()
        told = []
        for name in ("m1", "nobody"):
            done: Any = session.execute(update(Member).filter_by(mail=name).values(notes="new"))
            told.append(done.rowcount)
        assert (told, session.scalars(select(Member.notes)).all()) == ([1, 0], ["new"])


def test_a_default_of_the_update_gets_into_the_row_that_it_names(db):
    class Own(DeclarativeBase):
        pass

    class Member(Own):
        __tablename__ = "member"
        id: Mapped[int] = mapped_column(primary_key=True)
        mail: Mapped[str] = mapped_column(String(40), unique=True)
        visits: Mapped[int] = mapped_column(default=1)
        notes: Mapped[str | None] = mapped_column(EncryptedType(), onupdate=lambda: "changed")

    db.create(Own.metadata)
    with db.session() as session:
        session.add_all(Member(mail=f"m{n}", notes="old") for n in (1, 2))
        session.commit()
        session.execute(update(Member).where(Member.mail == "m2").values(visits=2))
        found = session.scalars(select(Member).order_by(Member.mail)).all()
        assert [(one.visits, one.notes) for one in found] == [(1, "old"), (2, "changed")]


@pytest.mark.parametrize("is_of_table", [True, False], ids=["of the table", "of the class"])
def test_a_class_names_its_rows_and_a_table_those_of_all_its_classes(db, is_of_table):
    """A condition may come from a subclass in the same table, or in one of its own."""

    class Own(DeclarativeBase):
        pass

    class Person(Own):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(String(9))
        mail: Mapped[str | None] = mapped_column(String(40), unique=True)
        notes: Mapped[str] = mapped_column(EncryptedType())
        __mapper_args__: Any = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012

    class Member(Person):
        __mapper_args__: Any = {"polymorphic_identity": "member"}  # noqa: RUF012

    class Guest(Person):
        __tablename__ = "guest"
        __mapper_args__: Any = {"polymorphic_identity": "guest"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(ForeignKey(Person.id), primary_key=True)
        badge: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex(unique=True)))

    class LateGuest(Guest):
        __mapper_args__: Any = {"polymorphic_identity": "late"}  # noqa: RUF012

    db.create(Own.metadata)
    with db.session() as session:
        session.add_all([Person(mail="p", notes="old"), Member(mail="m", notes="old")])
        session.add_all([Guest(badge="1", notes="old"), LateGuest(badge="2", notes="old")])
        session.commit()
        rowcounts = []
        for by in (Member.mail == "p", Member.mail == "m"):
            made: Any = Person.__table__ if is_of_table else Member
            done: Any = session.execute(update(made).where(by).values(notes="new"))
            rowcounts.append(done.rowcount)
        assert rowcounts == [int(is_of_table), 1]
        late: Any = Guest.__table__ if is_of_table else Guest
        done = session.execute(update(late).where(LateGuest.badge == "2").values(badge="3"))
        session.commit()
        assert session.scalars(select(LateGuest.badge)).all() == ["3"]


@pytest.mark.parametrize("asks", ["its subclass", "a loader criterion"])
def test_rows_that_a_class_leaves_out_stay_unlocked(db, asks):
    if db.engine.dialect.name != "postgresql":
        pytest.skip("the others lock what they look at, of plain columns too")

    class Own(DeclarativeBase):
        pass

    class Person(Own):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(String(9))
        mail: Mapped[str | None] = mapped_column(String(40), unique=True)
        notes: Mapped[str] = mapped_column(EncryptedType())
        __mapper_args__: Any = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012

    class Member(Person):
        __mapper_args__: Any = {"polymorphic_identity": "member"}  # noqa: RUF012

    db.create(Own.metadata)
    with db.session() as session:
        session.add_all([Person(mail="p", notes="old"), Member(mail="m", notes="old")])
        session.commit()
    statements = {
        "its subclass": update(Member),
        "a loader criterion": update(Person).options(
            with_loader_criteria(Person, lambda cls: cls.kind != "person")
        ),
    }
    changed = statements[asks].values(notes="new")
    with db.session() as session, db.session() as another:
        rowcounts = []
        for mail in ("p", "m"):
            done: Any = session.execute(changed.where(Person.mail == mail))
            rowcounts.append(done.rowcount)
        free = select(Person.mail).with_for_update(skip_locked=True)
        assert (rowcounts, another.scalars(free).all()) == ([0, 1], ["p"])


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_of_parameters_names_a_row_each(users, count):
    told = []
    rows = [{"m": f"m{n}", "n": f"new-{n}"} for n in (3, 9, 1)]
    for of in (User, Plain):
        table: Any = of.__table__
        statement = update(table).where(table.c.mail == bindparam("m"))
        with users.begin() as connection:
            connection.execute(statement.values(notes=bindparam("n")), rows[:count])
            told.append(_left(connection, of))
    assert told[0] == told[1]


def test_rows_are_returned_as_of_plain_columns(users):
    if not users.engine.dialect.update_returning:
        pytest.skip("it returns nothing of an UPDATE")
    with users.session() as session:
        statement = update(User).where(User.mail == "m2").values(notes="new")
        assert session.execute(statement.returning(User.id, User.notes)).all() == [(2, "new")]
        found = session.scalars(statement.values(notes="newer").returning(User)).one()
        session.commit()
        assert (found.id, found.notes) == (2, "newer")


def test_the_database_does_not_choose_the_key_that_a_value_is_sealed_under(db):
    """Who may write to the table would move a row to a tenant whose key he has."""

    class Own(DeclarativeBase):
        pass

    class Member(Own):
        __tablename__ = "member"
        id: Mapped[int] = mapped_column(primary_key=True)
        tenant: Mapped[int]
        mail: Mapped[str] = mapped_column(String(40), unique=True)
        notes: Mapped[str] = mapped_column(EncryptedType(key="team/{tenant}", index=BlindIndex()))

    db.create(Own.metadata)
    for tenant in (1, 2):
        db.encryption.keys.create(f"team/{tenant}")
    with db.session() as session:
        session.add_all(Member(id=n, tenant=n, mail=f"m{n}", notes="old") for n in (1, 2))
        session.commit()
        for where in (Member.mail == "m2", Member.id == 2):
            with pytest.raises(AmbiguousRowError, match="tenant"):
                session.execute(update(Member).where(where).values(notes=CANARY))
        named = update(Member).where(Member.mail == "m2", Member.tenant == 2)
        session.execute(named.values(notes="new"))
        session.commit()
        found = select(Member.id).where(Member.tenant == 2, Member.notes == "new")
        assert session.scalars(found).all() == [2]
        assert session.scalars(select(Member.notes).order_by(Member.id)).all() == ["old", "new"]


def test_a_row_that_takes_the_place_meanwhile_gets_no_value_of_another(users):
    """The row is locked; where nobody locks it, as in AUTOCOMMIT, the UPDATE compares its key."""
    if users.backend.name == "sqlite":
        pytest.skip("it lets nobody write while it reads")
    table: Any = User.__table__
    read: list[str] = []

    def exchange(connection: Connection, cursor: Any, sql: str, *rest: Any) -> None:
        if sql.startswith("SELECT user_.id") and not read:
            read.append(sql)
            with users.plain.begin() as other:
                other.execute(text("UPDATE user_ SET mail = 'gone' WHERE id = 2"))
                other.execute(text("UPDATE user_ SET mail = 'm2' WHERE id = 3"))

    event.listen(users.engine, "after_cursor_execute", exchange)
    with users.engine.connect() as connection:
        autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
        result = autocommit.execute(update(table).where(table.c.mail == "m2").values(notes="new"))
        assert result.rowcount == 0
    event.remove(users.engine, "after_cursor_execute", exchange)
    assert read
    with users.begin() as connection:
        assert [row[4] for row in _left(connection, User)] == ["n1", "n2", "n3"]


REFUSED: dict[str, Any] = {
    "a column that is not unique": lambda of: update(of).where(of.team == "x"),
    "an index that is not unique": lambda of: update(of).where(of.notes == "n2"),
    "one or the other": lambda of: update(of).where((of.mail == "m2") | (of.mail == "m3")),
    "all but one": lambda of: update(of).where(of.mail != "m2"),
    "a list": lambda of: update(of).where(of.mail.in_(["m2", "m3"])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_several_rows_is_refused(users, name):
    statement = REFUSED[name](User).values(ssn=CANARY)
    with users.begin() as connection, users.refused(AmbiguousRowError, User.__table__):
        connection.execute(statement)


def test_several_rows_that_set_what_they_are_found_by_are_refused(users):
    table: Any = User.__table__
    statement = (
        update(table)
        .where(table.c.mail == bindparam("m"))
        .values(mail=bindparam("to"), notes=bindparam("n"))
    )
    rows = [{"m": "m1", "to": "m9", "n": CANARY}, {"m": "m9", "to": "m8", "n": CANARY}]
    with users.begin() as connection, users.refused(AmbiguousRowError, table):
        connection.execute(statement, rows)


def test_a_row_that_gets_another_key_along_has_its_values_there(users):
    table: Any = User.__table__
    statement = update(table).where(table.c.mail == "m2").values(id=9, ssn="x", notes="y")
    with users.begin() as connection:
        connection.execute(statement)
        assert _left(connection, User)[-1] == (9, "m2", 1, "x", "y")


@pytest.mark.parametrize("nullable", [False, True])
def test_the_table_needs_no_primary_key(db: Database, nullable: bool) -> None:
    badge = Table(
        "badge",
        MetaData(),
        Column("number", Integer, nullable=nullable),
        Column("mail", String(40), unique=True),
        Column("ssn", EncryptedType(bind_to=["number"])),
    )
    db.create(badge.metadata)
    rows = [{"number": n, "mail": f"m{n}", "ssn": f"s{n}"} for n in (1, 2)]
    with db.engine.begin() as connection:
        connection.execute(insert(badge), rows)
        changed = update(badge).where(badge.c.mail == "m2").values(ssn="new")
        assert connection.execute(changed).rowcount == 1
        none = update(badge).where(badge.c.mail == "nobody").values(ssn="new")
        assert connection.execute(none).rowcount == 0
        found = select(badge.c.number, badge.c.ssn).order_by(badge.c.number)
        assert connection.execute(found).all() == [(1, "s1"), (2, "new")]
