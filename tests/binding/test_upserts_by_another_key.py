"""On PostgreSQL and SQLite, an upsert may find its row by another unique key than the one that its
values are bound to: the row that is found gets the value, under its own key."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Connection, String, Uuid, event, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError, IdentityChangeError, UnknownIdentityError
from tests.database import CANARY, Database

# Which early releases of SQLAlchemy 2.0 say of ON CONFLICT.
pytestmark = pytest.mark.filterwarnings("ignore:Class OnConflict")


class Base(DeclarativeBase):
    pass


class _Columns:
    mail: Mapped[str | None] = mapped_column(String(40), unique=True)
    visits: Mapped[int] = mapped_column(default=1)


class _Encrypted(_Columns):
    ssn: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex(unique=True)))
    notes: Mapped[str | None] = mapped_column(EncryptedType(), default="none")


class _Plain(_Columns):
    ssn: Mapped[str | None] = mapped_column(String(20), unique=True)
    notes: Mapped[str | None] = mapped_column(String(20), default="none")


class User(_Encrypted, Base):
    __tablename__ = "user_"
    id: Mapped[int] = mapped_column(primary_key=True)


class Plain(_Plain, Base):
    """The same without encryption."""

    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)


class UserOfOurKey(_Encrypted, Base):
    __tablename__ = "user_of_our_key"
    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)


class PlainOfOurKey(_Plain, Base):
    __tablename__ = "plain_of_our_key"
    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)


PAIRS: dict[str, tuple[Any, Any]] = {
    "generated": (User, Plain),
    "client-side": (UserOfOurKey, PlainOfOurKey),
}
FIRST, SECOND = uuid.UUID(int=1), uuid.UUID(int=2)


@pytest.fixture
def users(db: Database) -> Database:
    """Two rows in each table: 1 and 2."""
    if db.backend.name in ("mariadb", "mysql"):
        pytest.skip("it has no ON CONFLICT")
    db.create(Base.metadata)
    with db.session() as session:
        for pair in PAIRS.values():
            for of in pair:
                is_number = of in PAIRS["generated"]
                session.add_all(
                    [
                        of(id=1 if is_number else FIRST, mail="a", ssn="1", notes="a's"),
                        of(id=2 if is_number else SECOND, mail="b", ssn="2", notes="b's"),
                    ]
                )
        session.flush()
        if db.backend.name == "postgresql":
            for name in ("user_", "plain"):
                session.execute(text(f"SELECT setval('{name}_id_seq', 2)"))
        session.commit()
    return db


def _insert(users: Database, of: Any) -> Any:
    make = postgresql_insert if users.backend.name == "postgresql" else sqlite_insert
    return make(of)


SETS: dict[str, Any] = {
    "an encrypted column": lambda s: {"notes": s.excluded.notes},
    "all": lambda s: {
        "ssn": s.excluded.ssn,
        "notes": s.excluded.notes,
        "visits": s.table.c.visits + 1,
    },
    "what is given": lambda s: {"notes": func.coalesce(s.excluded.notes, s.table.c.notes)},
}
ROWS: dict[str, list[dict[str, Any]]] = {
    "one that is found": [{"mail": "a", "ssn": "9", "notes": "new"}],
    "a new one": [{"mail": "c", "ssn": "3", "notes": "new"}],
    "one without a value": [{"mail": "a", "ssn": None, "notes": None}],
    "several": [
        {"mail": "c", "ssn": "3", "notes": "c's"},
        {"mail": "b", "ssn": "7", "notes": "new"},
        {"mail": "d", "ssn": None, "notes": None},
    ],
}
TWICE = [
    {"mail": "c", "ssn": "3", "notes": "c's"},
    {"mail": "a", "ssn": "4", "notes": "new"},
    {"mail": "c", "ssn": "3", "notes": "last"},
]


def _left(connection: Connection, of: Any) -> list[Any]:
    """The rows, by their mail. New numbers and keys differ."""
    known = {1: "first", 2: "second", FIRST: "first", SECOND: "second"}
    rows = connection.execute(select(of.mail, of.visits, of.ssn, of.notes, of.id).order_by(of.mail))
    return [(*row[:4], known.get(row.id, "new")) for row in rows]


@pytest.mark.parametrize("form", ["values", "parameters", "returning"])
@pytest.mark.parametrize("given", ROWS)
@pytest.mark.parametrize("sets", SETS)
@pytest.mark.parametrize("kind", PAIRS)
def test_it_does_and_reports_what_it_does_of_plain_columns(users, kind, sets, given, form):
    told = []
    for of in PAIRS[kind]:
        statement = _insert(users, of)
        statement = statement.on_conflict_do_update(
            index_elements=[of.mail], set_=SETS[sets](statement)
        )
        with users.begin() as connection:
            if form == "parameters":
                result = connection.execute(statement, ROWS[given])
            elif form == "values":
                result = connection.execute(statement.values(ROWS[given]))
            else:
                returning = statement.returning(of.mail, of.notes, of.ssn)
                result = connection.execute(returning, ROWS[given])
            reported = [tuple(row) for row in result] if form == "returning" else [result.rowcount]
            told.append((reported, _left(connection, of)))
    assert told[0] == told[1]


@pytest.mark.parametrize("kind", PAIRS)
def test_a_row_may_be_found_twice(users, kind):
    told = []
    for of in PAIRS[kind]:
        statement = _insert(users, of)
        statement = statement.on_conflict_do_update(
            index_elements=["mail"], set_=SETS["all"](statement)
        )
        with users.begin() as connection:
            connection.execute(statement, TWICE)
            told.append(_left(connection, of))
    assert told[0] == told[1]


@pytest.mark.parametrize("kind", PAIRS)
def test_what_its_where_leaves_is_not_changed(users, kind):
    told = []
    rows = [*ROWS["several"], {"mail": "a", "ssn": "8", "notes": "new"}]
    for of in PAIRS[kind]:
        statement = _insert(users, of)
        statement = statement.on_conflict_do_update(
            index_elements=["mail"], set_=SETS["all"](statement), where=of.mail == "b"
        )
        with users.begin() as connection:
            returned = connection.execute(statement.returning(of.mail, of.notes), rows)
            found = sorted(tuple(row) for row in returned)
            connection.execute(statement, {"mail": "a", "notes": "kept"})
            connection.execute(statement, rows)
            told.append((found, _left(connection, of)))
    assert told[0] == told[1]


@pytest.mark.parametrize("kind", PAIRS)
def test_a_row_is_found_by_its_encrypted_value(users, kind):
    told = []
    for of in PAIRS[kind]:
        statement = _insert(users, of)
        statement = statement.on_conflict_do_update(
            index_elements=[of.ssn], set_={"notes": statement.excluded.notes}
        )
        with users.begin() as connection:
            connection.execute(statement.values(ssn="2", notes="found"))
            connection.execute(statement, [{"ssn": "1", "notes": "x"}, {"ssn": "3", "notes": "y"}])
            told.append(_left(connection, of))
    assert told[0] == told[1]


@pytest.mark.parametrize("kind", PAIRS)
def test_a_plain_value_in_set_is_for_the_row_that_is_found(users, kind):
    told = []
    for of in PAIRS[kind]:
        statement = _insert(users, of).values(mail="b", notes="inserted")
        statement = statement.on_conflict_do_update(
            index_elements=["mail"], set_={"notes": "found", "ssn": "x"}
        )
        with users.begin() as connection:
            connection.execute(statement)
            told.append(_left(connection, of))
    assert told[0] == told[1]


def test_the_key_that_is_given_is_that_of_a_new_row_alone(users):
    given = uuid.uuid4()
    for mail, key in (("b", SECOND), ("new", given)):
        statement = _insert(users, UserOfOurKey).values(id=given, mail=mail, notes="x")
        statement = statement.on_conflict_do_update(
            index_elements=["mail"], set_={"notes": statement.excluded.notes}
        )
        with users.session() as session:
            found = session.scalars(statement.returning(UserOfOurKey)).one()
            assert (found.id, found.mail, found.notes) == (key, mail, "x")
            session.commit()


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("mail", ["a", "c"])
def test_its_result_has_the_key_of_the_row(users, kind, mail):
    of, _ = PAIRS[kind]
    statement = _insert(users, of).values(mail=mail, notes="x")
    statement = statement.on_conflict_do_update(
        index_elements=["mail"], set_={"notes": statement.excluded.notes}
    )
    with users.begin() as connection:
        result = connection.execute(statement)
        key = connection.scalar(select(of.id).where(of.mail == mail))
        assert [*result.inserted_primary_key] == [key]


@pytest.mark.parametrize("kind", PAIRS)
def test_the_orm_inserts_and_finds(users, kind):
    told = []
    for of in PAIRS[kind]:
        statement = _insert(users, of)
        statement = statement.on_conflict_do_update(
            index_elements=[of.mail], set_=SETS["all"](statement)
        )
        with users.session() as session:
            known = session.scalars(select(of).where(of.mail == "a")).one()
            rows = [{"mail": "a", "notes": "x"}, {"mail": "c", "notes": "y"}]
            found = session.scalars(
                statement.returning(of), rows, execution_options={"populate_existing": True}
            ).all()
            assert sorted((one.mail, one.notes) for one in found) == [("a", "x"), ("c", "y")]
            assert known in found
            session.execute(statement, [{"mail": "b", "notes": "z"}, {"mail": "d", "notes": None}])
            session.execute(statement.values(mail="e", notes="single"))
            session.commit()
        with users.begin() as connection:
            told.append(_left(connection, of))
    assert told[0] == told[1]


@pytest.mark.parametrize("kind", PAIRS)
def test_nothing_is_stored_of_its_rehearsal_nor_in_plaintext(users, kind):
    of, _ = PAIRS[kind]
    table = of.__table__
    statement = _insert(users, of).values(mail="a", notes=CANARY, ssn="1")
    statement = statement.on_conflict_do_update(
        index_elements=["mail"],
        set_={"notes": statement.excluded.notes},
        where=table.c.visits > 1,
    )
    before = users.rows(table)
    with users.begin() as connection:
        connection.execute(statement)
    assert users.rows(table) == before
    users.assert_no_plaintext()


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("form", ["values", "parameters", "returning"])
@pytest.mark.parametrize("theirs", ["stored", "moved"])
def test_a_row_that_another_transaction_stores_meanwhile_gets_no_value_of_another(
    users, kind, form, theirs
):
    if users.backend.name == "sqlite":
        pytest.skip("it lets nobody else write")
    of, _ = PAIRS[kind]
    upsert = _insert(users, of)
    upsert = upsert.on_conflict_do_update(
        index_elements=["mail"], set_={"notes": upsert.excluded.notes}
    )
    mail = "c" if theirs == "stored" else "a"
    rows = [{"mail": mail, "notes": CANARY}, {"mail": "d", "notes": "x"}]
    rehearsed: list[str] = []

    def store(connection: Connection, cursor: Any, sql: str, *rest: Any) -> None:
        if sql.startswith("ROLLBACK TO") and not rehearsed:
            rehearsed.append(sql)
            with users.engine.begin() as other:
                other.execute(update(of).where(of.mail == mail).values(mail="elsewhere"))
                other.execute(_insert(users, of).values(mail=mail, notes="theirs"))

    event.listen(users.engine, "after_cursor_execute", store)
    with users.begin() as connection:
        given = {
            "parameters": (upsert, rows),
            "values": (upsert.values(rows),),
            "returning": (upsert.returning(of.notes), rows),
        }[form]
        with pytest.raises(UnknownIdentityError, match="execute it again"):
            connection.execute(*given)
        assert connection.scalar(select(of.notes).where(of.mail == mail)) == "theirs"
        assert connection.scalar(select(of.notes).where(of.mail == "d")) is None
        connection.execute(upsert, rows)
        assert connection.scalar(select(of.notes).where(of.mail == mail)) == CANARY


def test_several_parts_of_a_key_are_found(db):
    if db.backend.name in ("mariadb", "mysql"):
        pytest.skip("it has no ON CONFLICT")

    class Own(DeclarativeBase):
        pass

    class Member(Own):
        __tablename__ = "member"
        team: Mapped[int] = mapped_column(primary_key=True)
        number: Mapped[int] = mapped_column(primary_key=True)
        mail: Mapped[str] = mapped_column(unique=True)
        notes: Mapped[str] = mapped_column(EncryptedType())

    db.create(Own.metadata)
    upsert = _insert(db, Member)
    upsert = upsert.on_conflict_do_update(
        index_elements=["mail"], set_={"notes": upsert.excluded.notes}
    )
    with db.session() as session:
        session.add(Member(team=1, number=1, mail="a", notes="old"))
        session.flush()
        session.execute(
            upsert,
            [
                {"team": 2, "number": 9, "mail": "a", "notes": "new"},
                {"team": 2, "number": 9, "mail": "b", "notes": "inserted"},
            ],
        )
        session.commit()
        found = session.execute(select(Member.team, Member.number, Member.notes).order_by("mail"))
        assert [tuple(row) for row in found] == [(1, 1, "new"), (2, 9, "inserted")]


@pytest.mark.parametrize("form", ["values", "parameters", "returning"])
def test_a_key_of_another_default_than_a_sequence_s_is_taken_before(postgresql_db, form):
    class Own(DeclarativeBase):
        pass

    class Member(Own):
        __tablename__ = "member"
        id: Mapped[uuid.UUID] = mapped_column(
            Uuid, primary_key=True, server_default=text("gen_random_uuid()")
        )
        mail: Mapped[str] = mapped_column(unique=True)
        visits: Mapped[int] = mapped_column(default=1)
        notes: Mapped[str] = mapped_column(EncryptedType())

    db: Database = postgresql_db
    db.create(Own.metadata)
    made = postgresql_insert(Member)
    of_mail = ["mail"]
    upserts = {
        "skipped": made.on_conflict_do_nothing(),
        "counted": made.on_conflict_do_update(
            index_elements=of_mail, set_={"visits": Member.visits + 1}
        ),
        "set": made.on_conflict_do_update(
            index_elements=of_mail, set_={"notes": made.excluded.notes}
        ),
    }
    with db.session() as session:
        session.add(Member(mail="a", notes="old"))
        session.flush()
        for name, upsert in upserts.items():
            rows = [{"mail": mail, "notes": name} for mail in ("a", name, f"{name} too")]
            if form == "values":
                session.execute(upsert.values(rows))
            elif form == "parameters":
                session.execute(upsert, rows)
            else:
                returned = session.scalars(upsert.returning(Member.mail), rows).all()
                assert sorted(returned) == sorted(
                    ["a"] * (name != "skipped") + [name, f"{name} too"]
                )
            session.expire_all()
            a = session.scalars(select(Member).where(Member.mail == "a")).one()
            assert a.notes == ("set" if name == "set" else "old")
            assert session.scalars(
                select(Member.notes).where(Member.mail == f"{name} too")
            ).all() == [name]
        assert len(set(session.scalars(select(Member.id)))) == 7


def test_the_database_does_not_choose_the_key_that_a_value_is_sealed_under(db):
    """Who may write to the table would move a row to a tenant whose key he has."""
    if db.backend.name in ("mariadb", "mysql"):
        pytest.skip("it has no ON CONFLICT")

    class Own(DeclarativeBase):
        pass

    class Member(Own):
        __tablename__ = "member"
        team: Mapped[int] = mapped_column(primary_key=True)
        number: Mapped[int] = mapped_column(primary_key=True)
        mail: Mapped[str] = mapped_column(unique=True)
        notes: Mapped[str] = mapped_column(EncryptedType(key="team/{team}"))

    db.create(Own.metadata)
    for team in (1, 2):
        db.encryption.keys.create(f"team/{team}")
    upsert = _insert(db, Member)
    upsert = upsert.on_conflict_do_update(
        index_elements=["mail"], set_={"notes": upsert.excluded.notes}
    )
    with db.session() as session:
        session.add(Member(team=1, number=1, mail="a", notes="old"))
        session.commit()
    row = {"team": 2, "number": 9, "mail": "a", "notes": CANARY}
    with db.begin() as connection, db.refused(AmbiguousRowError, Member.__table__):
        connection.execute(upsert, row)
    made = _insert(db, Member)
    of_team = made.on_conflict_do_update(
        index_elements=["mail"],
        set_={"notes": made.excluded.notes},
        where=Member.team == made.excluded.team,
    )
    with db.begin() as connection:
        connection.execute(of_team, row)
        connection.execute(of_team, {**row, "team": 1, "notes": "new"})
        found = connection.execute(select(Member.team, Member.number, Member.notes)).all()
        assert [tuple(one) for one in found] == [(1, 1, "new")]


REFUSED: dict[str, Any] = {
    "another use of the key": lambda s: {"notes": s.excluded.notes, "visits": s.excluded.id},
    "an own key in SET": lambda s: {"notes": s.excluded.notes, "id": 7},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_tell_the_row_is_refused(users, name):
    statement = _insert(users, User)
    statement = statement.on_conflict_do_update(
        index_elements=["mail"], set_=REFUSED[name](statement)
    )
    with (
        users.begin() as connection,
        pytest.raises((AmbiguousRowError, IdentityChangeError)),
    ):
        connection.execute(statement, {"mail": "a", "notes": CANARY})


def test_without_a_transaction_it_is_refused(users):
    statement = _insert(users, User).values(mail="a", notes=CANARY)
    statement = statement.on_conflict_do_update(
        index_elements=["mail"], set_={"notes": statement.excluded.notes}
    )
    with (
        users.engine.connect() as connection,
        users.refused(UnknownIdentityError, User.__table__),
    ):
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(statement)
