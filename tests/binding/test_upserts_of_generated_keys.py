"""On MySQL and MariaDB, ON DUPLICATE KEY UPDATE and INSERT IGNORE need no key: the row that is
found gets the value, a new one its number, and one that is skipped nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, String, event, func, insert, select, text
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError, UnknownIdentityError
from tests.database import CANARY, Database

# Which early releases of SQLAlchemy 2.0 say of ON DUPLICATE KEY UPDATE.
pytestmark = pytest.mark.filterwarnings("ignore:Class OnDuplicateClause will not make use of SQL")


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user_"
    id: Mapped[int] = mapped_column(primary_key=True)
    mail: Mapped[str | None] = mapped_column(String(40), unique=True)
    visits: Mapped[int] = mapped_column(default=1)
    ssn: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex(unique=True)))
    notes: Mapped[str | None] = mapped_column(EncryptedType(), default="none")


class Plain(Base):
    """The same without encryption."""

    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    mail: Mapped[str | None] = mapped_column(String(40), unique=True)
    visits: Mapped[int] = mapped_column(default=1)
    ssn: Mapped[str | None] = mapped_column(String(20), unique=True)
    notes: Mapped[str | None] = mapped_column(String(20), default="none")


user: Any = User.__table__
plain: Any = Plain.__table__


@pytest.fixture
def users(innodb_db: Database) -> Database:
    """Two rows in each table: 1 and 2."""
    innodb_db.create(Base.metadata)
    with innodb_db.session() as session:
        for of in (User, Plain):
            session.add_all(
                [
                    of(id=1, mail="a", ssn="1", notes="a's"),
                    of(id=2, mail="b", ssn="2", notes="b's"),
                ]
            )
        session.commit()
    return innodb_db


def _told(users: Database, table: Any, statement: Any, rows: Any = None) -> Any:
    """What a statement reports and leaves. Numbers of new rows differ: a rehearsal takes some."""
    with users.begin() as connection:
        result = (
            connection.execute(statement) if rows is None else connection.execute(statement, rows)
        )
        reported: list[Any] = [result.rowcount]
        if rows is None and not isinstance(statement._multi_values, tuple):
            reported += [result.lastrowid]
        columns = table.c.mail, table.c.visits, table.c.ssn, table.c.notes
        left = connection.execute(select(*columns, table.c.id).order_by(table.c.mail, table.c.id))
        known = {1: "first", 2: "second", 0: "none"}
        return reported, [(*row[:4], known.get(row.id, "new")) for row in left]


def _upsert(table: Any, *, sets: Any = None) -> Any:
    statement = mysql_insert(table)
    inserted = statement.inserted
    values = {"notes": inserted.notes, "ssn": inserted.ssn} if sets is None else sets(inserted)
    return statement.on_duplicate_key_update(values)


ROWS = {
    "one that is found": [{"mail": "a", "ssn": "9", "notes": "new"}],
    "a new one": [{"mail": "c", "ssn": "3", "notes": "new"}],
    "one found by its encrypted value": [{"ssn": "2", "notes": "new"}],
    "one without a value": [{"mail": "a", "ssn": None, "notes": None}],
    "several": [
        {"mail": "c", "ssn": "3", "notes": "c's"},
        {"mail": "b", "ssn": "7", "notes": "new"},
        {"mail": "c", "ssn": "4", "notes": "last"},
        {"mail": "d", "ssn": None, "notes": None},
    ],
}
STATEMENTS: dict[str, Any] = {
    "an upsert": _upsert,
    "an upsert of another column": lambda table: _upsert(
        table, sets=lambda inserted: {"visits": table.c.visits + table.c.visits}
    ),
    "an upsert of some": lambda table: _upsert(
        table,
        sets=lambda inserted: {
            "visits": table.c.visits + inserted.visits,
            "notes": func.coalesce(inserted.notes, table.c.notes),
        },
    ),
    "an upsert that reports the key": lambda table: _upsert(
        table,
        sets=lambda inserted: {"id": func.last_insert_id(table.c.id), "notes": inserted.notes},
    ),
    "INSERT IGNORE": lambda table: insert(table).prefix_with("IGNORE"),
}


@pytest.mark.parametrize("form", ["values", "parameters"])
@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("given", ROWS)
def test_it_does_and_reports_what_it_does_of_plain_columns(users, given, name, form):
    if given == "several" and "reports" in name and users.backend.name == "mysql":
        pytest.skip("it refuses that of several rows, of plain columns too")
    rows = ROWS[given]
    told = []
    for table in (user, plain):
        statement = STATEMENTS[name](table)
        if form == "parameters":
            told.append(_told(users, table, statement, rows))
        else:
            told.append(_told(users, table, statement.values(rows)))
    assert told[0] == told[1]


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("mail", ["a", "c"])
def test_a_single_row_reports_its_key(users, name, mail):
    told = []
    for table in (user, plain):
        statement = STATEMENTS[name](table).values(mail=mail, ssn="9", notes="new")
        with users.begin() as connection:
            result = connection.execute(statement)
            key = connection.scalar(select(table.c.id).where(table.c.mail == mail))
            is_new = key > 2
            told.append(
                (
                    result.rowcount,
                    is_new,
                    result.lastrowid == key,
                    [*result.inserted_primary_key] == [key],
                    result.lastrowid if not is_new else None,
                )
            )
    assert told[0] == told[1]


def test_a_plain_value_in_set_is_for_the_row_that_is_found(users):
    statement = mysql_insert(user).values(mail="b", notes="inserted")
    with users.begin() as connection:
        connection.execute(statement.on_duplicate_key_update(notes="found"))
        assert connection.scalars(select(user.c.notes).order_by(user.c.id)).all() == [
            "a's",
            "found",
        ]


def test_the_orm_inserts_and_finds(users):
    with users.session() as session:
        upsert = mysql_insert(User)
        upsert = upsert.on_duplicate_key_update(notes=upsert.inserted.notes)
        session.execute(upsert, [{"mail": "a", "notes": "x"}, {"mail": "c", "notes": "y"}])
        session.execute(insert(User).prefix_with("IGNORE"), [{"mail": "a"}, {"mail": "d"}])
        notes = session.execute(select(User.mail, User.notes).order_by(User.mail)).all()
    assert [(*row,) for row in notes] == [("a", "x"), ("b", "b's"), ("c", "y"), ("d", "none")]


def test_mariadb_returns_what_was_found(users):
    if users.backend.name == "mysql":
        pytest.skip("it has no RETURNING")
    with users.begin() as connection:
        upsert = _upsert(user).values(mail="a", ssn="5", notes="new")
        returned = connection.execute(upsert.returning(user.c.id, user.c.notes)).all()
        assert [(*row,) for row in returned] == [(1, "new")]
        skipped = insert(user).prefix_with("IGNORE").values(mail="a").returning(user.c.id)
        assert connection.execute(skipped).all() == []


def test_nothing_is_stored_of_a_row_that_is_skipped(users):
    before = users.rows(user)
    with users.begin() as connection:
        connection.execute(
            insert(user).prefix_with("IGNORE").values(mail="a", ssn=CANARY, notes=CANARY)
        )
    assert users.rows(user) == before
    users.assert_no_plaintext()


@pytest.mark.parametrize("name", ["an upsert", "INSERT IGNORE"])
def test_a_row_that_another_transaction_stores_meanwhile_gets_no_value_of_another(users, name):
    engine = users.engine.execution_options(isolation_level="READ COMMITTED")
    statement = STATEMENTS[name](user).values(mail="c", ssn="3", notes=CANARY)

    rehearsed: list[str] = []

    def store(connection: Connection, cursor: Any, sql: str, *rest: Any) -> None:
        if sql.startswith("ROLLBACK TO") and not rehearsed:
            rehearsed.append(sql)
            with users.engine.begin() as other:
                other.execute(insert(user).values(mail="c", ssn="4", notes="theirs"))

    event.listen(users.engine, "after_cursor_execute", store)
    with engine.begin() as connection:
        if name == "an upsert":
            with pytest.raises(UnknownIdentityError, match="execute it again"):
                connection.execute(statement)
        else:
            assert connection.execute(statement).rowcount == 0
    with engine.begin() as connection:
        assert connection.scalar(select(user.c.notes).where(user.c.mail == "c")) == "theirs"
        connection.execute(statement)


REFUSED: dict[str, tuple[Any, type[Exception]]] = {
    "a key that is given": (
        lambda: _upsert(user).values(id=5, mail="a", notes=CANARY),
        AmbiguousRowError,
    ),
    "another key in SET": (
        lambda: _upsert(user, sets=lambda i: {"id": i.id, "notes": i.notes, "ssn": i.ssn}).values(
            mail="a", notes=CANARY
        ),
        UnknownIdentityError,
    ),
    "both": (
        lambda: _upsert(user).prefix_with("IGNORE").values(mail="a", notes=CANARY),
        UnknownIdentityError,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_tell_the_row_is_refused(users, name):
    statement, error = REFUSED[name]
    with users.begin() as connection, users.refused(error, user):
        connection.execute(statement())


def test_without_a_transaction_it_is_refused(users):
    with users.engine.connect() as connection, users.refused(UnknownIdentityError, user):
        autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
        autocommit.execute(_upsert(user).values(mail="a", notes=CANARY))


def test_a_view_is_refused_since_nobody_knows_what_is_beneath_it(users):
    with users.plain.begin() as connection:
        connection.execute(text("RENAME TABLE user_ TO beneath"))
        connection.execute(text("CREATE VIEW user_ AS SELECT * FROM beneath"))
    try:
        with users.begin() as connection, users.refused(UnknownIdentityError, user):
            connection.execute(_upsert(user).values(mail="a", notes=CANARY))
    finally:
        with users.plain.begin() as connection:
            connection.execute(text("DROP VIEW user_"))
